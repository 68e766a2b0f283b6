"""A run that this process holds: what it stored before, and storing what comes.

Needs SQLAlchemy (extra `store`); `RunStore` imports it when a run is claimed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Self, TypeVar

from sqlalchemy import Connection

from omni_agent.core import Yield
from omni_agent.errors import RunHeld, StoreError
from omni_agent.graph.store.codec import SCALARS, Blob, Encoded, decode, encode, references
from omni_agent.graph.store.outlasting import outlasting
from omni_agent.graph.store.records import CallKey, Path, Progress, StoredCall, StoredLate, StoredStep
from omni_agent.graph.store.sql.database import Database
from omni_agent.graph.store.sql.failures import FileGoneError
from omni_agent.graph.store.sql.leases import Lease, end, fence
from omni_agent.graph.store.sql.media import blobs, put
from omni_agent.graph.store.sql.progress import (
    calls_of,
    chunks_of,
    drop_chunks,
    drop_late,
    put_call,
    put_chunk,
    put_late,
    put_step,
)

__all__ = ["FinishedRun", "HeldRun"]

T = TypeVar("T")
Work = Callable[[Connection], Any]

RENEWALS = 3
"""How often a lease is renewed while it lasts."""

log = logging.getLogger("omni_agent.graph.store")


class FinishedRun:
    """A run that finished before. Nothing can be written to it.

    Attributes:
        outputs: JSON of the outputs' values, by step.
        late: the late inputs that were sent to it.
    """

    def __init__(
        self, database: Database, outputs: Mapping[str, str], late: tuple[StoredLate, ...] = ()
    ) -> None:
        self.outputs = outputs
        self.late = late
        self._database = database

    async def value(self, text: str, hint: Any, *, what: str) -> Any:
        """A stored value, with its media.

        Raises:
            NotStorable: it was stored for another type.
        """
        return await _value(self._database, text, hint, what)


class HeldRun:
    """The lease of a run, renewed while it is inside its ``async with``, and all that is written under it.

    Writes that come while another one is carried out go together, in one transaction, in their order. One
    that was begun is carried out even where who waits for it is cancelled.

    Args:
        database: where it is stored.
        lease: the claim to it.
        seed: what the seeds of its core calls derive from.
        progress: what is stored already.
        lost: called once, in the event loop, when another process took the run over or the store is gone;
            nothing can be written after that.

    Attributes:
        progress: what was stored before this process took the run.
        seed: as given.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        *,
        seed: int,
        progress: Progress,
        known: frozenset[str],
        lost: Callable[[StoreError], None],
    ) -> None:
        self.progress = progress
        self.seed = seed
        self._database = database
        self._lease = lease
        self._lost = lost
        self._position = progress.position
        self._known = set(known)
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._news = asyncio.Event()
        self._is_closing = False
        self._has_ended = False
        self._over: StoreError | None = None

    async def __aenter__(self) -> Self:
        run_id = self._lease.run_id
        self._writer = asyncio.create_task(self._write_all(), name=f"writes of run {run_id}")
        self._renewer = asyncio.create_task(self._renew(), name=f"lease of run {run_id}")
        return self

    async def __aexit__(self, *error: object) -> None:
        """Wait for the writes that were begun, and give the lease back."""
        await outlasting(self._close())

    async def _close(self) -> None:
        await self._stop_renewing()
        if not self._has_ended and self._over is None:
            with suppress(StoreError):  # its lease expires by itself
                await self._write(partial(end, lease=self._lease, status="open"))
        self._is_closing = True
        self._news.set()
        await self._writer

    @property
    def lost_by(self) -> StoreError | None:
        """Why nothing can be written any more; None while it can be."""
        return self._over

    # what was stored before

    @property
    def late(self) -> tuple[StoredLate, ...]:
        """The late inputs that were sent."""
        return self.progress.late

    async def value(self, text: str, hint: Any, *, what: str) -> Any:
        """A stored value, with its media.

        Raises:
            NotStorable: it was stored for another type.
        """
        return await _value(self._database, text, hint, what)

    async def calls(self, path: Path) -> dict[CallKey, StoredCall]:
        """The stored core calls of a step."""
        if path not in self.progress.calls:
            return {}
        return await self._database.read(partial(calls_of, run_id=self._lease.run_id, path=path))

    async def chunks(self, path: Path, hint: Any) -> list[Any]:
        """The stored chunks of a step that yields."""
        if path not in self.progress.chunks:
            return []
        texts = await self._database.read(partial(chunks_of, run_id=self._lease.run_id, path=path))
        return [await self.value(each, hint, what=f"a chunk of {_shown(path)}") for each in texts]

    # storing what comes; each returns when it is stored

    async def finish_step(self, path: Path, value: object, hint: Any, step: StoredStep) -> None:
        """Store that a step finished.

        Args:
            step: the rest of what is stored; its own `value` does not count.

        Raises:
            NotStorable: the value would not come back as it is.
            RunHeld: the lease was lost.
        """
        encoded = await self._encoded(value, hint, f"the value of step {_shown(path)}")
        await self._put(encoded.blobs, put_step, path, replace(step, value=encoded.json))

    async def leave_out(self, path: Path) -> None:
        """Store that an item failed, and is left out of its list."""
        await self._put({}, put_step, path, StoredStep(outcome="left out"))

    async def send(self, path: Path, value: object, hint: Any) -> None:
        """Store a late input."""
        encoded = await self._encoded(value, hint, f"the late input {_shown(path)}")
        await self._put(encoded.blobs, put_late, StoredLate(path=path, value=encoded.json))

    async def drop_late(self, path: Path) -> None:
        """Forget a late input that the graph, which changed since, does not take any more."""

        def work(connection: Connection) -> None:
            drop_late(connection, self._lease.run_id, path)

        await self._write(work)

    async def put_chunk(self, path: Path, number: int, value: object, hint: Any) -> None:
        """Store a chunk of a step that yields: not at once, but before all that is stored after it."""
        encoded = await self._encoded(value, hint, f"a chunk of step {_shown(path)}")

        def work(connection: Connection) -> None:
            put(connection, self._lease.run_id, encoded.blobs)
            put_chunk(connection, self._lease.run_id, path, number, encoded.json)

        self._written_behind(work)

    async def drop_chunks(self, path: Path) -> None:
        """Forget the chunks of a step that begins again."""

        def work(connection: Connection) -> None:
            drop_chunks(connection, self._lease.run_id, path)

        await self._write(work)

    async def finish_call(self, key: CallKey, task: str, value: Yield, confidence: float | None) -> None:
        """Store what a core call gave."""
        encoded = await self._encoded(value, Yield, f"what a core gave step {_shown(key.path)}")
        call = StoredCall(value=encoded.json, confidence=confidence)
        await self._put(encoded.blobs, put_call, key, task, call)

    async def put_snapshot(self, key: CallKey, task: str, snapshot: str) -> None:
        """Store the canvas of a core call that goes on, as JSON; it holds no media."""
        await self._put({}, put_call, key, task, StoredCall(snapshot=snapshot))

    # its end

    async def finish(self, outputs: Mapping[str, tuple[object, Any]]) -> None:
        """Store that the run finished: its outputs' values, with their declared types, by step."""
        encoded = {
            name: await self._encoded(value, hint, f"the output {name!r}")
            for name, (value, hint) in outputs.items()
        }
        texts = ",".join(f"{json.dumps(name)}:{each.json}" for name, each in encoded.items())
        await self._end("finished", outputs=f"{{{texts}}}", encoded=encoded.values())

    async def fail(self, error: BaseException) -> None:
        """Store that the run failed. It may go on later."""
        await self._end("failed", error=f"{type(error).__name__}: {error}".replace("\0", "�"))

    async def cancel(self) -> None:
        """Store that the run was cancelled. It may go on later."""
        await self._end("cancelled")

    async def _end(
        self,
        status: str,
        *,
        error: str | None = None,
        outputs: str | None = None,
        encoded: Any = (),
    ) -> None:
        def work(connection: Connection) -> None:
            for each in encoded:
                put(connection, self._lease.run_id, each.blobs)
            end(connection, self._lease, status, error=error, outputs=outputs)

        self._has_ended = True
        await self._stop_renewing()  # the lease is given back
        await self._write(work)

    async def _encoded(self, value: object, hint: Any, what: str) -> Encoded:
        if value is None or isinstance(value, SCALARS):
            return encode(value, hint, what=what)
        # a picture may have to be compressed: the event loop is not for that
        return await asyncio.to_thread(encode, value, hint, what=what)

    async def _put(self, new: Mapping[str, Blob], put_it: Callable[..., None], *what: object) -> None:
        position, self._position = self._position, self._position + 1
        unknown = {hash_: blob for hash_, blob in new.items() if hash_ not in self._known}

        def work(connection: Connection) -> None:
            put(connection, self._lease.run_id, unknown)
            put_it(connection, self._lease.run_id, position, *what)

        await self._write(work)
        self._known.update(unknown)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._begun(work)

    def _begun(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        if self._over is not None:
            raise self._over
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        self._news.set()
        return future

    def _written_behind(self, work: Callable[[Connection], None]) -> None:
        """Write without anybody waiting; nothing is written after what could not be."""

        def done(future: asyncio.Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            if isinstance(error, StoreError):
                self._lose(error)

        self._begun(work).add_done_callback(done)

    async def _write_all(self) -> None:
        while self._waiting or not self._is_closing:
            await self._news.wait()
            self._news.clear()
            batch, self._waiting = self._waiting, []
            if len(batch) > 1 and await self._carried_out(batch, alone=False):
                continue
            for each in batch:
                await self._carried_out([each], alone=True)

    async def _carried_out(self, batch: list[tuple[Work, asyncio.Future[Any]]], *, alone: bool) -> bool:
        """Carry out some writes in one transaction; whether it could be done.

        Where several fail together, each is tried alone, so that it fails only who is at fault.
        """

        def work(connection: Connection) -> list[Any]:
            fence(connection, self._lease)
            return [each(connection) for each, _ in batch]

        try:
            if self._over is not None:
                raise self._over
            results = await self._database.write(work)
        except Exception as error:
            if isinstance(error, RunHeld | FileGoneError):
                self._lose(error)
            if alone:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            return False
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
        return True

    async def _stop_renewing(self) -> None:
        self._renewer.cancel()
        await asyncio.wait({self._renewer})

    async def _renew(self) -> None:
        renewed = monotonic()
        while True:
            await asyncio.sleep(self._lease.seconds / RENEWALS)
            try:
                await self._write(lambda connection: None)
                renewed = monotonic()
            except (RunHeld, FileGoneError):
                return
            except StoreError as error:
                log.warning("the lease of run %r was not renewed: %s", self._lease.run_id, error)
                if monotonic() - renewed > self._lease.seconds:
                    self._lose(error)
                    return

    def _lose(self, error: StoreError) -> None:
        if self._over is None:
            self._over = error
            self._lost(error)


async def _value(database: Database, text: str, hint: Any, what: str) -> Any:
    found = await _media(database, text)
    if not found:
        return decode(text, hint, {}, what=what)
    return await asyncio.to_thread(decode, text, hint, found, what=what)


async def _media(database: Database, text: str) -> dict[str, bytes]:
    hashes = references(text)
    return await database.read(partial(blobs, hashes=hashes)) if hashes else {}


def _shown(path: Path) -> str:
    return repr("/".join(map(str, path)))

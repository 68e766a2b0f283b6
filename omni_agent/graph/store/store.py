"""`RunStore`: the face of a database of runs. SQLAlchemy is imported when one is made, not with this file."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4
from weakref import WeakKeyDictionary

from omni_agent.errors import InputError, MissingExtra, StoreError
from omni_agent.graph.store.names import check_run_id, check_seed
from omni_agent.graph.store.outlasting import outlasting
from omni_agent.graph.store.records import Beginning, Path, RunInfo, path_given

if TYPE_CHECKING:
    from sqlalchemy import URL

    from omni_agent.graph.store.held import FinishedRun, HeldRun
    from omni_agent.graph.store.sql.database import Database

__all__ = ["Collected", "RunStore"]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What `RunStore.collect` deleted."""

    media: int
    """How many pictures, sounds and rows of tokens."""
    bytes: int


class RunStore:
    """Runs that outlive their process, in SQLite or PostgreSQL.

    Given to `RunOptions(store=..., run_id=...)`. The database is opened while a run or a method needs it, and
    kept open inside ``async with``. Its tables are made, or brought to this version, when it is opened.

    Args:
        url: the path of a SQLite file (or ``sqlite:///path``), or ``postgresql://user@host/database``.
        lease: seconds for which a run stays a process's own after its last sign of life, 0.1 or more. A
            crashed run can go on this long after the crash; a process whose event loop is blocked this long
            may lose its runs.
        snapshot_every: seconds between the snapshots of a core call that goes on, 0 or more (0: each
            denoising step).

    Raises:
        MissingExtra: without the extra `store`.
        InputError: no such kind of database, one in memory, or a number out of its range.
    """

    def __init__(
        self, url: str | os.PathLike[str], *, lease: float = 30.0, snapshot_every: float = 1.0
    ) -> None:
        try:
            # claiming brings the rest along: what takes half a second is not imported in a running event loop
            from omni_agent.graph.store import claiming  # noqa: F401
            from omni_agent.graph.store.sql.address import address_of
        except ImportError as error:
            raise MissingExtra("omni_agent.RunStore", "store") from error
        for name, value, least in (("lease", lease, 0.1), ("snapshot_every", snapshot_every, 0.0)):
            given: object = value
            is_number = isinstance(given, int | float) and not isinstance(given, bool)
            if not is_number or not least <= value <= 1e6 or not math.isfinite(value):
                raise InputError(f"{name} was {given!r}; wanted seconds, {least:g} or more")
        self.lease = float(lease)
        self.snapshot_every = float(snapshot_every)
        self._url = address_of(url)
        self._shared: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()

    async def list(self, *, graph: str | None = None, limit: int | None = None) -> list[RunInfo]:
        """The runs, the one that was written last first.

        Args:
            graph: only those of the graph of this name.
            limit: at most this many, 1 or more.

        Raises:
            InputError: a limit below 1.
        """
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InputError(f"limit was {limit!r}; wanted an integer of 1 or more, or None")
        from omni_agent.graph.store.sql.runs import list_runs

        async with self._database() as database:
            return await database.read(partial(list_runs, graph=graph, limit=limit))

    async def info(self, run_id: str) -> RunInfo:
        """One run.

        Raises:
            NoSuchRun: there is none of this id.
        """
        from omni_agent.graph.store.sql.runs import run_info

        async with self._database() as database:
            return await database.read(partial(run_info, run_id=run_id))

    async def document(self, run_id: str) -> dict[str, Any]:
        """All that is stored of a run as JSON has it: inputs, steps, core calls, outputs; media by hash.

        Raises:
            NoSuchRun: there is none of this id.
        """
        from omni_agent.graph.store.sql.runs import export_run

        async with self._database() as database:
            return await database.read(partial(export_run, run_id=run_id))

    async def delete(self, run_id: str) -> None:
        """Delete a run with all that is stored of it. Its media stays until `collect`.

        Raises:
            NoSuchRun: there is none of this id.
            RunHeld: somebody runs it.
        """
        from omni_agent.graph.store.sql.runs import delete_run

        async with self._database() as database:
            await database.write(partial(delete_run, run_id=run_id))

    async def collect(self) -> Collected:
        """Delete the media that no run uses any more, and give its room back."""
        from omni_agent.graph.store.sql.media import collect

        async with self._database() as database:
            count, size = await database.write(collect)
            await database.shrink()
        return Collected(media=count, bytes=size)

    async def fork(
        self,
        run_id: str,
        new_id: str,
        *,
        after: str | Path,
        seed: int | None = None,
    ) -> RunInfo:
        """Begin a new run with what another one had stored when a step of it finished, that step included.

        It goes on when the graph is run under the new id, with the same inputs: what the other run did after
        that step is done anew.

        Args:
            run_id: the run to fork; it may be running.
            new_id: the id of the new run.
            after: the step's name, or its path: ``"pages/2/drawn"`` or ``("pages", 2, "drawn")``.
            seed: another seed for what is done anew, 0 or more; None keeps the run's.

        Raises:
            NoSuchRun: there is no such run, or that step did not finish in it.
            StoreError: there is a run of the new id already.
            InputError: a path, an id or a seed that is none.
        """
        from omni_agent.graph.store.sql.runs import fork_run, run_info

        check_run_id(new_id)
        check_seed(seed)
        path = path_given(after)
        async with self._database() as database:
            await database.write(partial(fork_run, run_id=run_id, new_id=new_id, after=path, seed=seed))
            return await database.read(partial(run_info, run_id=new_id))

    async def export(self, run_id: str, target: str | os.PathLike[str]) -> None:
        """Write all of a run as ``run.json``, with its media as files beside it.

        Args:
            target: a folder, made if need be, or a name that ends in ``.zip``.

        Raises:
            NoSuchRun: there is none of this id.
            InputError: the folder has something in it, the file is there already, or cannot be written.
        """
        from omni_agent.graph.store.export import export

        given: object = target
        if not isinstance(given, str | os.PathLike):
            raise InputError(f"target was {given!r}; wanted the name of a folder, or one that ends in .zip")
        async with self._database() as database:
            await export(database, run_id, target)

    @asynccontextmanager
    async def hold(
        self, beginning: Beginning, *, lost: Callable[[StoreError], None]
    ) -> AsyncIterator[HeldRun | FinishedRun]:
        """Claim a run, for a graph that carries it out, and renew the lease until it is left.

        Args:
            beginning: what the run is begun, or gone on, with.
            lost: called in the event loop if another process takes the run over.

        Raises:
            RunConflict: it was begun with other inputs, or by a graph that has changed since.
            RunHeld: another process holds it.
            NotStorable: an input cannot be stored.
        """
        from omni_agent.graph.store.claiming import claimed
        from omni_agent.graph.store.held import HeldRun

        async with self._database() as database:
            claiming = asyncio.ensure_future(
                claimed(database, beginning, holder=_holder(), seconds=self.lease, lost=lost)
            )
            try:
                taken = await outlasting(claiming)
            except asyncio.CancelledError:
                await outlasting(_given_back(claiming))
                raise
            if isinstance(taken, HeldRun):
                async with taken:
                    yield taken
            else:
                yield taken

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._leave()

    def __repr__(self) -> str:
        return f"RunStore({self._url.render_as_string(hide_password=True)!r})"

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Database]:
        database = await self._open()
        try:
            yield database
        finally:
            await self._leave()

    async def _open(self) -> Database:
        shared = self._shared.setdefault(asyncio.get_running_loop(), _Shared())
        shared.users += 1
        try:
            return await outlasting(_opened(shared, self._url))
        except BaseException:
            await self._leave()
            raise

    async def _leave(self) -> None:
        shared = self._shared[asyncio.get_running_loop()]
        shared.users -= 1
        await outlasting(_closed_if_unused(shared))


@dataclass
class _Shared:
    """A database that is open in one event loop, and how many need it."""

    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    database: Database | None = None


async def _given_back(claiming: asyncio.Future[HeldRun | FinishedRun]) -> None:
    """End what was claimed for somebody who left meanwhile."""
    from omni_agent.graph.store.held import HeldRun

    if claiming.cancelled() or claiming.exception() is not None:
        return
    taken = claiming.result()
    if isinstance(taken, HeldRun):
        async with taken:
            await taken.cancel()


async def _opened(shared: _Shared, url: URL) -> Database:
    from omni_agent.graph.store.sql.database import Database

    async with shared.changing:
        if shared.database is None:
            shared.database = await Database.opened(url)
        return shared.database


async def _closed_if_unused(shared: _Shared) -> None:
    async with shared.changing:
        if not shared.users and shared.database is not None:
            database, shared.database = shared.database, None
            await database.aclose()


def _holder() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

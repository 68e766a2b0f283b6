"""A durable run's core calls: each is answered from the store, gone on with, or begun and written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from time import monotonic
from typing import Any

from omni_agent.core import (
    Begin,
    CanvasChange,
    Core,
    Generation,
    Request,
    Schedule,
    Snapshot,
    VoiceSettings,
    Yield,
)
from omni_agent.errors import NotAvailable
from omni_agent.graph.context import Path, StepContext
from omni_agent.graph.draws import Draws
from omni_agent.graph.store.held import HeldRun
from omni_agent.graph.store.records import CallKey, StoredCall
from omni_agent.values import GrowingSpeech, Image, Reply, Speech, SpeechChunk

__all__ = ["Journal"]


class Journal:
    """The core calls of one run.

    Args:
        held: where they are stored.
        snapshot_every: seconds between two snapshots of a call.
    """

    def __init__(self, held: HeldRun, *, snapshot_every: float) -> None:
        self._held = held
        self._snapshot_every = snapshot_every
        self._draws = Draws(held.seed)
        self._loop = asyncio.get_running_loop()
        self._stored: dict[CallKey, StoredCall] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def load(self, path: Path) -> None:
        """Have at hand what is stored of a step's calls."""
        self._stored.update(await self._held.calls(path))

    def ask(self, context: StepContext, core: Core, request: Request, begin: Begin) -> Generation:
        """Answer a step's request, or go on with it, or begin it."""
        key = self._draws.key(context, request)
        stored = self._stored.pop(key, None)
        if stored is not None and stored.value is not None:
            return _Answered(self, core, stored.value, stored.confidence)
        if stored is not None and stored.snapshot is not None:
            media = [each for each in _content(request) if isinstance(each, Image | Speech)]
            going_on = core.resume(Snapshot.from_json(stored.snapshot), media=media)
            return _Recorded(self, key, request, going_on)
        return _Recorded(self, key, request, begin(self._draws.drawn(key, request)))

    async def close(self) -> None:
        """Wait for the calls that were cancelled, and for what is still to be written of them."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # for its generations, which may live in another event loop, that of a sync step

    def watch(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that ends before the run does."""
        task = asyncio.get_running_loop().create_task(work)
        if asyncio.get_running_loop() is self._loop:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    async def value(self, text: str) -> Yield:
        """A stored answer."""
        value: Yield = await self._here(self._held.value(text, Yield, what="what a core gave"))
        return value

    async def finish(self, key: CallKey, request: Request, value: Yield, confidence: float | None) -> None:
        """Write down what a call gave."""
        await self._here(self._held.finish_call(key, request.task, value, confidence))

    async def interrupt(self, key: CallKey, request: Request, snapshot: Snapshot) -> None:
        """Write down where a call stands."""
        await self._here(self._held.put_snapshot(key, request.task, snapshot.to_json()))

    async def follow(self, key: CallKey, request: Request, generation: Generation) -> None:
        """Write down from time to time where a call stands."""
        written = monotonic()
        async for _ in generation:
            if monotonic() - written < self._snapshot_every:
                continue
            try:
                snapshot = generation.snapshot()
            except NotAvailable:
                return
            await self.interrupt(key, request, snapshot)
            written = monotonic()

    async def _here(self, work: Coroutine[Any, Any, Any]) -> Any:
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


class _Recorded(Generation):
    """A request under way, whose value is stored before anybody has it."""

    def __init__(self, journal: Journal, key: CallKey, request: Request, generation: Generation) -> None:
        self._journal = journal
        self._key = key
        self._request = request
        self._generation = generation
        self._task = journal.watch(self._recorded())
        self._task.add_done_callback(_retrieve)

    async def _recorded(self) -> Yield:
        following = self._journal.watch(self._journal.follow(self._key, self._request, self._generation))
        try:
            value = await self._generation
        finally:
            following.cancel()
        await self._journal.finish(self._key, self._request, value, self._generation.confidence)
        return value

    def __await__(self) -> Generator[Any, None, Yield]:
        return asyncio.shield(self._task).__await__()

    def __aiter__(self) -> AsyncIterator[CanvasChange]:
        return self._generation.__aiter__()

    def cancel(self) -> None:
        if not self._task.done() and self._generation.confidence is None:
            try:
                snapshot = self._generation.snapshot()
            except NotAvailable:
                pass
            else:
                self._journal.watch(self._journal.interrupt(self._key, self._request, snapshot))
        self._generation.cancel()

    @property
    def confidence(self) -> float | None:
        return self._generation.confidence

    @property
    def schedule(self) -> Schedule | None:
        return self._generation.schedule

    def speech(self, *, voice: VoiceSettings | None = None) -> GrowingSpeech:
        return self._generation.speech(voice=voice)

    def snapshot(self) -> Snapshot:
        return self._generation.snapshot()

    async def preview(self) -> Image | None:
        return await self._generation.preview()


class _Answered(Generation):
    """A request that was answered in an earlier process."""

    def __init__(self, journal: Journal, core: Core, text: str, confidence: float | None) -> None:
        self._core = core
        self._confidence = confidence
        self._task = journal.watch(journal.value(text))
        self._task.add_done_callback(_retrieve)

    def __await__(self) -> Generator[Any, None, Yield]:
        return asyncio.shield(self._task).__await__()

    async def __aiter__(self) -> AsyncIterator[CanvasChange]:
        nothing: tuple[CanvasChange, ...] = ()
        for change in nothing:
            yield change

    def cancel(self) -> None:
        pass  # it is done

    @property
    def confidence(self) -> float | None:
        return self._confidence

    def speech(self, *, voice: VoiceSettings | None = None) -> GrowingSpeech:
        if voice is not None:
            raise NotAvailable(
                "this request was answered in an earlier process, and speaks in the core's own voice: load"
                " the core with the voice wanted, `Core.load(..., voice=...)`"
            )
        return _Whole(self._core, self._task)


class _Whole(GrowingSpeech):
    """Sound that was there before: one chunk."""

    def __init__(self, core: Core, value: asyncio.Task[Yield]) -> None:
        self._core = core
        self._value = value
        self._chunks: tuple[SpeechChunk, ...] = ()

    async def _speech(self) -> Speech:
        value = await asyncio.shield(self._value)
        speech = await self._core.decoded(value.speech if isinstance(value, Reply) else value)
        assert isinstance(speech, Speech)
        self._chunks = (SpeechChunk(speech=speech, start=0, last=True),)
        return speech

    def __await__(self) -> Generator[Any, None, Speech]:
        return self._speech().__await__()

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        await self._speech()
        for chunk in self._chunks:
            yield chunk

    @property
    def chunks(self) -> tuple[SpeechChunk, ...]:
        return self._chunks


def _content(request: Request) -> list[Any]:
    return [*request.content, *(turn.value for turn in request.history or ())]


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # one that nobody awaits is no news for the log

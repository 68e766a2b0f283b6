"""A request at the engine of this process, as something to await, to iterate and to leave.

The engine's thread rings; event loops listen. However slow a loop is, one ring at most waits in it, and what
it then finds is the latest state: that is how changes coalesce and how no reader slows the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import CancelledError
from typing import Any, Self

from omni_agent.core import (
    CanvasChange,
    Generation,
    Schedule,
    Snapshot,
    VoiceSettings,
    Yield,
    check_voice,
    observer,
)
from omni_agent.core_model.decoding import Decoding, schedule_of
from omni_agent.core_model.ticket import Finished, Ticket
from omni_agent.values import GrowingSpeech, Image, Speech, SpeechChunk

__all__ = ["LocalGeneration", "finished"]


class _Bell:
    """Wakes one task of the running loop when its ticket has news. Rings not heard yet count as one."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._rung = False

    def __enter__(self) -> Self:
        self._ticket.watch(self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        self._ticket.unwatch(self._ring)

    async def heard(self) -> None:
        """Return once there was a ring since the last call. Look at the ticket after this, never before."""
        await self._event.wait()
        self._event.clear()
        self._rung = False  # before the ticket is read: a change after that reading rings anew

    def _ring(self) -> None:
        if self._rung and not self._loop.is_closed():
            return
        self._rung = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop was closed over its waiting task, which will never ask again
            self._ticket.unwatch(self._ring)
            if not self._ticket.watched:
                self._ticket.cancel()


class LocalGeneration(Generation):
    """A request going on in the engine's thread: it goes on whether or not anybody awaits or iterates it.

    Args:
        ticket: its place at the engine.
        listen: asks the engine for its sound in a voice.
        take: makes a snapshot of a state, and the seconds left until the deadline.
        look: asks the engine for the picture as a state has it.
    """

    def __init__(
        self,
        ticket: Ticket,
        listen: Callable[[VoiceSettings | None], Ticket],
        take: Callable[[Decoding | None, float | None], Snapshot],
        look: Callable[[Decoding], Ticket],
    ) -> None:
        self._ticket = ticket
        self._listen = listen
        self._take = take
        self._look = look
        self._speeches: dict[VoiceSettings | None, _LocalGrowingSpeech] = {}
        self._observer = observer.get()
        self._observed: CanvasChange | None = None

    def __await__(self) -> Generator[Any, None, Yield]:
        return self._value().__await__()

    async def __aiter__(self) -> AsyncIterator[CanvasChange]:
        seen: CanvasChange | None = None
        with _Bell(self._ticket) as bell:
            while True:
                done, change = self._ticket.done, self._ticket.change  # in this order: the end comes last
                if change is not None and change is not seen:
                    seen = change
                    self._observe(change)
                    yield change
                elif done:
                    return
                else:
                    await bell.heard()

    def speech(self, *, voice: VoiceSettings | None = None) -> GrowingSpeech:
        """The sound of its speech while it goes on; see `Generation.speech`."""
        check_voice(voice)
        if voice not in self._speeches:
            self._speeches[voice] = _LocalGrowingSpeech(self._listen(voice), self.cancel)
        return self._speeches[voice]

    def cancel(self) -> None:
        """Cancel, unless it is finished: no model call is begun for it any more, nor is any sound made."""
        self._ticket.cancel()
        for speech in self._speeches.values():
            speech.cancel()

    @property
    def confidence(self) -> float | None:
        """The lowest confidence among the committed tokens; None until finished, and when it failed."""
        return self._ticket.confidence

    @property
    def schedule(self) -> Schedule | None:
        """The denoising steps, as asked and as run so far; None before the canvas is made."""
        state = self._ticket.state
        return None if state is None else schedule_of(state)

    def snapshot(self) -> Snapshot:
        """Where the request stands; see `Generation.snapshot`."""
        due = self._ticket.due
        return self._take(self._ticket.state, None if due is None else max(due - time.monotonic(), 0.0))

    async def preview(self) -> Image | None:
        """The picture as it stands; see `Generation.preview`."""
        state = self._ticket.state
        if state is None or not state.run:
            return None
        picture = (await finished(self._look(state))).value
        assert isinstance(picture, Image)
        return picture

    async def _value(self) -> Yield:
        with _Bell(self._ticket) as bell:
            try:
                while True:
                    done = self._ticket.done
                    if self._observer is not None and (change := self._ticket.change) is not None:
                        self._observe(change)
                    if done:
                        return _outcome(self._ticket).value
                    await bell.heard()
            except BaseException:  # cancelled, or dropped unfinished with its loop
                self.cancel()
                raise

    def _observe(self, change: CanvasChange) -> None:
        """Show a change to the graph's step this was asked in, once, whoever reads it here."""
        if self._observer is not None and change is not self._observed:
            self._observed = change
            self._observer(change)


class _LocalGrowingSpeech(GrowingSpeech):
    """Sound that the engine's thread makes: it goes on whether or not anybody hears it.

    Args:
        ticket: of who listens.
        leave: what to do when who awaits the whole is cancelled.
    """

    def __init__(self, ticket: Ticket, leave: Callable[[], None]) -> None:
        self._ticket = ticket
        self._leave = leave

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        seen = 0
        with _Bell(self._ticket) as bell:
            while True:
                done, chunks = self._ticket.done, self.chunks  # in this order: the end comes last
                for chunk in chunks[seen:]:
                    yield chunk
                seen = len(chunks)
                if done:
                    _outcome(self._ticket)
                    return
                await bell.heard()

    def __await__(self) -> Generator[Any, None, Speech]:
        return self._whole().__await__()

    @property
    def chunks(self) -> tuple[SpeechChunk, ...]:
        """Those that there are by now."""
        return tuple(self._ticket.chunks)

    def cancel(self) -> None:
        """Make no more of it."""
        self._ticket.cancel()

    async def _whole(self) -> Speech:
        try:
            speech = (await finished(self._ticket)).value
        except asyncio.CancelledError:
            self._leave()
            raise
        assert isinstance(speech, Speech)
        return speech


async def finished(ticket: Ticket) -> Finished:
    """Wait for a ticket's outcome. Cancelling this cancels the ticket."""
    with _Bell(ticket) as bell:
        try:
            while not ticket.done:
                await bell.heard()
        except BaseException:
            ticket.cancel()
            raise
    return _outcome(ticket)


def _outcome(ticket: Ticket) -> Finished:
    """The outcome of a ticket that is done, in asyncio's words."""
    try:
        return ticket.result(timeout=0)
    except CancelledError:
        raise asyncio.CancelledError(f"request {ticket.number} was cancelled") from None

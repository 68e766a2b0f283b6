"""A request's place at the engine: what others hold of it, safe to use from any thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, replace

from omni_agent.core import CanvasChange, Yield, how_it_ended
from omni_agent.core_model.decoding import Decoding
from omni_agent.values import SpeechChunk

__all__ = ["Describe", "Finished", "Ticket"]

Describe = Callable[[Decoding, int], CanvasChange]
"""What watchers are told of a request's state, given its number."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a request came to: its value, and the lowest confidence among its tokens (a decoding has none)."""

    value: Yield
    confidence: float | None


class Ticket:
    """A request's place at the engine, safe to use from any thread.

    It ends once: with a value, with an error, or cancelled; the first of them wins.

    Attributes:
        asked: when it was made, on the clock of `time.monotonic`.
        filled: when the canvas was, if it is.
    """

    def __init__(
        self, number: int, on_end: Callable[[Ticket], None], describe: Describe | None = None
    ) -> None:
        self.number = number
        self.asked = time.monotonic()
        self.filled = self.asked
        self.due: float | None = None
        self._on_end: Callable[[Ticket], None] | None = on_end
        self._describe = describe
        self._state: Decoding | None = None
        self._change: CanvasChange | None = None
        self._chunks: list[SpeechChunk] = []
        self._looking = threading.Lock()
        self._outcome: Future[Finished] = Future()
        self._watchers: list[Callable[[], None]] = []

    @property
    def is_request(self) -> bool:
        """Whether it is of a request: there are those of values to be decoded, and of listeners, too."""
        return self._describe is not None

    @property
    def state(self) -> Decoding | None:
        """The latest state of the canvas; the last one stands before the ticket is done."""
        return self._state

    @property
    def change(self) -> CanvasChange | None:
        """The latest change of the canvas, the same object until there is another; made for who looks first,
        in his thread.
        """
        with self._looking:
            state = self._state
            if state is None or not state.run or self._describe is None:
                return None
            if self._change is None or self._change.step != state.step:
                self._change = self._describe(state, self.number)
            return self._change

    @property
    def chunks(self) -> Sequence[SpeechChunk]:
        """What there is of the sound that was asked for by `Engine.listen`; it grows. The last one stands
        before the ticket is done.
        """
        return self._chunks

    @property
    def done(self) -> bool:
        """Whether there is an outcome: a value, an error, or cancelled."""
        return self._outcome.done()

    @property
    def cancelled(self) -> bool:
        """Whether the outcome is that it was cancelled."""
        return self._outcome.cancelled()

    @property
    def how_it_ended(self) -> str:
        """Of a ticket that is done: "finished", "failed", "late" where its deadline could not be met, or
        "cancelled".
        """
        if self.cancelled:
            return "cancelled"
        return how_it_ended(self._outcome.exception())

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    @property
    def confidence(self) -> float | None:
        """The outcome's confidence; None when there is none."""
        if not self.done or self.cancelled or self._outcome.exception() is not None:
            return None
        return self._outcome.result().confidence

    def result(self, timeout: float | None = None) -> Finished:
        """Block until the outcome is there.

        Raises:
            CancelledError: it was cancelled (the error is that of concurrent.futures).
            TimeoutError: there was none in `timeout` seconds.
            Exception: the request's own error.
        """
        return self._outcome.result(timeout)

    def cancel(self) -> None:
        """Cancel, unless done already: no model call is begun for it any more. Returns at once."""
        if self._outcome.cancel():
            self._ended()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after every change and at the end, in whatever thread that happens; it must be
        quick.

        What happened before is not told: look at the ticket after this call.
        """
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Undo `watch`; nothing, if that is undone already."""
        with suppress(ValueError):
            self._watchers.remove(watcher)

    def begun(self, state: Decoding) -> None:
        """There is a canvas."""
        self._become(state)

    def publish(self, state: Decoding) -> None:
        """A denoising step was made."""
        self._become(state.forgetful() if state.done else state)
        self._ring()

    def say(self, chunk: SpeechChunk) -> None:
        """There is more sound."""
        self._chunks.append(chunk)
        self._ring()

    def finish(self, finished: Finished) -> None:
        """End with a value, unless it has ended."""
        with suppress(InvalidStateError):  # cancelled meanwhile
            self._outcome.set_result(finished)
            self._ended()

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended."""
        with suppress(InvalidStateError):
            self._outcome.set_exception(error)
            self._ended()

    def _ended(self) -> None:
        on_end, self._on_end = self._on_end, None  # a kept ticket must not keep the engine and its weights
        if on_end is not None:
            on_end(self)
        self._let_go()
        self._ring()

    def _become(self, state: Decoding) -> None:
        self._state = state
        if state.done:
            self.filled = time.monotonic()
        if self.done:
            self._let_go()

    def _let_go(self) -> None:
        """A kept ticket keeps nothing that is remembered for further steps."""
        if self._state is not None:
            self._state = replace(self._state, prefix=None, prompt=None, prompt_of=None)

    def _ring(self) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher()
            except Exception:
                _log.exception("a watcher of request %d failed", self.number)

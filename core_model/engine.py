"""The engine: one thread that owns the weights and advances the denoising steps of all requests.

It goes in rounds. In each round every request in flight has one turn: its canvas first, then one denoising
step at a time. So requests go on side by side, and a short one is not kept waiting by a long one. Whatever
computes with the weights happens in this thread and nowhere else. Nothing here knows of asyncio: a `Ticket`
rings its watchers, and `generation.py` makes that awaitable.

What holds in every round: a cancelled request gets no further model call; a failing request fails alone; what
a request yields does not depend on what else is in flight, as its state is a value and its noise is keyed by
its own seed.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

import torch

from omni_agent.core import CanvasChange, Request, Value, Yield
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.listening import Listening
from omni_agent.core_model.model import Model
from omni_agent.errors import CoreClosed, Overloaded
from omni_agent.values import Reply, Speech, SpeechChunk

__all__ = ["Engine", "Finished", "Grouping", "Ticket", "alone", "same_shape"]

QUEUE_SIZE = 256
IN_FLIGHT = 16

# An idle engine looks this often whether the program has ended: one never closed must not keep it alive.
_IDLE_SECONDS = 1.0

_log = logging.getLogger(__name__)

Describe = Callable[[Decoding, int], CanvasChange]
"""What watchers are told of a request's state, given its number."""

Grouping = Callable[[Sequence[Hashable]], Sequence[Sequence[int]]]
"""Who goes into one model call.

Given the shape keys of the requests whose turn it is, the groups, as indices into the keys: each in one
group, and those of a group with equal keys.
"""


def alone(keys: Sequence[Hashable]) -> list[list[int]]:
    """Every request in a model call of its own: it yields exactly what it yields at an idle engine."""
    return [[index] for index in range(len(keys))]


def same_shape(keys: Sequence[Hashable]) -> list[list[int]]:
    """All of one shape in one model call. Right up to rounding, which differs with the number of rows."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a request came to: its value, and the lowest confidence among its tokens (a decoding has none)."""

    value: Yield
    confidence: float | None


class Ticket:
    """A request's place at the engine, safe to use from any thread.

    It ends once: with a value, with an error, or cancelled; the first of them wins.
    """

    def __init__(
        self, number: int, on_end: Callable[[Ticket], None], describe: Describe | None = None
    ) -> None:
        self.number = number
        self._on_end: Callable[[Ticket], None] | None = on_end
        self._describe = describe
        self._state: Decoding | None = None
        self._change: CanvasChange | None = None
        self._chunks: list[SpeechChunk] = []
        self._looking = threading.Lock()
        self._outcome: Future[Finished] = Future()
        self._watchers: list[Callable[[], None]] = []

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

    def _publish(self, state: Decoding) -> None:
        self._state = state.forgetful() if state.done else state
        self._ring()

    def _say(self, chunk: SpeechChunk) -> None:
        self._chunks.append(chunk)
        self._ring()

    def _finish(self, finished: Finished) -> None:
        with suppress(InvalidStateError):  # cancelled meanwhile
            self._outcome.set_result(finished)
            self._ended()

    def _fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self._outcome.set_exception(error)
            self._ended()

    def _ended(self) -> None:
        on_end, self._on_end = self._on_end, None  # a kept ticket must not keep the engine and its weights
        if on_end is not None:
            on_end(self)
        self._ring()

    def _ring(self) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher()
            except Exception:
                _log.exception("a watcher of request %d failed", self.number)


@dataclass(frozen=True, kw_only=True)
class _Going:
    """The state of a request between two turns, and the shape it has for the next."""

    decoding: Decoding
    shape: Hashable


@dataclass(kw_only=True, eq=False)
class _Job:
    """What the engine holds of a request while it is queued or in flight."""

    ticket: Ticket
    work: Request | Value
    going: _Going | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Listener:
    """Somebody who hears a request while it goes on. It has its turns beside those in flight and takes no
    place of theirs, as it waits for one of them.
    """

    ticket: Ticket
    source: Ticket
    heard: Listening = field(default_factory=Listening)


class Engine:
    """Owns a model and serves requests with it until `close`. Every method may be called from any thread.

    Up to `in_flight` requests are advanced in turns and `queue_size` more are queued, first come, first
    served. Past that a request stands behind the queue until there is room, or is refused if it says it does
    not wait.
    """

    def __init__(
        self,
        model: Model,
        *,
        queue_size: int = QUEUE_SIZE,
        in_flight: int = IN_FLIGHT,
        grouping: Grouping = alone,
    ) -> None:
        if queue_size < 0 or in_flight < 1:
            raise ValueError(
                f"queue_size={queue_size}, in_flight={in_flight} were given; wanted queue_size of 0 or more"
                " and in_flight of 1 or more"
            )
        self._model = model
        self._describe: Describe = model.teller()
        self._grouping = grouping
        self._in_flight_limit = in_flight
        self._room = queue_size + in_flight
        self._numbers = itertools.count(1)
        # Under the condition: who waits for the engine (in order), who is not done, whether it closes.
        self._condition = threading.Condition()
        self._queue: dict[int, _Job] = {}
        self._listeners: dict[int, _Listener] = {}
        self._unfinished: dict[int, Ticket] = {}
        self._closing = False
        self._broken: BaseException | None = None
        # The engine thread's own.
        self._in_flight: list[_Job] = []
        # Not a daemon: a thread killed inside a model call takes the interpreter with it.
        self._thread = threading.Thread(target=self._serve, name="omni-agent engine", daemon=False)
        self._thread.start()

    def submit(self, request: Request, *, wait: bool = True) -> Ticket:
        """Ask for `request`. Returns at once: its media is tokenised at its turn, in the engine's thread.

        Raises:
            Overloaded: there is no room and `wait` is False.
            CoreClosed: the engine is closed.
        """
        return self._enter(request, wait=wait)

    def decode(self, value: Value) -> Ticket:
        """Ask for `value` with pixels or samples, made from its tokens.

        Never refused for want of room, as what it completes was let in before.

        Raises:
            CoreClosed: the engine is closed.
        """
        return self._enter(value, wait=True)

    def listen(self, source: Ticket) -> Ticket:
        """Ask for the sound of a request of speech, to be made as far as its codes are decided.

        Its `chunks` grow; it ends with the whole sound, with what the request ends with, or with its own
        error. Never refused for want of room, as `decode`.

        Raises:
            CoreClosed: the engine is closed.
        """
        with self._condition:
            if self._closing:
                raise self._closed()
            ticket = Ticket(next(self._numbers), self._leave)
            self._unfinished[ticket.number] = ticket
            self._listeners[ticket.number] = _Listener(ticket=ticket, source=source)
            self._condition.notify_all()
        return ticket

    def stop(self) -> None:
        """Take no more requests, end those that are left with `CoreClosed`, make no further model call.

        Returns at once.
        """
        with self._condition:
            self._closing = True
            left = list(self._unfinished.values())
            self._condition.notify_all()
        for ticket in left:
            ticket._fail(self._closed())

    def close(self) -> None:
        """`stop`, and block until the thread has ended: at most the model call that is going on."""
        self.stop()
        self._thread.join()

    def _enter(self, work: Request | Value, *, wait: bool) -> Ticket:
        with self._condition:
            if self._closing:
                raise self._closed()
            if not wait and self._is_full():
                raise Overloaded(
                    f"the core has {len(self._unfinished)} requests and takes {self._room}:"
                    " ask again later, or let the request wait (wait=True)"
                )
            ticket = Ticket(next(self._numbers), self._leave, self._describe)
            self._unfinished[ticket.number] = ticket
            self._queue[ticket.number] = _Job(ticket=ticket, work=work)
            self._condition.notify_all()
        return ticket

    def _is_full(self) -> bool:
        if len(self._unfinished) < self._room:
            return False  # those who have just ended are still among them for a moment, and do not count
        return sum(not ticket.done for ticket in self._unfinished.values()) >= self._room

    def _leave(self, ticket: Ticket) -> None:
        """A ticket that is done gives up its place at once, also one cancelled while it was queued."""
        with self._condition:
            self._unfinished.pop(ticket.number, None)
            self._queue.pop(ticket.number, None)
            self._listeners.pop(ticket.number, None)

    # From here on: the engine's thread.

    def _serve(self) -> None:
        try:
            with torch.inference_mode():
                while self._admit():
                    self._round()
        except BaseException as error:  # of the engine itself: nobody may wait for a thread that is gone
            _log.exception("the engine broke down")
            self._broken = error
        finally:
            self._in_flight.clear()
            self.stop()

    def _closed(self) -> CoreClosed:
        if self._broken is None:
            return CoreClosed("the core is closed: ask within `async with Core.load(...) as core:`")
        closed = CoreClosed(f"the core broke down ({self._broken!r}): load it again, and please report this")
        closed.__cause__ = self._broken
        return closed

    def _admit(self) -> bool:
        """Let those who are done go and those who wait come. False when the engine is to stop."""
        self._in_flight = [job for job in self._in_flight if not job.ticket.done]
        with self._condition:
            while not (self._in_flight or self._queue or self._closing or self._has_sound_left()):
                self._condition.wait(_IDLE_SECONDS)
                if not threading.main_thread().is_alive():
                    self._closing = True
            while self._queue and len(self._in_flight) < self._in_flight_limit:
                self._in_flight.append(self._queue.pop(next(iter(self._queue))))
            return not self._closing

    def _has_sound_left(self) -> bool:
        """Whether somebody listens to a request that is done: who listens to others waits for them."""
        return any(listener.source.done for listener in self._listeners.values())

    def _round(self) -> None:
        """One turn for each request in flight."""
        new = [job for job in self._in_flight if job.going is None]
        going = [job for job in self._in_flight if job.going is not None]
        for job in new:
            self._begin(job)
        for group in self._grouping([job.going.shape for job in going if job.going is not None]):
            self._advance([going[index] for index in group])
        for listener in tuple(self._listeners.values()):
            self._hear(listener)

    def _begin(self, job: _Job) -> None:
        """A job's first turn: the canvas of a request; all of a decoding."""
        if job.ticket.done:
            return
        try:
            if isinstance(job.work, Request):
                canvas = self._model.canvas(job.work)
                job.going = self._going(self._model.start(canvas, job.work.settings))
            else:
                job.ticket._finish(Finished(value=self._model.decode(job.work), confidence=None))
        except Exception as error:
            job.ticket._fail(error)

    def _advance(self, jobs: Sequence[_Job]) -> None:
        """One model call for `jobs`. If it fails, each has its own, so that only the guilty one fails."""
        jobs = [job for job in jobs if not job.ticket.done]
        try:
            before = [job.going.decoding for job in jobs if job.going is not None]
            after = self._model.advance(before) if before else []
            taken = list(zip(jobs, after, strict=True))
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].ticket._fail(error)
            else:
                for job in jobs:
                    self._advance([job])
            return
        for job, decoding in taken:
            try:
                self._take(job, decoding)
            except Exception as error:
                job.ticket._fail(error)

    def _take(self, job: _Job, decoding: Decoding) -> None:
        """Publish what a denoising step yielded, and finish the request if that was the last."""
        assert isinstance(job.work, Request)
        job.going = self._going(decoding)
        job.ticket._publish(decoding)
        if decoding.done:
            job.ticket._finish(Finished(value=self._model.value(decoding), confidence=decoding.confidence))

    def _hear(self, listener: _Listener) -> None:
        """A listener's turn: a chunk of sound, if there are codes for one."""
        ticket, heard = listener.ticket, listener.heard
        if listener.source.cancelled:
            ticket.cancel()
        if ticket.done:
            return
        try:
            codes, complete = self._decided(listener.source)
            chunk = heard.turn(self._model, codes, complete=complete)
            if chunk is not None:
                ticket._say(chunk)
                if chunk.last:
                    ticket._finish(Finished(value=heard.whole(self._model), confidence=None))
        except Exception as error:
            ticket._fail(error)

    def _decided(self, source: Ticket) -> tuple[Sequence[int], bool]:
        """A request's speech codes as far as they are decided from the left, and whether that is all."""
        if source.done:
            value = source.result(timeout=0).value
            speech = value.speech if isinstance(value, Reply) else value
            assert isinstance(speech, Speech)
            assert speech.tokens is not None
            return speech.tokens.ids, True
        for job in self._in_flight:
            if job.ticket is source and job.going is not None:
                return self._model.spoken(job.going.decoding)
        return (), False

    def _going(self, decoding: Decoding) -> _Going:
        return _Going(decoding=decoding, shape=self._model.shape_key(decoding))

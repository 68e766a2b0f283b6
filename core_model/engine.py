"""The engine: one thread that owns the weights and advances the denoising steps of all requests.

It goes in rounds. In each round every request in flight has one turn: its canvas first, then one denoising
step at a time. So requests go on side by side, and a short one is not kept waiting by a long one. Those of
lower priority have fewer turns; while one with a deadline needs its turns, it has them first, and the others
a tenth of the time. Whatever computes with the weights happens in this thread and nowhere else. Nothing here
knows of asyncio: a `Ticket` rings its watchers, and `generation.py` makes that awaitable.

Where steps have a fixed shape (`captured.py`) the device is one step ahead: a step is launched, and then what
the one before left is looked at, published and timed. Those with deadlines are not planned before that.

What holds in every round: a cancelled request gets no further model call; a failing request fails alone; what
a request yields does not depend on what else is in flight, as its state is a value and its noise is a
function of its own seed.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from omni_agent.core import Modality, Request, Snapshot, Status, Value, VoiceSettings
from omni_agent.core_model import jobs
from omni_agent.core_model.counters import Counters
from omni_agent.core_model.decoding import MASKED, Decoding, wanted
from omni_agent.core_model.grouping import Always, Grouping, Paying, Shape, alone
from omni_agent.core_model.hurry import Hurry
from omni_agent.core_model.jobs import Job
from omni_agent.core_model.kept_errors import without_frames
from omni_agent.core_model.listening import Listening
from omni_agent.core_model.model import Model
from omni_agent.core_model.precision import full_float32
from omni_agent.core_model.ticket import Describe, Finished, Ticket
from omni_agent.errors import CoreClosed, Overloaded
from omni_agent.values import Reply, Speech

__all__ = ["Engine"]

QUEUE_SIZE = 256
IN_FLIGHT = 16

_THREAD = "omni-agent engine"

# An idle engine looks this often whether the program has ended: one never closed must not keep it alive.
_IDLE_SECONDS = 1.0

_PREPARING_SECONDS = 1.0
"""More than it takes to capture a step: whoever is due before does not wait for that."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Listener:
    """Somebody who hears a request while it goes on. It has its turns beside those in flight and takes no
    place of theirs, as it waits for one of them.
    """

    ticket: Ticket
    source: Ticket
    heard: Listening


@dataclass(frozen=True, kw_only=True, eq=False)
class _Launch:
    """A step of a group: of each its job, the state before it and that after it, which may be on its way."""

    taken: list[tuple[Job, Decoding, Decoding]]
    shape: Shape | None
    begun: float


class Engine:
    """Owns a model and serves requests with it until `close`. Every method may be called from any thread.

    Up to `in_flight` requests are advanced in turns, and whoever has a deadline besides; `queue_size` more
    are queued, the most urgent first, equals as they came, but for each fourth place. Past that a request
    stands behind the queue until there is room, or is refused if it says it does not wait.

    Args:
        model: what is served.
        queue_size: requests queued, 0 or more.
        in_flight: requests advanced in turns, 1 or more; those of higher priority find room beside others.
        grouping: who shares a model call; `Paying()` finds out.
    """

    def __init__(
        self,
        model: Model,
        *,
        queue_size: int = QUEUE_SIZE,
        in_flight: int = IN_FLIGHT,
        grouping: Grouping | Paying = alone,
    ) -> None:
        if queue_size < 0 or in_flight < 1:
            raise ValueError(
                f"queue_size={queue_size}, in_flight={in_flight} were given; wanted queue_size of 0 or more"
                " and in_flight of 1 or more"
            )
        self._model = model
        self._describe: Describe = model.teller()
        self._grouping = grouping if isinstance(grouping, Paying) else Always(grouping)
        self._in_flight_limit = in_flight
        self._room = queue_size + in_flight
        self._numbers = itertools.count(1)
        self._counters = Counters()
        # Under the condition: who waits for the engine (in order), who is not done, whether somebody came or
        # left since those who wait were looked at, whether it closes.
        self._condition = threading.Condition()
        self._queue: dict[int, Job] = {}
        self._listeners: dict[int, _Listener] = {}
        self._unfinished: dict[int, Ticket] = {}
        self._news = False
        self._closing = False
        self._broken: BaseException | None = None
        self._hurry = Hurry()
        # The engine thread's own.
        self._in_flight: list[Job] = []
        self._rounds = self._turns = self._turns_before = 0
        self._places = 0  # in flight, that were given
        self._launch: _Launch | None = None
        self._looked = 0.0
        self._process = os.getpid()
        # Not a daemon: a thread killed inside a model call takes the interpreter with it.
        self._thread = threading.Thread(target=self._serve, name=_THREAD, daemon=False)
        self._thread.start()

    def submit(self, request: Request, *, wait: bool = True, snapshot: Snapshot | None = None) -> Ticket:
        """Ask for `request`. Returns at once: its media is tokenised at its turn, in the engine's thread.

        Args:
            request: what is asked for.
            wait: stand behind the queue where there is no room.
            snapshot: where it goes on from.

        Raises:
            Overloaded: there is no room and `wait` is False.
            CoreClosed: the engine is closed.
        """
        return self._enter(request, wait=wait, snapshot=snapshot)

    def decode(self, value: Value) -> Ticket:
        """Ask for `value` with pixels or samples, made from its tokens.

        Never refused for want of room, as what it completes was let in before.

        Raises:
            CoreClosed: the engine is closed.
        """
        return self._enter(value, wait=True)

    def listen(self, source: Ticket, voice: VoiceSettings | None = None) -> Ticket:
        """Ask for the sound of a request of speech, in a voice, to be made as far as its codes are decided.

        Its `chunks` grow; it ends with the whole sound, with what the request ends with, or with its own
        error. Never refused for want of room, as `decode`.

        Raises:
            CoreClosed: the engine is closed.
        """
        self._check_process()
        with self._condition:
            if self._closing:
                raise self._closed()
            ticket = Ticket(next(self._numbers), self._leave)
            self._unfinished[ticket.number] = ticket
            self._listeners[ticket.number] = _Listener(ticket=ticket, source=source, heard=Listening(voice))
            self._condition.notify_all()
        return ticket

    def stop(self) -> None:
        """Take no more requests, end those that are left with `CoreClosed`, make no further model call.

        Returns at once.
        """
        if self._is_fork():
            return  # the thread, and who waits for it, are the other process's
        with self._condition:
            self._closing = True
            left = list(self._unfinished.values())
            self._condition.notify_all()
        for ticket in left:
            ticket.fail(self._closed())

    def close(self) -> None:
        """`stop`, and block until the thread has ended: at most the model call that is going on."""
        self.stop()
        self._thread.join()

    def status(self) -> Status:
        """What the engine is doing, and what it has done.

        Raises:
            CoreClosed: it broke down.
        """
        self._check_process()
        with self._condition:
            if self._broken is not None:
                raise self._closed()
            queued = sum(not job.is_value and not job.ticket.done for job in self._queue.values())
            return self._counters.status(queued=queued, active=self._requests_left() - queued)

    def _enter(self, work: Request | Value, *, wait: bool, snapshot: Snapshot | None = None) -> Ticket:
        self._check_process()
        now = time.monotonic()
        with self._condition:
            if self._closing:
                raise self._closed()
            if not wait and (number := self._requests_left()) >= self._room:
                self._counters.ended("refused")
                raise Overloaded(
                    f"the core has {number} requests and takes {self._room}:"
                    " ask again later, or let the request wait (wait=True)"
                )
            describe = self._describe if isinstance(work, Request) else None
            ticket = Ticket(next(self._numbers), self._leave, describe)
            ticket.due = _due(work, snapshot, now)
            job = Job(ticket=ticket, work=work, due=ticket.due, snapshot=snapshot)
            refusal = None if job.due is None else self._hurry.refusal(job, now)
            self._unfinished[ticket.number] = ticket
            if refusal is None:
                self._queue[ticket.number] = job
                self._news = True
                self._condition.notify_all()
        if refusal is not None:
            ticket.fail(refusal)
        return ticket

    def _check_process(self) -> None:
        """A fork has no engine thread, and the lock may be held for ever there: nobody may wait for it."""
        if self._is_fork():
            raise CoreClosed(
                f"the core was loaded in process {self._process}, and this is a fork of it, {os.getpid()}:"
                " its engine does not run here; load the core after forking, or start processes by 'spawn'"
            )

    def _is_fork(self) -> bool:
        return os.getpid() != self._process

    def _requests_left(self) -> int:
        """How many requests are not done; those who have just ended are still unfinished for a moment."""
        left = self._unfinished.values()
        return sum(ticket.is_request and not ticket.done for ticket in left)

    def _leave(self, ticket: Ticket) -> None:
        """A ticket that is done gives up its place at once, also one cancelled while it was queued."""
        with self._condition:
            self._unfinished.pop(ticket.number, None)
            self._queue.pop(ticket.number, None)
            self._news = True
            self._listeners.pop(ticket.number, None)
        if ticket.is_request:
            self._counters.ended(ticket.how_it_ended, ticket.filled - ticket.asked)

    # From here on: the engine's thread.

    def _serve(self) -> None:
        try:
            with torch.inference_mode(), full_float32():
                while self._admit():
                    begun, turns = time.monotonic(), self._turns
                    self._round()
                    self._hurry.pace.turned(self._turns - turns, time.monotonic() - begun)
        except BaseException as error:  # of the engine itself: nobody may wait for a thread that is gone
            _log.exception("the engine broke down")
            self._broken = without_frames(error)
        finally:
            self._in_flight.clear()
            self._launch = None
            self.stop()

    def _closed(self) -> CoreClosed:
        if self._broken is None:
            return CoreClosed("the core is closed: ask within `async with Core.load(...) as core:`")
        closed = CoreClosed(f"the core broke down ({self._broken!r}): load it again, and please report this")
        closed.__cause__ = self._broken
        return closed

    def _admit(self) -> bool:
        """Let those who are done go and those who wait come. False when the engine is to stop."""
        if all(job.ticket.done for job in self._in_flight):
            self._look_back()  # nobody else would
        with self._condition:
            # who is done from here on leaves after this, which is news
            self._in_flight = [job for job in self._in_flight if not job.ticket.done]
            while not (self._in_flight or self._queue or self._is_to_stop() or self._has_sound_left()):
                self._condition.wait(_IDLE_SECONDS)
            while self._news and (job := self._next(self._in_flight)):
                self._places += jobs.took_its_turn(job, list(self._queue.values()), self._places)
                if job.due is not None and any(other.due is not None for other in self._in_flight):
                    self._hurry.comes(job, time.monotonic())
                self._in_flight.append(self._queue.pop(job.ticket.number))
            self._news = False
            return not self._is_to_stop()

    def _next(self, in_flight: Sequence[Job]) -> Job | None:
        """Who comes in flight next, beside these; under the condition."""
        return jobs.next_waiting(list(self._queue.values()), in_flight, self._in_flight_limit, self._places)

    def _is_to_stop(self) -> bool:
        return self._closing or _is_program_over()

    def _has_sound_left(self) -> bool:
        """Whether somebody listens to a request that is done: who listens to others waits for them."""
        return any(listener.source.done for listener in self._listeners.values())

    def _round(self) -> None:
        """One turn for each request in flight whose turn it is."""
        self._rounds += 1
        pressed = self._with_deadlines()
        turn = pressed or jobs.for_turn(self._in_flight, self._rounds, self._in_flight_limit)
        if not pressed:
            # first those who had none in the last round, as it was broken off
            turn.sort(key=lambda job: job.last_turn > self._turns_before)
        self._turns_before = self._turns
        going = [job for job in turn if job.decoding is not None]
        begun: list[Job] = []
        for job in turn:
            if job.decoding is None and not self._is_broken_off():
                self._turns_begin([job])
                self._begin(job)
                if job.decoding is not None and not job.decoding.done:
                    # it has its first step at once, as it was planned with that, and others had theirs
                    self._hurry.begun(job)
                    begun.append(job)
        going = [*begun, *going]
        for group in self._groups(going):
            if self._is_broken_off():
                break
            self._turns_begin(group)
            self._advance(group)
        if not going:
            self._look_back()
        for listener in tuple(self._listeners.values()):
            self._hear(listener)

    def _turns_begin(self, group: Sequence[Job]) -> None:
        for job in group:
            self._turns += 1
            job.last_turn = self._turns

    def _is_broken_off(self) -> bool:
        """Whether the round ends early: somebody has come who has a deadline, and may have no time for it; or
        a place was given up, for which somebody waits.
        """
        with self._condition:
            if not self._news:
                return False
            if any(job.due is not None for job in self._queue.values()):
                return True
            left = [job for job in self._in_flight if not job.ticket.cancelled]
            return len(left) < len(self._in_flight) and self._next(left) is not None

    def _with_deadlines(self) -> list[Job]:
        """Whose turn it is because of a deadline; nobody, where there is time for a round of all."""
        if not any(job.due is not None and not job.ticket.done for job in self._in_flight):
            return []
        self._look_back()
        return self._hurry.turn(self._in_flight, time.monotonic())

    def _groups(self, going: Sequence[Job]) -> list[list[Job]]:
        """Who shares a model call, of those who go on."""
        for job in going:
            if job.due is not None:
                self._goes_on(job, _decoding(job))  # in a hurry, its next step may be another than it was
        ready = [(job, job.shape) for job in going if job.shape is not None]

        def alike(indices: Sequence[int]) -> bool:
            try:
                return self._model.alike([_decoding(ready[index][0]) for index in indices])
            except torch.OutOfMemoryError:
                self._grouping.too_many(ready[indices[0]][1], len(indices))
            except Exception:
                # not for several; alone, each says itself what is wrong with it, if anything is
                _log.debug("a call for %d could not be compared", len(indices), exc_info=True)
            return False

        groups = self._grouping.groups([shape for _, shape in ready], alike)
        return [[ready[index][0] for index in group] for group in groups]

    def _begin(self, job: Job) -> None:
        """A job's first turn: the canvas of a request; all of a decoding."""
        if job.ticket.done:
            return
        self._look_back()  # a step that is on its way is timed without what comes now
        before = time.monotonic()
        try:
            if isinstance(job.work, Request):
                if job.snapshot is not None and job.snapshot.prompt:
                    decoding = self._model.restored(job.snapshot, job.work)
                    # it may have been in a hurry before
                    fewer = len(decoding.steps) < len(decoding.asked)
                    job.shortened = fewer and len(decoding.steps) - decoding.step < wanted(decoding)
                else:
                    decoding = self._model.start(self._model.canvas(job.work), job.work.settings)
                self._goes_on(job, decoding)
                self._hurry.pace.took("begin", job.kind, time.monotonic() - before)
                self._hurry.pace.steps[job.kind] = len(decoding.steps)
                job.ticket.begun(self._model.shown(decoding))
                if decoding.done:
                    self._finish(job, decoding)
            else:
                value = self._model.decode(job.work)
                self._hurry.pace.took("decode", job.yields[0], time.monotonic() - before)
                job.ticket.finish(Finished(value=value, confidence=None))
        except Exception as error:
            job.ticket.fail(without_frames(error))

    def _advance(self, group: Sequence[Job]) -> None:
        """One model call for a group. If it fails, each has its own, so that only the guilty one fails; if it
        was too much for the device's memory, each half has one.
        """
        group = [job for job in group if not job.ticket.done]
        if not group:
            return
        begun, shape = time.monotonic(), group[0].shape
        failure: Exception | None = None
        taken: list[tuple[Job, Decoding, Decoding]] = []
        try:
            before = [_decoding(job) for job in group]
            after = self._model.advance(before, in_a_hurry=self._is_deadline_near(begun))
            taken = list(zip(group, before, after, strict=True))
        except Exception as error:
            # what the call had made so far is let go: it lies in the frames that the error remembers
            failure = without_frames(error)
        if failure is not None:
            self._failed(group, failure)
            return
        for job, _, decoding in taken:
            try:
                self._goes_on(job, decoding)
            except Exception as error:
                job.ticket.fail(without_frames(error))
        self._look_back()
        self._launch = _Launch(taken=taken, shape=shape, begun=begun)
        if any(decoding.late is None or decoding.done for _, _, decoding in taken):
            self._look_back()

    def _is_deadline_near(self, now: float) -> bool:
        """Whether somebody in flight is due before something could be prepared for later steps."""
        return any(
            job.due is not None and job.due - now < _PREPARING_SECONDS and not job.ticket.done
            for job in self._in_flight
        )

    def _look_back(self) -> None:
        """What the step that was launched last left, once it is there: published, counted and timed."""
        launch, self._launch = self._launch, None
        if launch is None:
            return
        taken: list[tuple[Job, Decoding, Decoding]] = []
        for job, before, after in launch.taken:
            if job.ticket.done:
                continue  # it gets no further model call, which a step in doubt would need
            try:
                truly = self._model.settled(after)
                if job.decoding is after and truly is not after:
                    self._goes_on(job, truly)
                taken.append((job, before, truly))
            except Exception as error:
                job.ticket.fail(without_frames(error))
        now = time.monotonic()
        # the device had the step before to do when this one was launched
        seconds = now - max(launch.begun, self._looked)
        self._looked = now
        self._counters.stepped([_progress(*states) for _, *states in taken], len(launch.taken), seconds)
        if launch.shape is not None:
            self._grouping.took(launch.shape, len(launch.taken), seconds)
        for job, _, decoding in taken:
            self._hurry.pace.stepped(job.kind, len(launch.taken), seconds)
            try:
                self._take(job, decoding)
            except Exception as error:
                job.ticket.fail(without_frames(error))

    def _failed(self, group: Sequence[Job], error: Exception) -> None:
        if len(group) == 1:
            group[0].ticket.fail(error)
        elif isinstance(error, torch.OutOfMemoryError):
            self._split(group)
        else:
            for job in group:
                self._advance([job])

    def _split(self, group: Sequence[Job]) -> None:
        assert group[0].shape is not None
        self._grouping.too_many(group[0].shape, len(group))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(group) // 2
        self._advance(group[:half])
        self._advance(group[half:])

    def _take(self, job: Job, decoding: Decoding) -> None:
        """Publish what a denoising step yielded, and finish the request if that was the last."""
        decoding = self._model.shown(decoding)
        job.ticket.publish(decoding)
        if decoding.done:
            self._finish(job, decoding)

    def _finish(self, job: Job, decoding: Decoding) -> None:
        """The request's value; decoded, where that is part of being in time."""
        value = self._model.value(decoding)
        if job.due is not None:
            before = time.monotonic()
            value = self._model.whole(value)
            self._hurry.pace.took("decode", job.yields[0], time.monotonic() - before)
        job.ticket.finish(Finished(value=value, confidence=decoding.confidence))

    def _goes_on(self, job: Job, decoding: Decoding) -> None:
        job.decoding = decoding
        job.shape = None if decoding.done else self._model.shape_key(decoding)

    def _hear(self, listener: _Listener) -> None:
        """A listener's turn: a chunk of sound, if there are codes for one."""
        ticket, heard = listener.ticket, listener.heard
        if listener.source.cancelled:
            ticket.cancel()
        if ticket.done:
            return
        try:
            codes, complete = self._decided(listener.source)
            if heard.is_behind(codes):
                self._look_back()  # a step that is on its way is timed without what comes now
            chunk = heard.turn(self._model, codes, complete=complete)
            if chunk is not None:
                ticket.say(chunk)
                if chunk.last:
                    ticket.finish(Finished(value=heard.whole(self._model), confidence=None))
        except Exception as error:
            ticket.fail(without_frames(error))

    def _decided(self, source: Ticket) -> tuple[Sequence[int], bool]:
        """A request's speech codes as far as they are decided from the left, and whether that is all."""
        if source.done:
            value = source.result(timeout=0).value
            speech = value.speech if isinstance(value, Reply) else value
            assert isinstance(speech, Speech)
            assert speech.tokens is not None
            return speech.tokens.ids, True
        for job in self._in_flight:
            if job.ticket is source and source.state is not None:
                return self._model.spoken(source.state)
        return (), False


def _is_program_over() -> bool:
    """Whether nothing of the program runs any more but engines that nobody closed."""
    main = threading.main_thread()
    return not main.is_alive() and all(
        each is main or each.daemon or each.name == _THREAD for each in threading.enumerate()
    )


def _decoding(job: Job) -> Decoding:
    assert job.decoding is not None
    return job.decoding


def _progress(before: Decoding, after: Decoding) -> tuple[Modality, int]:
    """The modality of a blank, and how many of its places a step decided."""
    return before.canvas.blank.modality, before.places_left - after.places_left


def _due(work: Request | Value, snapshot: Snapshot | None, now: float) -> float | None:
    if not isinstance(work, Request) or work.settings.deadline is None:
        return None
    if snapshot is not None and snapshot.filled and MASKED not in snapshot.committed:
        return None  # it was in time, or late, before
    left = None if snapshot is None else snapshot.seconds_left
    return now + (work.settings.deadline if left is None else left)

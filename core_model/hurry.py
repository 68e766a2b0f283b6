"""Whose turn it is while requests with deadlines are in flight, and with how many steps they make theirs.

What is decided is in `deadlines.py`, of times alone; here it is done to jobs: late ones fail at once,
schedules become shorter and longer again, and those without a deadline have their part of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

from omni_agent.core import Request
from omni_agent.core_model import deadlines
from omni_agent.core_model.deadlines import Need, Pace
from omni_agent.core_model.decoding import hurried, wanted
from omni_agent.core_model.jobs import Job
from omni_agent.errors import DeadlineExceeded

__all__ = ["Hurry"]


class Hurry:
    """Of one engine. It belongs to the thread that owns the weights, but for `refusal`.

    Attributes:
        pace: how long things take; the engine tells it.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        self._owed = 0.0
        self._share = 1.0  # of the further steps of those who are pressed

    def comes(self, job: Job, now: float) -> None:
        """A job with a deadline comes in flight beside others that have one."""
        self.pace.asked(now, self._need(job))

    def refusal(self, job: Job, now: float) -> DeadlineExceeded | None:
        """Why one that has just been asked for is refused at once: by what was measured it could not be in
        time if it were alone, nor if it shared its calls. None where it could be; where it is to be tried, at
        its turn; where it goes on from a snapshot, whose time was spent before. From any thread.
        """
        need = min(self._need(job), self._need(job, shared=True), key=lambda need: need.least)
        if job.snapshot is not None or not deadlines.hopeless(now, [need], deadlines.DOUBT):
            return None
        if self.pace.is_to_be_tried(job.kind):
            return None
        self.pace.refused(job.kind)
        return _late(need, now, alone=True)

    def turn(self, in_flight: Sequence[Job], now: float) -> list[Job]:
        """Whose turn it is because of a deadline, with no more steps left than there is time for; nobody,
        where there is time for a round of all. Those who cannot be in time fail.

        Args:
            in_flight: all jobs, with the states that they truly have.
            now: on the clock of their deadlines.
        """
        pressed = [job for job in in_flight if job.due is not None and not job.ticket.done]
        if not pressed:
            return []
        if self._rounds_fit(in_flight, now, pressed):
            self._owed, self._share = 0.0, 1.0
            return []
        needs = [self._need(job) for job in pressed]
        unsure = deadlines.left_out(now, needs, {at for at, job in enumerate(pressed) if job.left_out})
        waited = [job.left_out or job.decoding is not None for job in pressed]
        for at, job in enumerate(pressed):
            job.left_out = at in unsure
        for index in unsure.intersection(deadlines.hopeless(now, needs, deadlines.DOUBT)):
            job, need = pressed[index], needs[index]
            if not waited[index] and self._is_to_be_tried(job, need):
                job.tried = True
                continue
            job.ticket.fail(_late(need, now))
        going = [job for index, job in enumerate(pressed) if index not in unsure]
        needs = [need for index, need in enumerate(needs) if index not in unsure]
        if not going:
            # nobody is sure to be in time: who may be has the time
            self._share = 0.0
            left_over = [(job, self._need(job)) for job in pressed if not job.ticket.done]
            if not left_over:
                return []
            job, need = min(left_over, key=lambda each: each[1].due)
            _reschedule(job, 1)
            return [job, *self._owed_a_turn(in_flight, need.least)]
        self._share = deadlines.share(now, needs, self.pace.load(now))
        job, need = min(zip(going, needs, strict=True), key=lambda each: each[1].due)
        steps = 1 + int(self._share * need.steps)
        _reschedule(job, steps)
        takes = need.least if steps == 1 else need.least - self.pace.decoding(job.yields)
        return [job, *self._owed_a_turn(in_flight, takes)]

    def begun(self, job: Job) -> None:
        """A job whose turn it was has its canvas now: no more steps than there is time for, as planned."""
        if job.due is not None:
            _reschedule(job, 1 + int(self._share * self._need(job).steps))

    def _owed_a_turn(self, in_flight: Sequence[Job], beside: float) -> list[Job]:
        """Who, without a deadline, has a turn beside one of a pressed request that takes so long: who had
        none for longest, as soon as what it takes is made up by their part of the time.
        """
        others = [job for job in in_flight if job.due is None and not job.ticket.done]
        if not others:
            return []
        self._owed += deadlines.OTHERS * beside
        first = min(others, key=lambda job: (job.last_turn, job.ticket.number))
        if (takes := self._need(first).least) > self._owed:
            return []
        self._owed -= takes
        return [first]

    def _rounds_fit(self, in_flight: Sequence[Job], now: float, pressed: Sequence[Job]) -> bool:
        """Whether all who are due are in time with all their steps, which they have again then, after a round
        of everybody, in which nobody goes first. In rounds, calls are shared.
        """
        needs = [self._need(job, shared=True) for job in pressed]
        if deadlines.share(now, needs, self.pace.load(now)) < 1:
            return False
        others = [
            self._need(job, shared=True) for job in in_flight if job.due is None and not job.ticket.done
        ]
        after = now + sum(need.least for need in [*needs, *others])
        if deadlines.share(after, needs) < 1 or deadlines.hopeless(after, needs, deadlines.CAUTION):
            return False
        for job, need in zip(pressed, needs, strict=True):
            job.left_out = False
            _reschedule(job, 1 + need.steps)
        return True

    def _is_to_be_tried(self, job: Job, need: Need) -> bool:
        """Whether one that would be refused, however alone it were, is tried all the same, as many before it
        were refused so.
        """
        asked = job.work.settings.deadline if isinstance(job.work, Request) else None
        if asked is None or not deadlines.hopeless(need.due - asked, [need], deadlines.DOUBT):
            return False
        if self.pace.is_to_be_tried(job.kind):
            self.pace.tried(job.kind)
            return True
        self.pace.refused(job.kind)
        return False

    def _need(self, job: Job, *, shared: bool = False) -> Need:
        decoding = job.decoding
        if job.tried:
            assert job.due is not None
            return Need(due=job.due, least=0.0, step=0.0, steps=0)
        if decoding is None:
            asked = job.work.settings.num_steps if isinstance(job.work, Request) else None
            steps = asked or self.pace.steps.get(job.kind, 1)
        else:
            steps = len(decoding.steps) - decoding.step
            if job.shortened:
                steps = max(steps, wanted(decoding))
        due = float("inf") if job.due is None else job.due
        begun = decoding is not None
        return self.pace.need(job.kind, job.yields, due=due, begun=begun, steps=steps, shared=shared)


def _late(need: Need, now: float, *, alone: bool = False) -> DeadlineExceeded:
    left = need.due - now
    if left <= 0:
        why = f"the deadline was over before there was a turn, {-left:.3f} s ago"
        return DeadlineExceeded(f"{why}: give it more time, or ask when less goes on")
    takes = f"one denoising step and decoding take {need.least:.3f} s"
    why = f"{left:.3f} s are left until the deadline; {takes}"
    if alone:
        return DeadlineExceeded(f"{why}: give it more time")
    why = f"{why}, and others may be due before"
    return DeadlineExceeded(f"{why}: give it more time, or ask when less goes on")


def _reschedule(job: Job, steps: int) -> None:
    """Fewer steps than are left or, after that, more again, as the time allows."""
    decoding = job.decoding
    if decoding is None or decoding.done:
        return
    left = len(decoding.steps) - decoding.step
    if steps < left or (job.shortened and steps > left):
        job.decoding = hurried(decoding, steps)
        job.shortened = True

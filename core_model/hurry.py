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
    """Of one engine. It belongs to the thread that owns the weights.

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
        needs = [self._need(job) for job in pressed]
        unsure = deadlines.left_out(now, needs, {at for at, job in enumerate(pressed) if job.left_out})
        waited = [job.left_out or job.decoding is not None for job in pressed]
        for at, job in enumerate(pressed):
            job.left_out = at in unsure
        for index in unsure.intersection(deadlines.hopeless(now, needs, deadlines.DOUBT)):
            job, need = pressed[index], needs[index]
            left = need.due - now
            if not waited[index] and self._is_to_be_tried(job, need):
                job.tried = True
                continue
            why = (
                f"the deadline was over before there was a turn, {-left:.3f} s ago"
                if left <= 0
                else f"{left:.3f} s are left until the deadline; one denoising step and decoding take"
                f" {need.least:.3f} s, and others may be due before"
            )
            job.ticket.fail(DeadlineExceeded(f"{why}: give it more time, or ask when less goes on"))
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
            return [job, *self._owed_a_turn(in_flight, need)]
        share = deadlines.share(now, needs, self.pace.load(now))
        if share >= 1 and len(going) == len(pressed) and self._rounds_fit(in_flight, now, needs):
            self._owed = 0.0
            for job, need in zip(going, needs, strict=True):
                _reschedule(job, 1 + need.steps)
            return []
        self._share = share
        job, need = min(zip(going, needs, strict=True), key=lambda each: each[1].due)
        _reschedule(job, 1 + int(share * need.steps))
        return [job, *self._owed_a_turn(in_flight, need)]

    def begun(self, job: Job) -> None:
        """A job whose turn it was has its canvas now: no more steps than there is time for, as planned."""
        if job.due is not None:
            _reschedule(job, 1 + int(self._share * self._need(job).steps))

    def _owed_a_turn(self, in_flight: Sequence[Job], need: Need) -> list[Job]:
        """Who, without a deadline, has a turn beside one that is pressed: who had none for longest, as soon
        as what it takes is made up by their part of the time.
        """
        others = [job for job in in_flight if job.due is None and not job.ticket.done]
        if not others:
            return []
        self._owed += deadlines.OTHERS * (need.step or need.least)
        first = min(others, key=lambda job: (job.last_turn, job.ticket.number))
        if (takes := self._need(first).least) > self._owed:
            return []
        self._owed -= takes
        return [first]

    def _rounds_fit(self, in_flight: Sequence[Job], now: float, needs: Sequence[Need]) -> bool:
        """Whether all who are due are in time with all their steps after a round of everybody, in which
        nobody goes first.
        """
        round_of_all = sum(self._need(job).least for job in in_flight if not job.ticket.done)
        return deadlines.share(now + round_of_all, needs) >= 1

    def _is_to_be_tried(self, job: Job, need: Need) -> bool:
        """Whether one that would be refused, however alone it were, is tried all the same, as many before it
        were refused so.
        """
        asked = job.work.settings.deadline if isinstance(job.work, Request) else None
        if asked is None or not deadlines.hopeless(need.due - asked, [need], deadlines.DOUBT):
            return False
        return self.pace.refused(job.kind)

    def _need(self, job: Job) -> Need:
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
        return self.pace.need(job.kind, job.yields, due=due, begun=decoding is not None, steps=steps)


def _reschedule(job: Job, steps: int) -> None:
    """Fewer steps than are left or, after that, more again, as the time allows."""
    decoding = job.decoding
    if decoding is None or decoding.done:
        return
    left = len(decoding.steps) - decoding.step
    if steps < left or (job.shortened and steps > left):
        job.decoding = hurried(decoding, steps)
        job.shortened = True

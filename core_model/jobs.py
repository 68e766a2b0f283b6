"""What the engine holds of a request while it is queued or in flight, and whose turn it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from omni_agent.core import Request, Snapshot, Value
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.grouping import Shape
from omni_agent.core_model.prompting import given
from omni_agent.core_model.ticket import Ticket

__all__ = ["Job", "for_turn", "needs_room", "next_waiting"]

LESSER_EVERY = 4
"""One in so many is for those of lower priority: of the places that become free, for who waits longest, and
of the rounds. So they wait, but not for ever.
"""


@dataclass(kw_only=True, eq=False)
class Job:
    """A request, or a value to be decoded.

    Attributes:
        ticket: its place.
        work: what is to be filled, or the value.
        due: when its decoded value has to be there, on the clock of `time.monotonic`.
        snapshot: where it goes on from.
        decoding: its state; None before its canvas is made.
        shape: of its next model call.
        left_out: whether it waits so that others are in time.
        shortened: whether a deadline has made its schedule shorter.
        last_turn: the number of its last one among those of all; 0 before its first.
    """

    ticket: Ticket
    work: Request | Value
    due: float | None = None
    snapshot: Snapshot | None = None
    decoding: Decoding | None = None
    shape: Shape | None = None
    left_out: bool = False
    shortened: bool = False
    last_turn: int = 0

    @property
    def is_value(self) -> bool:
        """Whether it is a value to be decoded, which completes a request that was let in before."""
        return not isinstance(self.work, Request)

    @property
    def priority(self) -> int:
        """As it was asked for; a value's is above all."""
        return self.work.settings.priority if isinstance(self.work, Request) else 1000

    @cached_property
    def kind(self) -> Hashable:
        """What takes about as long."""
        if not isinstance(self.work, Request):
            return type(self.work)
        return (self.work.task, *given(self.work.content), self.work.settings.length)

    @cached_property
    def yields(self) -> Hashable:
        """What takes about as long to decode."""
        return self.work.blank if isinstance(self.work, Request) else given([self.work])[0]


def next_waiting(waiting: Sequence[Job], in_flight: Sequence[Job], most: int, number: int) -> Job | None:
    """The next that comes in flight: of the highest priority, equals as they came; each `LESSER_EVERY`th is
    the one that came first. None while there is no room.

    Room is counted among those of at least its priority. What completes a request, and what has a deadline,
    needs none.

    Args:
        waiting: who is queued, in any order.
        in_flight: who is advanced.
        most: how many there is room for.
        number: of those that came before and needed room.
    """
    free = [job for job in waiting if not needs_room(job)]
    if free:
        return min(free, key=_came)
    first = min(waiting, key=_came, default=None)
    if first is not None and number % LESSER_EVERY:
        first = min(waiting, key=lambda job: (-job.priority, _came(job)))
    if first is None:
        return None
    held = sum(needs_room(job) and job.priority >= first.priority for job in in_flight)
    return first if held < most else None


def needs_room(job: Job) -> bool:
    """Whether it comes in flight only where there is room."""
    return not job.is_value and job.due is None


def for_turn(in_flight: Sequence[Job], number: int) -> list[Job]:
    """Whose turn it is in the round of that number, deadlines aside: all of the highest priority and, each
    `LESSER_EVERY`th round, as many of the others, those who had no turn for longest.
    """
    highest = max((job.priority for job in in_flight if not job.is_value), default=0)
    first = [job for job in in_flight if job.priority >= highest]
    others = [job for job in in_flight if job.priority < highest]
    if number % LESSER_EVERY:
        return first
    others.sort(key=lambda job: (job.last_turn, _came(job)))
    return [*first, *others[: sum(not job.is_value for job in first)]]


def _came(job: Job) -> int:
    return job.ticket.number

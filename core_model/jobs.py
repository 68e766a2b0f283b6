"""What the engine holds of a request while it is queued or in flight, and whose turn it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from omni_agent.core import Request, Snapshot, Value
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.grouping import Shape
from omni_agent.core_model.prompting import given
from omni_agent.core_model.ticket import Ticket

__all__ = ["Job", "for_turn", "next_waiting"]

AGEING = 0.5
"""Seconds of waiting that are worth one priority: so those of low priority wait, but not for ever."""

LESSER_EVERY = 4
"""Rounds of which one is for all, and the others are for those of the highest priority."""


@dataclass(kw_only=True, eq=False)
class Job:
    """A request, or a value to be decoded.

    Attributes:
        ticket: its place.
        work: what is to be filled, or the value.
        arrived: when, on the clock of `time.monotonic`, as are all times here.
        due: when its decoded value has to be there.
        snapshot: where it goes on from.
        decoding: its state; None before its canvas is made.
        shape: of its next model call.
    """

    ticket: Ticket
    work: Request | Value
    arrived: float
    due: float | None = None
    snapshot: Snapshot | None = None
    decoding: Decoding | None = None
    shape: Shape | None = None

    @property
    def is_value(self) -> bool:
        """Whether it is a value to be decoded, which completes a request that was let in before."""
        return not isinstance(self.work, Request)

    @property
    def priority(self) -> int:
        """As it was asked for; a value's is above all."""
        return self.work.settings.priority if isinstance(self.work, Request) else 1000

    @property
    def kind(self) -> Hashable:
        """What takes about as long."""
        if not isinstance(self.work, Request):
            return type(self.work)
        return (self.work.task, *given(self.work.content), self.work.settings.length)

    def urgency(self, now: float) -> float:
        """Its priority, and what it has gained by waiting."""
        return self.priority + (now - self.arrived) / AGEING


def next_waiting(waiting: Sequence[Job], in_flight: Sequence[Job], most: int, now: float) -> Job | None:
    """The next that comes in flight: the most urgent, equals as they came; None while there is no room.

    Room is counted among those of at least its priority. What completes a request, and what has a deadline,
    needs none.
    """
    if not waiting:
        return None
    free = next((job for job in waiting if job.is_value or job.due is not None), None)
    if free is not None:
        return free
    first = max(waiting, key=lambda job: (job.urgency(now), -job.ticket.number))
    held = sum(not job.is_value and job.due is None and job.priority >= first.priority for job in in_flight)
    return first if held < most else None


def for_turn(in_flight: Sequence[Job], number: int) -> list[Job]:
    """Whose turn it is in the round of that number, deadlines aside."""
    if number % LESSER_EVERY == 0:
        return list(in_flight)
    highest = max((job.priority for job in in_flight if not job.is_value), default=0)
    return [job for job in in_flight if job.priority >= highest]

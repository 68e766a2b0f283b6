"""What the engine holds of a request while it is queued or in flight, and whose turn it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from omni_agent.core import Modality, Request, Snapshot, Value
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.grouping import Shape
from omni_agent.core_model.prompting import given
from omni_agent.core_model.ticket import Ticket
from omni_agent.values import Image, Text

__all__ = ["Job", "for_turn", "needs_room", "next_waiting", "took_its_turn"]

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
        tried: whether nothing that was measured counts against it.
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
    tried: bool = False
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
        """What takes about as long; of how much there is to read, to a factor of two."""
        if not isinstance(self.work, Request):
            return type(self.work)
        how = self.work.settings
        guided = None if how.guidance_scale is None else how.guidance_scale > 0
        ways = (how.length, how.mode, how.algorithm, guided, how.block_length, how.prompt_cache)
        return (self.work.task, *given(self.work.content), *map(_size, self.work.content), *ways)

    @cached_property
    def yields(self) -> tuple[Hashable, ...]:
        """What takes about as long to decode: the first of these that was seen says it. How long speech
        will be is told by what there is to say.
        """
        if not isinstance(self.work, Request):
            return (given([self.work])[0],)
        blank = self.work.blank
        if blank is not Modality.SPEECH:
            return (blank,)
        return (blank, self.work.settings.length, *map(_size, self.work.content)), blank


def _size(value: Value) -> int:
    """How much of a value there is to read: the same for what is up to twice as much as other."""
    if isinstance(value, Text):
        return (len(value) // 16).bit_length()
    if not value.is_decoded:
        assert value.tokens is not None
        return (len(value.tokens.ids) // 16).bit_length()
    if isinstance(value, Image):
        return (value.width * value.height // 2**20).bit_length()
    return int(value.seconds).bit_length()


def next_waiting(waiting: Sequence[Job], in_flight: Sequence[Job], most: int, number: int) -> Job | None:
    """The next that comes in flight: of the highest priority, equals as they came; each `LESSER_EVERY`th is
    the one that came first, where there is room for it. None while there is none.

    Room is counted among those of at least its priority. What completes a request, and what has a deadline,
    needs none.

    Args:
        waiting: who is queued, in any order.
        in_flight: who is advanced.
        most: how many there is room for.
        number: of the places that were given before.
    """
    if free := [job for job in waiting if not needs_room(job)]:
        return min(free, key=_came)
    if not waiting:
        return None
    urgent = min(waiting, key=lambda job: (-job.priority, _came(job)))
    for job in [urgent] if number % LESSER_EVERY else [min(waiting, key=_came), urgent]:
        held = sum(needs_room(other) and other.priority >= job.priority for other in in_flight)
        if held < most:
            return job
    return None


def took_its_turn(job: Job, waiting: Sequence[Job], number: int) -> bool:
    """Whether one that comes in flight uses up the place of that number: not what needs no room, nor who
    goes past the one that came first, whose place it is and who has no room yet.
    """
    return needs_room(job) and (number % LESSER_EVERY != 0 or job is min(waiting, key=_came))


def needs_room(job: Job) -> bool:
    """Whether it comes in flight only where there is room."""
    return not job.is_value and job.due is None


def for_turn(in_flight: Sequence[Job], number: int, most: int) -> list[Job]:
    """Whose turn it is in the round of that number, deadlines aside: those of the highest priority and, each
    `LESSER_EVERY`th round, as many of the others. Of more than `most` there are, as whoever has a deadline
    needs no room, those who had no turn for longest: whoever comes waits for no longer round.
    """
    highest = max((job.priority for job in in_flight if not job.is_value), default=0)
    first = [job for job in in_flight if job.priority >= highest]
    if len(first) > most:
        first = sorted(first, key=lambda job: (not job.is_value, job.last_turn, _came(job)))[:most]
    others = [job for job in in_flight if job.priority < highest]
    if number % LESSER_EVERY:
        return first
    others.sort(key=lambda job: (job.last_turn, _came(job)))
    return [*first, *others[: sum(not job.is_value for job in first)]]


def _came(job: Job) -> int:
    return job.ticket.number

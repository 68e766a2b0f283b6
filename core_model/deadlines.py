"""Deadlines: who can still be in time, who goes first, and with how many steps.

Functions of times, and `Pace`, which remembers how long things took. Earliest deadline first, which meets all
deadlines of requests on one device if any order does (Liu and Layland, 1973). Each is counted with one
denoising step at least; what time is left over goes to more steps, for all in the same proportion.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Need", "Pace", "hopeless", "left_out", "share"]

CAUTION = 1.15
"""What is planned takes so much longer than it took before."""

DOUBT = 0.7
"""Who could not be in time even if everything took only so much of what it took before, fails at once. Who is
between waits: measured times are uncertain, and others may be cancelled.
"""

RECENT = 5.0
"""Seconds of which it is remembered how much time with a deadline was asked for: as much may come again."""

MOST = 0.9
"""At most this part of the time is left for those who may come, however many came."""

REFUSED = 8
"""So many of a kind are refused one after the other by what was measured, then one is tried: who is refused
is not measured, and the machine may have been busy.
"""

MOST_KINDS = 1000
"""Of so many it is known how long it takes: to begin, a step, a shared one, to decode each count as one."""

OTHERS = 0.1
"""The part of the time that those without a deadline have, however pressed others are: they do not starve."""


class Need(NamedTuple):
    """What a request takes until its value is decoded, in seconds.

    Attributes:
        due: when it has to be done, on the clock of `time.monotonic`.
        least: with one denoising step more.
        step: each further step.
        steps: further steps that are wanted.
    """

    due: float
    least: float
    step: float
    steps: int


def hopeless(now: float, needs: Sequence[Need], costs: float = 1.0) -> list[int]:
    """Those that cannot be in time, as indices: in the order of deadlines, each after those that can.

    Args:
        now: on the clock of their deadlines.
        needs: what each takes.
        costs: how much of that it is taken to take.
    """
    late, at = [], now
    for index in sorted(range(len(needs)), key=lambda index: needs[index].due):
        if at + costs * needs[index].least > needs[index].due:
            late.append(index)
        else:
            at += costs * needs[index].least
    return late


def left_out(now: float, needs: Sequence[Need], before: Collection[int] = ()) -> set[int]:
    """Who is left out, as indices, so that the others are in time.

    Who was left out before stays so until there is time again, with some to spare; then the first of them
    comes back. Measured times waver: if that alone changed who is left out, time spent on one would be lost.

    Args:
        now: on the clock of their deadlines.
        needs: what each takes.
        before: who was left out, as indices.
    """
    out = set(before)
    kept = [index for index in range(len(needs)) if index not in out]
    out.update(kept[at] for at in hopeless(now, [needs[index] for index in kept]))
    if out:
        first = min(out, key=lambda index: needs[index].due)
        with_it = [need for index, need in enumerate(needs) if index == first or index not in out]
        if not hopeless(now, with_it, CAUTION):
            out.discard(first)
    return out


def share(now: float, needs: Sequence[Need], load: float = 0.0) -> float:
    """The largest share of the further steps that all can have, 0 to 1, if none is hopeless.

    Args:
        now: on the clock of their deadlines.
        needs: what each takes.
        load: the part of the time to come that is left for others who may come, 0 to 1.
    """
    result, least, more = 1.0, 0.0, 0.0
    for need in sorted(needs, key=lambda need: need.due):
        least += CAUTION * need.least
        more += CAUTION * need.step * need.steps
        if more > 0:
            result = min(result, ((need.due - now) * (1 - load) - least) / more)
    return max(result, 0.0)


@dataclass(kw_only=True)
class Pace:
    """How long requests of each kind took to begin and to go on by a step, and values to be decoded. It is
    told by one thread, but for who is refused and who is tried; any may ask.

    Attributes:
        steps: how many the last one of each kind had.
        beside: what a turn takes besides, in seconds: to be planned, and to be told of.
    """

    steps: dict[Hashable, int] = field(default_factory=dict)
    beside: float = 0.0
    _seconds: dict[tuple[str, Hashable], deque[float]] = field(default_factory=dict)
    _typical: dict[tuple[str, Hashable], float] = field(default_factory=dict)
    _asked: deque[tuple[float, float]] = field(default_factory=deque)
    _refused: dict[Hashable, int] = field(default_factory=dict)
    _refusing: threading.Lock = field(default_factory=threading.Lock)
    _told: float = 0.0
    _besides: deque[float] = field(default_factory=lambda: deque(maxlen=9))

    def took(self, what: str, kind: Hashable, seconds: float) -> None:
        """To "begin", to "step" alone or to "decode" took so long."""
        self._told += seconds
        self._note(what, kind, seconds)

    def stepped(self, kind: Hashable, rows: int, seconds: float) -> None:
        """A step was one of so many rows of a call that took so long. Until one was seen to step alone, that
        is taken to take as long as the call.
        """
        self._told += seconds / rows
        self._note("shared step", kind, seconds / rows)
        if rows == 1 or ("step", kind) not in self._seconds:
            self._note("step", kind, seconds)

    def _note(self, what: str, kind: Hashable, seconds: float) -> None:
        self.tried(kind)
        recent = self._seconds.pop((what, kind), None) or deque(maxlen=9)
        recent.append(seconds)
        self._seconds[what, kind] = recent
        if len(self._seconds) > MOST_KINDS:
            oldest = next(iter(self._seconds))
            del self._seconds[oldest], self._typical[oldest]
            self.steps.pop(oldest[1], None)
        # now, as every request asks in every round; of two the less, as the first may have been slow
        self._typical[what, kind] = statistics.median_low(recent)

    def is_to_be_tried(self, kind: Hashable) -> bool:
        """Whether the next of a kind is to be tried, that by what was measured could not be in time even
        alone: as many were refused before it.
        """
        return self._refused.get(kind, 0) >= REFUSED

    def refused(self, kind: Hashable) -> None:
        """One of a kind was refused that by what was measured could not be in time even alone. From any
        thread.
        """
        with self._refusing:
            self._refused[kind] = self._refused.pop(kind, 0) + 1
            if len(self._refused) > MOST_KINDS:
                del self._refused[next(iter(self._refused))]

    def tried(self, kind: Hashable) -> None:
        """One of a kind is tried, or was measured: as many are refused before the next is tried."""
        with self._refusing:
            self._refused.pop(kind, None)

    def turned(self, turns: int, seconds: float) -> None:
        """So many turns took so long, with all that was told since the last ones."""
        told, self._told = self._told, 0.0
        if turns:
            self._besides.append(max(seconds - told, 0.0) / turns)
            self.beside = statistics.median(self._besides)

    def asked(self, now: float, need: Need) -> None:
        """Somebody with a deadline has come while others had one."""
        self._asked.append((now, need.least))

    def load(self, now: float) -> float:
        """The part of the last seconds that they asked for, with one step each; at most `MOST`."""
        while self._asked and self._asked[0][0] < now - RECENT:
            self._asked.popleft()
        return min(sum(least for _, least in self._asked) / RECENT, MOST)

    def of(self, what: str, kind: Hashable) -> float:
        """How long it takes, in seconds: the median of the last few, as one that was held up by another
        program says nothing. 0 where it never was seen: nobody is refused on a guess.
        """
        return self._typical.get((what, kind), 0.0)

    def decoding(self, yields: Sequence[Hashable]) -> float:
        """How long it takes to decode what is of the first of some kinds that was seen, in seconds."""
        for kind in yields:
            if seconds := self.of("decode", kind):
                return seconds
        return 0.0

    def need(
        self,
        kind: Hashable,
        yields: Sequence[Hashable],
        *,
        due: float,
        begun: bool,
        steps: int,
        shared: bool = False,
    ) -> Need:
        """What a request of a kind takes that has so many steps before it, one at least, and yields what the
        first of some kinds that was seen says; alone or, with `shared`, in calls that it shares as of late.
        """
        step = (self.of("shared step", kind) if shared else 0.0) or self.of("step", kind)
        step += self.beside
        least = (0.0 if begun else self.of("begin", kind) + self.beside) + step + self.decoding(yields)
        return Need(due=due, least=least, step=step, steps=max(steps - 1, 0))

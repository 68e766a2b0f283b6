"""Deadlines: who can still be in time, who goes first, and with how many steps.

Pure functions of times. Earliest deadline first, which meets all deadlines of requests on one device if any
order does (Liu and Layland, 1973). Each is counted with one denoising step at least; what time is left over
goes to more steps, for all in the same proportion.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

__all__ = ["Need", "Pace", "hopeless", "share"]

CAUTION = 1.15
"""What is planned takes so much longer than it took before."""

DOUBT = 0.7
"""Who could not be in time even if everything took only so much of what it took before, fails at once. Who is
between waits: measured times are uncertain, and others may be cancelled.
"""

RECENT = 5.0
"""Seconds of which it is remembered how much time with a deadline was asked for: as much may come again."""

MOST = 0.9
"""Of the time is left for those who may come, however many came."""

OTHERS = 0.1
"""The part of the time that those without a deadline have, however pressed others are: they do not starve."""


@dataclass(frozen=True, kw_only=True)
class Need:
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
    """How long requests of each kind took to begin and to go on by a step, and values to be decoded.

    Attributes:
        steps: how many the last one of each kind had.
    """

    steps: dict[Hashable, int] = field(default_factory=dict)
    _seconds: dict[tuple[str, Hashable], deque[float]] = field(default_factory=dict)
    _asked: deque[tuple[float, float]] = field(default_factory=deque)

    def took(self, what: str, kind: Hashable, seconds: float) -> None:
        """To "begin", to "step" or to "decode" took so long."""
        self._seconds.setdefault((what, kind), deque(maxlen=9)).append(seconds)

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
        seconds = self._seconds.get((what, kind))
        return statistics.median(seconds) if seconds else 0.0

    def need(self, kind: Hashable, yields: Hashable, *, due: float, begun: bool, steps: int) -> Need:
        """What a request of a kind takes that has so many steps before it, one at least."""
        step = self.of("step", kind)
        least = (0.0 if begun else self.of("begin", kind)) + step + self.of("decode", yields)
        return Need(due=due, least=least, step=step, steps=max(steps - 1, 0))

"""Deadlines: who can still be in time, who goes first, and with how many steps.

Pure functions of times. Earliest deadline first, which meets all deadlines of requests on one device if any
order does (Liu and Layland, 1973). Each is counted with one denoising step at least; what time is left over
goes to more steps, for all in the same proportion.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

__all__ = ["Need", "Pace", "hopeless", "share"]

CAUTION = 1.15
"""What is planned takes so much longer than it took before."""

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


def hopeless(now: float, needs: Sequence[Need]) -> list[int]:
    """Those that cannot be in time, as indices: in the order of deadlines, each after those that can."""
    late, at = [], now
    for index in sorted(range(len(needs)), key=lambda index: needs[index].due):
        if at + needs[index].least > needs[index].due:
            late.append(index)
        else:
            at += needs[index].least
    return late


def share(now: float, needs: Sequence[Need]) -> float:
    """The largest share of the further steps that all can have, 0 to 1, if none is hopeless."""
    result, least, more = 1.0, 0.0, 0.0
    for need in sorted(needs, key=lambda need: need.due):
        least += CAUTION * need.least
        more += CAUTION * need.step * need.steps
        if more > 0:
            result = min(result, (need.due - now - least) / more)
    return max(result, 0.0)


@dataclass(kw_only=True)
class Pace:
    """How long requests of each kind took to begin and to go on by a step, and values to be decoded.

    Attributes:
        steps: how many the last one of each kind had.
    """

    steps: dict[Hashable, int] = field(default_factory=dict)
    _seconds: dict[tuple[str, Hashable], float] = field(default_factory=dict)

    def took(self, what: str, kind: Hashable, seconds: float) -> None:
        """To "begin", to "step" or to "decode" took so long. Later times count more than earlier ones."""
        before = self._seconds.get((what, kind), seconds)
        self._seconds[what, kind] = before + 0.3 * (seconds - before)

    def of(self, what: str, kind: Hashable) -> float:
        """How long it takes, in seconds; 0 where it never was seen, as nobody is refused on a guess."""
        return self._seconds.get((what, kind), 0.0)

    def need(self, kind: Hashable, yields: Hashable, *, due: float, begun: bool, steps: int) -> Need:
        """What a request of a kind takes that has so many steps before it, one at least."""
        step = self.of("step", kind)
        least = (0.0 if begun else self.of("begin", kind)) + step + self.of("decode", yields)
        return Need(due=due, least=least, step=step, steps=max(steps - 1, 0))

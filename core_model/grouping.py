"""Who shares a model call: nobody, all of one shape, or those of one shape where it was found to pay.

Whether a call for several takes less time than one for each depends on the device and the shape, and on a CPU
it often does not. Whether it gives each the same bits depends on which kernels the device takes for how many
rows. Neither can be told beforehand, so both are found out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

__all__ = ["Always", "Grouping", "Paying", "Shape", "alone", "same_shape"]

MOST_TOGETHER = 16
"""Rows in one call."""

TRIES = 3
"""How often a call for so many is timed before it is judged."""

FORGOTTEN_AFTER = 2000
"""Groups judged not to pay, or too large for the memory, are tried again after so many decisions: the machine
may have been busy, another program may have held the memory."""

LONG_CALL = 0.1
"""Seconds. Nobody is stopped, hurried or begun within a call: of one that takes longer, half as many share it
where that takes about as long for each."""

AS_FAST = 1.1
"""Up to this ratio of their times, half as many take about as long for each."""

MOST_SHAPES = 1000
"""Of so many it is known what pays: those that were asked about last."""

_WEIGHT = 0.2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a request's next model call looks like. Equal shapes may share one.

    Attributes:
        exact: it must not matter who shares the call: only where a bitwise comparison was passed.
        size: of the call: rows and what is remembered of them, exactly, or roughly where that will do.
    """

    exact: bool
    size: Hashable


Grouping = Callable[[Sequence[Shape]], Sequence[Sequence[int]]]
"""Who goes into one model call.

Given the shape keys of the requests whose turn it is, the groups, as indices into the keys: each in one
group, and those of a group with equal keys.
"""


def alone(keys: Sequence[object]) -> list[list[int]]:
    """Every request in a model call of its own: it yields exactly what it yields at an idle engine."""
    return [[index] for index in range(len(keys))]


def same_shape(keys: Sequence[Hashable]) -> list[list[int]]:
    """All of one shape in one model call. Right up to rounding, which differs with the number of rows."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


class Always:
    """Groups by a rule that learns nothing; the face of `Paying`."""

    def __init__(self, rule: Grouping) -> None:
        self._rule = rule

    def groups(
        self, shapes: Sequence[Shape], alike: Callable[[Sequence[int]], bool]
    ) -> Sequence[Sequence[int]]:
        """Who goes into one model call: as the rule says."""
        return self._rule(shapes)

    def took(self, shape: Shape, rows: int, seconds: float) -> None:
        """Changes nothing."""

    def too_many(self, shape: Shape, rows: int) -> None:
        """Changes nothing: who is too many is split in each call anew."""


@dataclass(kw_only=True)
class _Times:
    """Seconds for a row of one shape: alone, and by how many share a call; and how many fit the memory."""

    alone: float | None = None
    most: int = MOST_TOGETHER
    alike: dict[int, bool] = field(default_factory=dict)
    together: dict[int, tuple[int, float]] = field(default_factory=dict)


class Paying:
    """Groups that were found to pay. It belongs to the engine's thread and learns from its calls."""

    def __init__(self) -> None:
        self._times: dict[Hashable, _Times] = {}
        self._decisions = 0

    def groups(self, shapes: Sequence[Shape], alike: Callable[[Sequence[int]], bool]) -> list[list[int]]:
        """Who goes into one model call.

        Args:
            shapes: of the requests whose turn it is.
            alike: finds out whether a call for these, as indices into the shapes, yields bit for bit what
                each of them yields alone; asked once for each shape and number that must be exact.
        """
        self._decisions += 1
        if self._decisions % FORGOTTEN_AFTER == 0:
            for times in self._times.values():
                times.together.clear()
                times.most = MOST_TOGETHER
        result: list[list[int]] = []
        for indices in same_shape(shapes):
            shape = shapes[indices[0]]
            most = self._of(shape).most
            for at in range(0, len(indices), most):
                result += self._parts(shape, indices[at : at + most], alike)
        return result

    def took(self, shape: Shape, rows: int, seconds: float) -> None:
        """A call for so many rows of a shape took so long."""
        times = self._of(shape)
        each = seconds / rows
        if rows == 1:
            times.alone = each if times.alone is None else times.alone + _WEIGHT * (each - times.alone)
            return
        count, before = times.together.get(rows, (0, each))
        # the best of the first tries, as other programs may have been in the way; after that as it goes
        known = min(before, each) if count < TRIES else before + _WEIGHT * (each - before)
        times.together[rows] = (count + 1, known)

    def too_many(self, shape: Shape, rows: int) -> None:
        """A call for so many rows of a shape did not fit the device's memory."""
        times = self._of(shape)
        times.most = max(1, min(times.most, rows // 2))

    def _of(self, shape: Shape) -> _Times:
        """What is known of a shape, which is the last that is forgotten now."""
        times = self._times.pop(shape) if shape in self._times else _Times()
        self._times[shape] = times
        if len(self._times) > MOST_SHAPES:
            del self._times[next(iter(self._times))]
        return times

    def _parts(
        self,
        shape: Shape,
        group: list[int],
        alike: Callable[[Sequence[int]], bool],
        most: float | None = None,
    ) -> list[list[int]]:
        """A group that may share one call, as those that do; `most` is what each may take, in seconds."""
        rows = len(group)
        if rows == 1 or not self._pays(shape, group, alike):
            return [[index] for index in group]
        count, each = self._of(shape).together.get(rows, (0, 0.0))
        if count < TRIES or each * rows <= LONG_CALL:
            return [group]
        half, most = rows // 2, most or AS_FAST * each
        if not all(self._will_do(shape, part, most) for part in (half, rows - half)):
            return [group]
        return [
            part
            for indices in (group[:half], group[half:])
            for part in self._parts(shape, indices, alike, most)
        ]

    def _will_do(self, shape: Shape, rows: int, most: float) -> bool:
        """Whether each of so many takes at most that long, or it has to be tried."""
        times = self._of(shape)
        if rows == 1:
            return times.alone is not None and times.alone <= most
        tried, each = times.together.get(rows, (0, 0.0))
        return times.alike.get(rows, True) and (tried < TRIES or each <= most)

    def _pays(self, shape: Shape, group: Sequence[int], alike: Callable[[Sequence[int]], bool]) -> bool:
        times, rows = self._of(shape), len(group)
        if times.alone is None:
            return False
        if shape.exact:
            if rows not in times.alike:
                times.alike[rows] = alike(group)
            if not times.alike[rows]:
                return False
        count, each = times.together.get(rows, (0, 0.0))
        return count < TRIES or each < times.alone

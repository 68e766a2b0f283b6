"""Questions drawn at random, none of them again while there is another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TypeVar

__all__ = ["distinct"]

T = TypeVar("T")

# The rows with the fewest possible questions have some 170, equally likely: the last of them is missed by as
# many draws once in 100,000 times.
TRIES = 2000


def distinct(
    draw: Callable[[], T],
    key: Callable[[T], Hashable],
    count: int,
    *,
    times: Counter[Hashable] | None = None,
) -> list[T]:
    """So many things as `draw` gives them: each as often as any other, give or take one, by their keys.

    `times` says how often each was drawn before, and is kept up: for several ways to draw the same things.
    """
    drawn: list[T] = []
    times = Counter() if times is None else times
    most = 1
    for _ in range(count):
        thing = draw()
        for _ in range(TRIES):
            if times[key(thing)] < most:
                break
            thing = draw()
        else:
            most += 1  # there seems to be no other
        times[key(thing)] += 1
        drawn.append(thing)
    return drawn

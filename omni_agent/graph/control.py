"""How a step is to be run: whether, how often, how long, and what if it is unsure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from omni_agent.errors import InputError

__all__ = ["Control", "Unsure"]


@dataclass(frozen=True, kw_only=True)
class Unsure:
    """What to do when a core was unsure in a step.

    A step is as sure as the least sure token that a core committed for it.

    Args:
        below: the step is unsure when its confidence is below this, above 0 to 1.
        retry: how many times its function is called again, with other noise; of all values the surest is
            kept.
        then: a step that runs only if this one is unsure in the end, and whose value then takes the place of
            this one's for all others. It may read this step, and so see what it was unsure of.

    Raises:
        InputError: a value outside its range.
    """

    below: float
    retry: int = 0
    then: str | None = None

    def __post_init__(self) -> None:
        below: object = self.below
        if not isinstance(below, int | float) or isinstance(below, bool) or not 0 < below <= 1:
            raise InputError(f"below was {below!r}; wanted a confidence above 0 and up to 1")
        if type(self.retry) is not int or self.retry < 0:
            raise InputError(f"retry was {self.retry!r}; wanted an integer of 0 or more")
        then: object = self.then
        if then is not None and not isinstance(then, str):
            raise InputError(f"then was {then!r}; wanted the name of a step, or None")


class Control(TypedDict, total=False):
    """The options of a step. `Graph.check` finds what is wrong with them."""

    when: Callable[..., Any]
    """A plain function of steps and inputs, by its parameters' names. Where it is false, the step is
    skipped."""
    map: Mapping[str, str]
    """Parameters that take one item each of a step or an input: the function is called for each of the items,
    and followers see the list of what it returned, in order. Several parameters go side by side."""
    width: int
    """How many items are worked on at once; all of them by default."""
    on_error: Literal["raise", "skip"]
    """Whether an item that fails fails the step (the default), or is left out of the list."""
    retries: int
    """How many times the function is called again after it failed."""
    backoff: float
    """Seconds before the first retry, 0.1 by default; twice as long before each further one, a minute at
    most, and a little more by chance."""
    timeout: float
    """Seconds that one call of the function may take, or a graph, for each item of a map."""
    unsure: Unsure
    """What to do when the core was unsure."""
    version: str | int
    """What this state of the function is called. A stored run refuses to go on with another one."""
    join: Callable[[list[Any]], Any]
    """A plain function of the list of chunks of a step that yields: makes one value of them, for those who do
    not read its stream. They see the type that it is annotated to return, Any where it says nothing."""

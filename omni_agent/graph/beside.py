"""Calling the functions beside a step's own: `when`, `until`, `join`. What one raises says which it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from omni_agent.graph.brief import brief

__all__ = ["Beside", "BesideError", "beside"]

T = TypeVar("T")

Beside: TypeAlias = Literal["when", "until", "join"]


class BesideError(Exception):
    """A function beside a step's own raised its cause.

    Attributes:
        which: the option it was given as.
        given: what it was called with, each in a few words.
    """

    def __init__(self, which: Beside, given: Mapping[str, Any]) -> None:
        super().__init__(which)
        self.which = which
        self.given = {name: brief(value) for name, value in given.items()}


def beside(which: Beside, call: Callable[[], Any], given: Mapping[str, Any], made: Callable[[Any], T]) -> T:
    """Call one, and make of what it returns what is needed.

    Raises:
        BesideError: it raised something, returned a coroutine, or `made` cannot do with what it returned.
    """
    try:
        value = call()
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError("it returned a coroutine; wanted a plain function, which returns its value")
        return made(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # nothing is awaited here, so that none of them is a cancellation
        raise BesideError(which, given) from error

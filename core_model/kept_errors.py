"""Errors that others keep for as long as they like."""

from __future__ import annotations

import traceback
from typing import TypeVar

from omni_agent.errors import OmniError

__all__ = ["without_frames"]

E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """The same error, its traceback as a note: frames would keep the engine, and with it the weights, for as
    long as somebody keeps the error.
    """
    if not isinstance(error, OmniError):
        error.add_note("".join(traceback.format_exception(error)).rstrip())
    each: BaseException | None = error
    while each is not None and each.__traceback__ is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error

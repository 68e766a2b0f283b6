"""A value in a few words, for messages."""

from __future__ import annotations

from reprlib import Repr

__all__ = ["brief"]

LONGEST = 60


def brief(value: object) -> str:
    """What `repr` says of a value, cut to 60 characters; its type where `repr` fails."""
    shorten = Repr()
    shorten.maxstring = shorten.maxother = LONGEST
    try:
        text = shorten.repr(value)
    except Exception:  # a user's __repr__ may raise anything, and must not hide the error being told
        return f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."

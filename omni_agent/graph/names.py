"""Names and numbers in messages: lists of them, and hints for those that are nearly right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

__all__ = ["counted", "listed", "names_in", "nearest", "one_of"]


def nearest(name: object, known: Iterable[str]) -> str:
    """``Did you mean 'answer'?``, or nothing where no known name is near, or `name` is none."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6) if isinstance(name, str) else []
    return f"Did you mean {near[0]!r}?" if near else ""


def listed(names: Iterable[str], *, none: str = "nothing") -> str:
    """Names for a message: ``'a', 'b'``; `none` where there are none."""
    return ", ".join(map(repr, names)) or none


def one_of(names: Iterable[str]) -> str:
    """What is wanted: ``one of 'a', 'b'``, or ``none, as there are none``."""
    known = listed(names, none="")
    return f"one of {known}" if known else "none, as there are none"


def names_in(given: object) -> dict[str, str]:
    """What of a mapping of names to names is that."""
    pairs = given.items() if isinstance(given, Mapping) else ()
    return {name: of for name, of in pairs if isinstance(name, str) and isinstance(of, str)}


def counted(number: int, thing: str) -> str:
    """``1 round``, ``2 rounds``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"

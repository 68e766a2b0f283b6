"""Hints for names that are nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["listed", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'answer'?``, or nothing where no known name is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Names for a message: ``'a', 'b'``, or ``nothing``."""
    return ", ".join(map(repr, names)) or "nothing"

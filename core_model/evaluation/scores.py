"""Scores: shares with their Wilson intervals, and word errors. "an" counts as "a" everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from omni_agent.errors import MissingExtra

__all__ = ["Share", "agree", "normalised", "wilson", "word_errors"]

# The normal quantile of a two-sided 95 % interval.
QUANTILE = 1.959964


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of how many."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share itself; 0 of 0 is 0. Word errors may exceed 1: more words wrong than were said."""
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return wilson(min(self.hits, self.total), self.total)


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): 0 to 1 when nothing was counted."""
    if not 0 <= hits <= total:
        raise ValueError(f"given {hits} of {total}; wanted a count from 0 to its total")
    if total == 0:
        return 0.0, 1.0
    share, square = hits / total, QUANTILE**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = QUANTILE / (1 + square / total) * sqrt(share * (1 - share) / total + square / (4 * total**2))
    # At the ends the exact bound is 0 or 1; rounding would miss it by a hair.
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == total else middle + half
    return low, high


def normalised(text: str) -> str:
    """Lower case, single spaces, "a" for "an"."""
    return " ".join("a" if word == "an" else word for word in text.lower().split())


def agree(given: str, wanted: str) -> bool:
    """Whether an answer is the wanted one."""
    return normalised(given) == normalised(wanted)


def word_errors(wanted: Sequence[str], heard: Sequence[str]) -> Share:
    """Substituted, missing and added words among the words of all wanted sentences.

    MissingExtra when jiwer is not installed.
    """
    if len(wanted) == 0:
        return Share(hits=0, total=0)
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtra("word error rates", "evaluate") from error
    counted = jiwer.process_words([normalised(text) for text in wanted], [normalised(text) for text in heard])
    errors = counted.substitutions + counted.deletions + counted.insertions
    return Share(hits=errors, total=counted.substitutions + counted.deletions + counted.hits)

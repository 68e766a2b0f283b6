"""Scores: shares and word errors, with their 95 % intervals. "an" counts as "a" everywhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float, Shaped

from omni_agent.errors import MissingExtra

__all__ = ["Estimate", "Share", "WordErrors", "agree", "drawn_anew", "normalised", "wilson", "word_errors"]

# The normal quantile of a two-sided 95 % interval.
QUANTILE = 1.959964
BOOTSTRAPS = 2000


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of how many."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share itself; 0 of 0 is 0."""
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return wilson(self.hits, self.total)


@dataclass(frozen=True, kw_only=True)
class WordErrors:
    """The wrong words of each sentence, and how many words it has."""

    errors: tuple[int, ...]
    words: tuple[int, ...]

    @staticmethod
    def together(each: Iterable[WordErrors]) -> WordErrors:
        """Those of all their sentences."""
        each = tuple(each)
        return WordErrors(
            errors=tuple(count for one in each for count in one.errors),
            words=tuple(count for one in each for count in one.words),
        )

    @property
    def hits(self) -> int:
        """All wrong words."""
        return sum(self.errors)

    @property
    def total(self) -> int:
        """All words that were said."""
        return sum(self.words)

    @property
    def value(self) -> float:
        """The word error rate; 0 of 0 is 0. It may exceed 1: words that nobody said are errors too."""
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval, by a bootstrap over sentences (Bisani and Ney 2004): the errors of one sentence
        belong together, and are no share that a Wilson interval would be for.
        """
        if not self.total:
            return 0.0, 1.0
        rng = np.random.default_rng(0)
        drawn = rng.integers(len(self.words), size=(BOOTSTRAPS, len(self.words)))
        errors, words = np.array(self.errors)[drawn].sum(1), np.array(self.words)[drawn].sum(1)
        low, high = np.percentile(errors / words.clip(min=1), (2.5, 97.5)).tolist()
        return low, high


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure that is no share of anything, such as F1 or points."""

    value: float
    interval: tuple[float, float]
    """Its 95 % interval."""
    total: int
    """How many questions it was found with."""
    hits: None = None

    @staticmethod
    def of(value: float, drawn: Float[np.ndarray, " draws"], total: int) -> Estimate:
        """A figure with the interval that it has over what was drawn anew."""
        low, high = np.percentile(drawn, (2.5, 97.5)).tolist()
        return Estimate(value=value, interval=(low, high), total=total)


def drawn_anew(items: Shaped[np.ndarray, "n k"], *, seed: int = 0) -> Float[np.ndarray, "draws k"]:
    """A bootstrap: the sums of the items' columns, of as many items drawn from them with replacement."""
    rng = np.random.default_rng(seed)
    count = len(items)
    times = rng.multinomial(count, np.full(count, 1 / count), size=BOOTSTRAPS)
    sums: Float[np.ndarray, "draws k"] = (times @ items).astype(np.float64)
    return sums


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


def word_errors(
    wanted: Sequence[str],
    heard: Sequence[str],
    *,
    among: Collection[str] | None = None,
    normalise: Callable[[str], str] = normalised,
) -> WordErrors:
    """Substituted, missing and added words of each wanted sentence; with `among`, the substituted and missing
    ones of these words alone.

    MissingExtra when jiwer is not installed.
    """
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtra("word error rates", "evaluate") from error
    errors, words = [], []
    for said, understood in zip(map(normalise, wanted), map(normalise, heard), strict=True):
        if not said:  # nothing but fillers: whatever was heard was added
            errors.append(0 if among is not None else len(understood.split()))
            words.append(0)
            continue
        counted = jiwer.process_words(said, understood)
        if among is not None:
            found = [
                (said.split()[at], step.type == "equal")
                for step in counted.alignments[0]
                for at in range(step.ref_start_idx, step.ref_end_idx)
            ]
            words.append(sum(word in among for word, _ in found))
            errors.append(sum(word in among and not right for word, right in found))
            continue
        errors.append(counted.substitutions + counted.deletions + counted.insertions)
        words.append(counted.substitutions + counted.deletions + counted.hits)
    return WordErrors(errors=tuple(errors), words=tuple(words))

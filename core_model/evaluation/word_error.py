"""Word errors between what was said and what was heard, for recognition and for the judge of omni-tiny's voice."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["word_error_rate", "word_errors"]


def word_errors(said: str, heard: str) -> int:
    """The fewest insertions, deletions and substitutions of words that turn one into the other; "an" counts as "a"."""
    wanted, got = _words(said), _words(heard)
    row = list(range(len(got) + 1))
    for i, word in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """All word errors of (said, heard) pairs over all words said; above 1 where much was heard that nobody said."""
    errors = words = 0
    for said, heard in pairs:
        errors += word_errors(said, heard)
        words += len(said.split())
    return errors / max(words, 1)


def _words(text: str) -> list[str]:
    return ["a" if word == "an" else word for word in text.lower().split()]

"""A core's discrete codes for one picture or one piece of speech."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from omni_agent.errors import InputError

__all__ = ["Tokens"]

MOST_IDS = 1_000_000
"""More codes than this are no picture or speech within the limits of the values."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Codes of one tokenizer. They mean nothing to any other.

    Args:
        ids: the tokenizer's codes, counted from 0 (not ids of a core's vocabulary).
        tokenizer: the hash of the tokenizer that made them.

    Raises:
        InputError: an id is not an integer or below 0, there are none, or the tokenizer is not named.
    """

    ids: tuple[int, ...]
    tokenizer: str

    def __post_init__(self) -> None:
        ids: object = self.ids
        if not isinstance(ids, tuple) or not all(type(each) is int and each >= 0 for each in ids):
            raise InputError(
                f"token ids were {_short(ids)}; wanted a tuple of integers of 0 or more:"
                " convert a tensor with `tuple(ids.tolist())`"
            )
        if not 1 <= len(self.ids) <= MOST_IDS:
            raise InputError(f"{len(self.ids)} token ids were given; wanted 1 to {MOST_IDS:,}")
        tokenizer: object = self.tokenizer
        if not isinstance(tokenizer, str) or not tokenizer:
            raise InputError(f"the tokenizer was {tokenizer!r}; wanted the hash of the tokenizer")

    @property
    def content_hash(self) -> str:
        """SHA-256 of the ids and the tokenizer, in hexadecimal."""
        text = f"{self.tokenizer}\0{','.join(map(str, self.ids))}"
        return hashlib.sha256(text.encode()).hexdigest()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

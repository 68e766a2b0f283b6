"""Tokens are validated where they are made."""

from __future__ import annotations

import pytest

from omni_agent import InputError, Tokens


def test_the_hash_depends_on_ids_and_tokenizer() -> None:
    hashes = {
        Tokens(ids=ids, tokenizer=name).content_hash for ids in ((1, 2), (12,), (2, 1)) for name in ("a", "b")
    }
    assert len(hashes) == 6


@pytest.mark.parametrize(
    ("ids", "tokenizer", "words"),
    [
        ((), "t", "0 token ids"),
        ([1], "t", "wanted a tuple"),
        ((1.0,), "t", "integers"),
        ((True,), "t", "integers"),
        ((-1,), "t", "0 or more"),
        ((1,), "", "the hash of the tokenizer"),
        ((1,), None, "the hash of the tokenizer"),
        ((0,) * 1_000_001, "t", "wanted 1 to 1,000,000"),
    ],
)
def test_what_are_no_tokens_is_refused(ids: object, tokenizer: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Tokens(ids=ids, tokenizer=tokenizer)  # type: ignore[arg-type]

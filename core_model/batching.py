"""Rows of one model call: who looks at whom, and how rows of unequal length come together.

Two readings of unequal lengths (docs/decisions/0007): *masked*, where padding is hidden and every row yields
what it yields alone (`memory.py`), and *attended*, the published code's, where it is looked at like anything
else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["attended_rows", "prefix_mask"]

Row = Float[Tensor, "_ hidden"]
Rows = Float[Tensor, "batch longest hidden"]


def prefix_mask(length: int, prefix: int) -> Bool[Tensor, "1 1 length length"]:
    """True where a position (row) may look at another (column): those of the prefix only at each other, the
    others at all. Decoding needs none, as it computes a prefix by itself.
    """
    inside = torch.arange(length) < prefix
    return (inside[None, :] | ~inside[:, None])[None, None]


def attended_rows(rows: Sequence[Row], padding: Float[Tensor, " hidden"], *, behind: bool) -> Rows:
    """The rows padded to one length, to be looked at without a mask, as the published code does.

    Args:
        rows: embeddings, each row of its own length.
        padding: what is put at each place that is missing.
        behind: put it behind the rows, so that what follows prompts of unequal length is out of line; else in
            front, as tokenizers pad prompts.
    """
    longest = max(len(row) for row in rows)
    padded = []
    for row in rows:
        fill = padding.expand(longest - len(row), -1)
        padded.append(torch.cat([row, fill] if behind else [fill, row]))
    return torch.stack(padded)

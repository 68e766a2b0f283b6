"""Rows of one model call: who looks at whom, and how rows of unequal length come together.

Two readings of unequal lengths (docs/decisions/0007): *masked*, where padding is hidden and every row yields
what it yields alone, and *attended*, the published code's, where it is looked at like anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["attended_rows", "masked_rows"]

Row = Float[Tensor, "_ hidden"]
Rows = Float[Tensor, "batch longest hidden"]


def masked_rows(
    rows: Sequence[Row], prefixes: Sequence[int]
) -> tuple[Rows, Bool[Tensor, "batch 1 longest longest"] | None]:
    """The rows with zeros behind the shorter ones, and the mask that hides them.

    Args:
        rows: embeddings, each row of its own length.
        prefixes: for each row, how many positions at its start look only at each other; 0 lets all look at
            all.

    Returns:
        The rows side by side, and a mask that is True where a position (row) may look at another (column);
        None where all may look at all.
    """
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    if len(set(lengths)) == 1 and not any(prefixes):
        return torch.stack(list(rows)), None
    device = rows[0].device
    places = torch.arange(longest, device=device)
    inside = places < torch.tensor(prefixes, device=device)[:, None]
    there = places < torch.tensor(lengths, device=device)[:, None]
    mask = (inside[:, None, :] | ~inside[:, :, None]) & there[:, None, :]
    return torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows]), mask[:, None]


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

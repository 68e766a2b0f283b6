"""What masked places would take, made of their logits a few rows at a time.

At the published vocabulary a row of logits is 176,264 numbers, of which truncation keeps fifty. So the head,
the sum of exponentials and the choice of the kept columns go through the places in tiles, and no more than a
tile of logits exists at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from omni_agent.core_model.exponentials import log_sum_exp
from omni_agent.core_model.topk import descending, topk

__all__ = ["Candidates", "kept", "kept_unless_unsure", "tiles"]

TILE_BYTES = 64 * 2**20
"""What a tile's logits and what is made of them may take together."""

SORTED_BYTES = 16 * 2**20
"""What sorting rows, where equals or rounding decide, may take of that at once, beside the tile."""

_COPIES = 4
"""Logits, those without the prompt, and two of their size on the way to what is kept."""

_SORTING_COPIES = 8
"""Of a row, with its places as 64-bit numbers, on the way through sorting."""

# How far a sum of probabilities may be from top_p for rounding to decide. Float32 sums of fifty shares err by
# a few 1e-6. The published softmax on a CPU adds up a sorted row lane by lane, and errs by more the longer
# that is, at worst where its tail is of equals: by 1e-5 at 5,259 columns and 6e-5 at 32,000 with AVX-512,
# which has twice the lanes of AVX2; random logits err by 2e-6, and by 3e-5 at 176,264. Equals of that length
# would need more than the limit, which would have every tenth row sorted.
CLOSE_TO = 1e-5
CLOSE_TO_A_COLUMN = 4e-9
CLOSE_TO_AT_MOST = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """For each place that was read the token it would take.

    Attributes:
        tokens: ids.
        sure: the probability of each.
        score: what decides which places commit first, the highest.
    """

    tokens: Int[Tensor, " m"]
    sure: Float[Tensor, " m"]
    score: Float[Tensor, " m"]

    @staticmethod
    def joined(parts: Sequence[Candidates]) -> Candidates:
        """Those of several tiles, in their order."""
        if len(parts) == 1:
            return parts[0]
        return Candidates(
            tokens=torch.cat([each.tokens for each in parts]),
            sure=torch.cat([each.sure for each in parts]),
            score=torch.cat([each.score for each in parts]),
        )


def tiles(rows: int, columns: int) -> Iterator[slice]:
    """The rows in pieces whose logits, in float32, fit `TILE_BYTES`; one piece where there are no rows."""
    size = max(1, TILE_BYTES // (columns * 4 * _COPIES))
    for start in range(0, max(rows, 1), size):
        yield slice(start, min(start + size, rows))


def kept(
    logits: Float[Tensor, "m vocab"], top_p: float, top_k: int, temperature: float = 0.0
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """What the published truncation keeps, without sorting the vocabulary.

    Args:
        logits: one row a place. In half precision, where rounding makes equals in nearly every row, as many
            of the equals of the last are kept as `top_k` has room for, and none is sorted where there is one.
        top_p: the share of probability that is kept, in (0, 1]; the first token above it stays.
        top_k: tokens kept after that, in float32 with all equals of the last; 0 keeps all.
        temperature: what the logits are divided by first; 0 leaves them.

    Returns:
        Logits (float32) and columns of what is kept, by ascending column, and of so many others that all rows
        are as long; those have the lowest number there is, as all that is not kept has in the published code:
        no probability is left, and penalties apply to them as to any.
    """
    rounded, logits = logits.dtype.itemsize < 4, _tempered(logits, temperature)
    if _keeps_all(logits, top_k):
        return _by_sorting(logits, top_p, top_k), _every_column(logits)
    near = min(CLOSE_TO + CLOSE_TO_A_COLUMN * logits.shape[-1], CLOSE_TO_AT_MOST)
    highest, where, count, close = _highest(logits, top_p, top_k, near)
    if not rounded and close.any():
        for rows in _few(close, logits.shape[-1]):
            count[rows] = _count_by_sorting(logits[rows], top_p, top_k)
    values, unsure = _only(highest, count), _on_both_sides(highest, count)
    if not rounded and unsure.any():
        sorted_too = _with_sorted(logits, values, where, unsure, top_p, top_k)
        if sorted_too is None:
            return _by_sorting(logits, top_p, top_k), _every_column(logits)
        values, where = sorted_too
    return _by_column(values, where)


def kept_unless_unsure(
    logits: Float[Tensor, "m vocab"], top_p: float, top_k: int, temperature: float = 0.0
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"], Bool[Tensor, " m"]]:
    """As `kept`, with nothing sorted after all: rows that only sorting decides are told, and not to be used.

    Its shapes are a function of those of its arguments, and nothing of it is looked at on the way. It is for
    CUDA, which adds up in trees; a doubt costs a whole step there, so the margin is the narrow one.
    """
    rounded, logits = logits.dtype.itemsize < 4, _tempered(logits, temperature)
    sure = torch.zeros_like(logits[:, 0], dtype=torch.bool)
    if _keeps_all(logits, top_k):
        return _by_sorting(logits, top_p, top_k), _every_column(logits), sure
    highest, where, count, close = _highest(logits, top_p, top_k, CLOSE_TO)
    unsure = close | _on_both_sides(highest, count)
    return *_by_column(_only(highest, count), where), sure if rounded else unsure


def _tempered(logits: Float[Tensor, "m vocab"], temperature: float) -> Float[Tensor, "m vocab"]:
    """In float32: half of it has no room for logits divided by a small number."""
    return logits.float() / temperature if temperature > 0 else logits.float()


def _keeps_all(logits: Float[Tensor, "m vocab"], top_k: int) -> bool:
    return not 0 < top_k < logits.shape[-1]


def _highest(
    logits: Float[Tensor, "m vocab"], top_p: float, top_k: int, near: float
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"], Int[Tensor, "m 1"], Bool[Tensor, " m"]]:
    """The highest logits with their columns, one more than `top_k`, how many of them are kept, and of which
    rows only sorting can tell how many.
    """
    # Who is kept is among the top_k, so nothing has to be sorted.
    highest, where = topk(logits, top_k + 1)
    if top_p < 1:
        best = highest[:, :1]  # taken away first: sums of large numbers round coarsely
        shares = (highest - best - log_sum_exp(logits, best)).exp().cumsum(-1)
        count = 1 + (shares[:, :-1] <= top_p).sum(-1, keepdim=True).clamp(max=top_k - 1)
        close = ~((shares - top_p).abs() >= near).all(-1)  # also what is no number
    else:
        count = torch.full_like(where[:, :1], top_k)
        close = torch.zeros_like(highest[:, 0], dtype=torch.bool)
    return highest, where, count, close


def _count_by_sorting(logits: Float[Tensor, "m vocab"], top_p: float, top_k: int) -> Int[Tensor, "m 1"]:
    """How many are kept, by the published sum of shares, which is that of a sorted row."""
    beyond = descending(logits).softmax(-1).cumsum(-1) > top_p
    return 1 + (~beyond[:, :-1]).sum(-1, keepdim=True).clamp(max=top_k - 1)


def _on_both_sides(highest: Float[Tensor, "m k"], count: Int[Tensor, "m 1"]) -> Bool[Tensor, " m"]:
    """Of which rows equals lie on both sides of the border, so that sorting decides who of them is kept; also
    those with what is no number.
    """
    equal = highest.gather(-1, count - 1) == highest.gather(-1, count)
    return equal[:, 0] | highest[:, 0].isnan()


def _only(highest: Float[Tensor, "m k"], count: Int[Tensor, "m 1"]) -> Float[Tensor, "m k"]:
    """So many of each row, and the lowest number there is for the others."""
    beyond = torch.arange(highest.shape[-1], device=highest.device) >= count
    return highest.masked_fill(beyond, torch.finfo(highest.dtype).min)


def _with_sorted(
    logits: Float[Tensor, "m vocab"],
    values: Float[Tensor, "m k"],
    where: Int[Tensor, "m k"],
    unsure: Bool[Tensor, " m"],
    top_p: float,
    top_k: int,
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]] | None:
    """What is kept, the highest first, with the rows that are unsure sorted, a few at a time; None where so
    much is kept of one that the whole vocabulary may as well be.
    """
    lowest, most = torch.finfo(logits.dtype).min, top_k + 1
    found = []
    for rows in _few(unsure, logits.shape[-1]):
        dense = _by_sorting(logits[rows], top_p, top_k)
        most = max(most, int((dense != lowest).sum(-1).max()))
        if most > max(top_k + 1, logits.shape[-1] // 8):
            return None
        found.append((rows, dense.topk(most)))
    if most > top_k + 1:  # with equals of the last
        count = (values != lowest).sum(-1, keepdim=True)
        values, where = logits.topk(most)
        values = _only(values, count)
    for rows, highest in found:
        if highest.values.shape[-1] < most:
            highest = _by_sorting(logits[rows], top_p, top_k).topk(most)
        values[rows], where[rows] = highest
    return values, where


def _few(rows: Bool[Tensor, " m"], columns: int) -> Iterable[Int[Tensor, " few"]]:
    """Those rows, as many at a time as can be sorted at once."""
    size = max(1, SORTED_BYTES // (columns * 4 * _SORTING_COPIES))
    return torch.split(rows.nonzero()[:, 0], size)


def _by_column(
    values: Float[Tensor, "m k"], where: Int[Tensor, "m k"]
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    where, order = where.sort(-1)
    return values.gather(-1, order), where


def _by_sorting(logits: Float[Tensor, "m vocab"], top_p: float, top_k: int) -> Float[Tensor, "m vocab"]:
    """As the published code does it."""
    lowest = torch.finfo(logits.dtype).min
    if top_p < 1:
        ordered, where = logits.sort(dim=-1, descending=True)
        beyond = ordered.softmax(-1).cumsum(-1) > top_p
        beyond = torch.cat([torch.zeros_like(beyond[:, :1]), beyond[:, :-1]], -1)
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, where, beyond), lowest)
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], lowest)
    return logits


def _every_column(logits: Float[Tensor, "m vocab"]) -> Int[Tensor, "m vocab"]:
    return torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape)

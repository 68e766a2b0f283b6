"""Unmasking rules: which masked places of a blank get their token in a denoising step.

Pure functions of logits and settings, in the *typed* reading: the columns are those that the blank may hold,
confidence is the probability before any truncation, and equals go to the lower position. Source of the
rules: `generation_utils.py` of Dream and Omni-Diffusion, whose own reading is in `published_unmasking.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["TypedRule", "block_counts", "candidates", "choose", "commit_counts", "open_places"]


@dataclass(frozen=True, kw_only=True)
class TypedRule:
    """How a blank is filled.

    Attributes:
        temperature: of the draw of tokens; 0 takes the likeliest.
        top_p: the share of probability that is kept when drawing.
        top_k: the number of columns kept when drawing; 0 keeps all.
        order_noise: Gumbel noise added to the log of confidence when places are chosen.
        min_length: places from the blank's start that cannot be the end.
        block_length: places that are filled before the next ones; None takes the blank as one block.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    order_noise: float = 0.0
    min_length: int = 0
    block_length: int | None = None


def commit_counts(length: int, num_steps: int) -> list[int]:
    """How many places each step commits: as even as can be, none without, `length` in all.

    Args:
        length: masked places, at least 1.
        num_steps: denoising steps wanted, at least 1; no more than `length` are made.
    """
    steps = max(1, min(num_steps, length))
    ends = [length * (i + 1) // steps for i in range(steps)]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def block_counts(length: int, num_steps: int, block_length: int | None) -> list[list[int]]:
    """For each block, from the left, how many places its steps commit.

    A block has its share of the steps, by how many places it has. Steps too few leave some without any.

    Args:
        length: masked places, at least 1.
        num_steps: denoising steps wanted for all of them; no more than `length` are made.
        block_length: places of a block, at least 1; the last one has what is left. None makes one block.
    """
    block, steps = min(block_length or length, length), min(num_steps, length)
    counts = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        share = steps * stop // length - steps * start // length
        counts.append(commit_counts(stop - start, share) if share else [])
    return counts


def open_places(masked: Bool[Tensor, " length"], block_length: int | None) -> Bool[Tensor, " length"]:
    """The masked places that a step may commit: those of the first block that has any."""
    if block_length is None or not masked.any():
        return masked
    start = int(masked.nonzero()[0]) // block_length * block_length
    places = torch.arange(len(masked), device=masked.device)
    return masked & (places >= start) & (places < start + block_length)


def candidates(
    logits: Float[Tensor, "m columns"],
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    noise: Float[Tensor, "m columns"] | None = None,
) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
    """For each place the column it would take, and how sure that is.

    Args:
        logits: one row a masked place.
        temperature: 0 takes the most probable column; above, `noise` draws one from the truncated
        distribution.
        top_p: the share of probability that is kept when drawing, in (0, 1]; the first column above it stays.
        top_k: the number of columns kept when drawing; 0 keeps all.
        noise: Gumbel noise, wanted when the temperature is above 0.

    Returns:
        Columns (not ids) and the probability of each at temperature 1, before truncation.
    """
    logits = logits.float()  # in half precision many places would be equally sure
    probabilities = logits.softmax(-1)
    if temperature == 0:
        sure, column = probabilities.max(-1)
        return column, sure
    if noise is None:
        raise ValueError("a temperature above 0 wants noise to draw with; none was given")
    tempered = logits / temperature
    if top_k and top_k < logits.shape[-1]:
        tempered = tempered.masked_fill(tempered < tempered.topk(top_k, -1).values[:, -1:], -torch.inf)
    if top_p < 1:
        ordered, where = tempered.softmax(-1).sort(dim=-1, descending=True, stable=True)
        drop = torch.zeros_like(ordered, dtype=torch.bool).scatter(
            -1, where, ordered.cumsum(-1) - ordered > top_p
        )
        tempered = tempered.masked_fill(drop, -torch.inf)
    column = (tempered + noise).argmax(-1)
    return column, probabilities.gather(-1, column[:, None])[:, 0]


def choose(
    confidence: Float[Tensor, " length"], masked: Bool[Tensor, " length"], count: int
) -> Int[Tensor, " count"]:
    """The `count` masked places of highest confidence, equals to the lower position, in ascending order."""
    scored = confidence.masked_fill(~masked, -torch.inf)
    return scored.sort(descending=True, stable=True).indices[:count].sort().values

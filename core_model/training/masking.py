"""Which places of an answer are masked in training.

One share for all places of an answer shows the model every state that decoding goes through, the fully masked
one above all. A share for each place, as published, masks about half of every answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

__all__ = ["PADDING", "Masked", "masked_at", "masked_by_place", "masked_by_sample", "share_at", "stratified"]

PADDING = 0.6
"""Of its share, what padding is masked at: it is easy, and would teach to end early (attenuated tail-pad
masking, arXiv 2603.06577).
"""
NEARLY_FULL = 0.7


@dataclass(frozen=True, kw_only=True, eq=False)
class Masked:
    """Which places are masked, and the chance that each had to be."""

    places: Bool[np.ndarray, " n"]
    chance: Float64[np.ndarray, " n"]


def masked_at(
    rng: np.random.Generator, tail: Bool[np.ndarray, " n"], share: float, *, padding: float = PADDING
) -> Bool[np.ndarray, " n"]:
    """Places masked at one share, those of padding at `padding` of it; one place at least.

    Args:
        rng: source of chance.
        tail: True at the padding.
        share: of the places.
        padding: of the share, at the padding.
    """
    masked: np.ndarray = rng.random(len(tail)) < np.where(tail, padding * share, share)
    if not masked.any():
        masked[rng.integers(len(tail))] = True
    return masked


def masked_by_sample(
    rng: np.random.Generator, tail: Bool[np.ndarray, " n"], share: float, *, padding: float = PADDING
) -> Masked:
    """Places masked at one share; a share of 1 masks everything, the padding too, as decoding begins."""
    if share >= 1:
        return Masked(places=np.ones(len(tail), dtype=bool), chance=np.ones(len(tail)))
    chance = np.where(tail, padding * share, share)
    return Masked(places=masked_at(rng, tail, share, padding=padding), chance=chance)


def masked_by_place(
    rng: np.random.Generator, tail: Bool[np.ndarray, " n"], *, padding: float = PADDING
) -> Masked:
    """Places masked as published: each draws its own share, uniform in (0.001, 1), and its chance."""
    share = rng.uniform(0.001, 1, len(tail))
    chance = np.where(tail, padding * share, share)
    return Masked(places=rng.random(len(tail)) <= chance, chance=chance)


def share_at(quantile: float, *, full: float, nearly_full: float) -> float:
    """The share at a quantile in [0, 1): the last `full` of them are 1, the `nearly_full` before them go from
    0.7 to 1, the others from 0 to 0.7.
    """
    below = 1 - full - nearly_full
    if quantile >= 1 - full:
        return 1.0
    if quantile >= below:
        return NEARLY_FULL + (1 - NEARLY_FULL) * (quantile - below) / nearly_full
    return NEARLY_FULL * quantile / below


def stratified(first: float, row: int, place: int) -> float:
    """A quantile for the sample at a place of a row, such that those of a step lie evenly in [0, 1): additive
    recurrences with the golden ratio and the square root of three.

    Args:
        first: of the step, in [0, 1).
        row: of the step's rows.
        place: of the row's samples.
    """
    return (first + row * (5**0.5 - 1) / 2 + place * (3**0.5 - 1)) % 1.0

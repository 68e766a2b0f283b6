"""An exponential moving average of weights, which is better than where training happens to stand."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["follow"]


@torch.no_grad()
def follow(average: Iterable[Tensor], weights: Iterable[Tensor], *, step: int, decay: float) -> None:
    """Move an average towards the weights, in place; faster in the first steps, as it began by chance.

    Args:
        average: of the weights.
        weights: in the same order, of the same types.
        step: that made them, from 0.
        decay: how much of the average stays, later on.
    """
    keep = min(decay, (step + 1) / (step + 10))
    torch._foreach_lerp_(list(average), list(weights), 1 - keep)

"""Sums of exponentials of logits, at the pace of normal numbers."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["log_sum_exp"]


def log_sum_exp(logits: Float[Tensor, "m columns"], highest: Float[Tensor, "m 1"]) -> Float[Tensor, "m 1"]:
    """The log of the sum of exponentials of each row, above its highest number.

    What lies 80 below that adds nothing in float32, but its exponential may be too small for a normal number,
    which some processors take forty times as long for.
    """
    return (logits - highest).clamp_(min=-80).exp_().sum(-1, keepdim=True).log_()

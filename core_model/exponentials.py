"""Sums of exponentials of logits, at the pace of normal numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["log_sum_exp"]

AT_ONCE = 2**20
"""So many numbers of rows on a CPU: what is made of them on the way lies in its caches, and in memory that
needs not be asked of the system again.
"""


def log_sum_exp(logits: Float[Tensor, "m columns"], highest: Float[Tensor, "m 1"]) -> Float[Tensor, "m 1"]:
    """The log of the sum of exponentials of each row, above its highest number.

    What lies 80 below that adds nothing in float32, but its exponential may be too small for a normal number,
    which some processors take forty times as long for.
    """
    if not logits.is_cpu or logits.numel() <= AT_ONCE:
        return _log_sum_exp(logits, highest)
    rows = max(1, AT_ONCE // logits.shape[-1])
    pieces = zip(torch.split(logits, rows), torch.split(highest, rows), strict=True)
    return torch.cat([_log_sum_exp(*each) for each in pieces])


def _log_sum_exp(logits: Float[Tensor, "m columns"], highest: Float[Tensor, "m 1"]) -> Float[Tensor, "m 1"]:
    return (logits - highest).clamp_(min=-80).exp_().sum(-1, keepdim=True).log_()

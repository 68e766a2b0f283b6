"""Attention: what is looked at, and who looks at it by which of torch's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Attention", "KeysValues", "attention", "plain_attention"]

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""What `attention` is: of queries, of keys and values, which may be of fewer heads, and of who may look at
whom.
"""


class KeysValues(NamedTuple):
    """What one layer's attention looks at of positions that were computed before."""

    keys: Float[Tensor, "batch kv_heads past size"]
    values: Float[Tensor, "batch kv_heads past size"]


def attention(
    q: Float[Tensor, "batch heads n size"],
    k: Float[Tensor, "batch kv_heads m size"],
    v: Float[Tensor, "batch kv_heads m size"],
    mask: Bool[Tensor, "#batch 1 n m"] | None,
) -> Float[Tensor, "batch heads n size"]:
    """Scaled dot products, by torch's kernels; so many heads in turn share keys and values."""
    if q.is_cpu:
        return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    return F.scaled_dot_product_attention(q, _repeated(k, q), _repeated(v, q), mask)


def plain_attention(
    q: Float[Tensor, "batch heads n size"],
    k: Float[Tensor, "batch kv_heads n size"],
    v: Float[Tensor, "batch kv_heads n size"],
    mask: Bool[Tensor, "#batch 1 n n"] | None,
) -> Float[Tensor, "batch heads n size"]:
    """The same by matrix products, for training: on a CPU, in bfloat16, at the lengths of omni-tiny, forward
    and backward take a quarter of the time of torch's own kernel.
    """
    k, v = _repeated(k, q), _repeated(v, q)
    batch, heads, n, size = q.shape
    q, k, v = (each.reshape(batch * heads, n, size) for each in (q, k, v))
    bias = q.new_zeros(batch, 1, n, n) if mask is None else torch.where(mask, 0.0, -1e4).to(q.dtype)
    bias = bias.expand(batch, heads, n, n).reshape(batch * heads, n, n)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=size**-0.5)
    return (scores.softmax(-1) @ v).view(batch, heads, n, size)


def _repeated(x: Tensor, q: Tensor) -> Tensor:
    """Keys or values, once for each head that looks at them: on a GPU torch's fastest kernels take no mask
    otherwise.
    """
    repeats = q.shape[1] // x.shape[1]
    return x if repeats == 1 else x.repeat_interleave(repeats, 1)

"""A layer of the transformer: its modules, and what it does with hidden states.

What it does is written once, over operations: in training those are the modules, and in a resident core
functions of the modules' weights (`joined.py`), which say the same with fewer calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.config import TransformerConfig
from omni_agent.core_model.linear import Linear
from omni_agent.core_model.rms_norm import RMSNorm

__all__ = [
    "Attention",
    "KeysValues",
    "Layer",
    "Operation",
    "Operations",
    "Rotation",
    "attention",
    "plain_attention",
    "rotation_of",
]

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""What `attention` is: of queries, of keys and values, which may be of fewer heads, and of who may look at
whom.
"""

Operation = Callable[[Tensor], Tensor]

Rotation = tuple[Tensor, Tensor]
"""Of each position, cosines and sines (batch, 1, n, head_size) of the half-split rotary embedding; the sines
of the first half are negated.
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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Operations:
    """What a layer does.

    Attributes:
        num_heads: of queries, and
        num_key_value_heads: of keys and of values, which so many heads in turn share.
        attention: how they look at each other.
        input_norm: before it.
        heads: queries, keys and values of all heads, one behind the other.
        out: what follows attention.
        post_norm: before the gated MLP, of which the rest are the matrices.
        gate: behind this comes SiLU.
        up: what the gate lets through.
        down: back to hidden states.
    """

    num_heads: int
    num_key_value_heads: int
    attention: Attention
    input_norm: Operation
    heads: Operation
    out: Operation
    post_norm: Operation
    gate: Operation
    up: Operation
    down: Operation

    def __call__(
        self, x: Tensor, rotation: Rotation, mask: Tensor | None, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """Hidden states after the layer, and keys and values of these positions."""
        mixed, own = self.attended(x, rotation, mask, past)
        return self.rest(x, mixed), own

    def attended(
        self, x: Tensor, rotation: Rotation, mask: Tensor | None, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """What each position gathers of those that it looks at, head by head, and keys and values of these
        positions.
        """
        queries, turned = self.num_heads, self.num_heads + self.num_key_value_heads
        heads = self.heads(self.input_norm(x))
        heads = heads.view(*x.shape[:2], turned + self.num_key_value_heads, -1).transpose(1, 2)
        qk, v = _rotate(heads[:, :turned], rotation), heads[:, turned:]
        q, k = qk[:, :queries], qk[:, queries:]
        own = KeysValues(k, v)
        if past is not None:
            k, v = torch.cat([past.keys, k], 2), torch.cat([past.values, v], 2)
        return self.attention(q, k, v, mask).transpose(1, 2).flatten(2), own

    def rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Hidden states after the layer, of what was gathered: position by position."""
        x = _added(x, self.out(mixed))
        normed = self.post_norm(x)
        gate, up = F.silu(self.gate(normed)), self.up(normed)
        return _added(x, self.down(gate.mul_(up) if torch.is_inference_mode_enabled() else gate * up))


class Layer(nn.Module):
    """The modules of a layer, by their published names."""

    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.config, self.attention = config, attention
        self.self_attn = _Attention(config)
        self.mlp = _GatedMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def operations(self) -> Operations:
        """What it does, by its modules as they are now."""
        return self.operations_of(
            input_norm=self.input_layernorm,
            heads=self.self_attn.heads,
            out=self.self_attn.o_proj,
            post_norm=self.post_attention_layernorm,
            gate=self.mlp.gate_proj,
            up=self.mlp.up_proj,
            down=self.mlp.down_proj,
        )

    @property
    def is_plain(self) -> bool:
        """Whether its matrices are those that it was made with, and not behind adapters."""
        matrices = (*self.self_attn.children(), *self.mlp.children())
        return all(type(each) is Linear for each in matrices)

    def operations_of(self, **operations: Operation) -> Operations:
        """What it does, by these for its modules."""
        config = self.config
        return Operations(
            num_heads=config.num_heads,
            num_key_value_heads=config.num_key_value_heads,
            attention=self.attention,
            **operations,
        )

    def forward(
        self, x: Tensor, rotation: Rotation, mask: Tensor | None, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """Hidden states after the layer, and keys and values of these positions."""
        return self.operations()(x, rotation, mask, past)


class _Attention(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        shared = hidden // config.num_heads * config.num_key_value_heads
        self.q_proj = Linear(hidden, hidden)
        self.k_proj = Linear(hidden, shared)
        self.v_proj = Linear(hidden, shared)
        self.o_proj = Linear(hidden, hidden, bias=False)

    def heads(self, x: Tensor) -> Tensor:
        """Queries, keys and values of all heads, one behind the other."""
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)


class _GatedMLP(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)


def rotation_of(positions: Tensor, head_size: int, theta: float) -> Rotation:
    """The rotary embedding of positions (batch, n)."""
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = (positions[..., None].float() * (1.0 / theta**exponents))[:, None]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def _rotate(x: Tensor, rotation: Rotation) -> Tensor:
    cos, sin = rotation
    return torch.addcmul(x * cos.to(x.dtype), x.roll(x.shape[-1] // 2, -1), sin.to(x.dtype))


def _added(x: Tensor, more: Tensor) -> Tensor:
    """Their sum, in inference mode in the place of what is added."""
    return more.add_(x) if torch.is_inference_mode_enabled() and more.dtype is x.dtype else x + more

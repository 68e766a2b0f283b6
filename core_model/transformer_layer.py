"""A layer of the transformer, by the published names of its modules, and what fused layers share with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.attention import Attention, KeysValues
from omni_agent.core_model.config import TransformerConfig
from omni_agent.core_model.linear import Linear
from omni_agent.core_model.rms_norm import RMSNorm

__all__ = ["Layer", "LayerCall", "Rotation", "attend", "rotation_of"]

Rotation = tuple[Float[Tensor, "#batch 1 n head_size"], Float[Tensor, "#batch 1 n head_size"]]
"""Of each position, cosines and sines of the half-split rotary embedding; the sines of the first half are
negated.
"""

LayerCall = Callable[[Tensor, Rotation, Tensor | None, KeysValues | None], tuple[Tensor, KeysValues]]
"""What a layer is: of hidden states (batch, n, hidden), of where they are, of who may look at whom (batch, 1,
n, past and n), and of what is remembered of positions before them, it makes the hidden states behind it, and
the keys and values of these positions.
"""


class Layer(nn.Module):
    """Attention and a gated MLP, each behind a norm and added to what came in; see `LayerCall`."""

    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.self_attn = _Attention(config, attention)
        self.mlp = _GatedMLP(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        x: Float[Tensor, "batch n hidden"],
        rotation: Rotation,
        mask: Tensor | None,
        past: KeysValues | None,
    ) -> tuple[Float[Tensor, "batch n hidden"], KeysValues]:
        """Hidden states behind the layer, and keys and values of these positions."""
        mixed, own = self.self_attn(self.input_layernorm(x), rotation, mask, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), own

    @property
    def is_plain(self) -> bool:
        """Whether its modules are of the kinds that it was made with: not adapters, nor wrapped."""
        attention, mlp = self.self_attn, self.mlp
        return (
            (type(attention), type(mlp)) == (_Attention, _GatedMLP)
            and all(type(each) is Linear for part in (attention, mlp) for each in part.children())
            and all(type(each) is RMSNorm for each in (self.input_layernorm, self.post_attention_layernorm))
        )


class _Attention(nn.Module):
    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.num_heads, self.num_key_value_heads = config.num_heads, config.num_key_value_heads
        hidden = config.hidden_size
        shared = hidden // self.num_heads * self.num_key_value_heads
        self.q_proj = Linear(hidden, hidden)
        self.k_proj = Linear(hidden, shared)
        self.v_proj = Linear(hidden, shared)
        self.o_proj = Linear(hidden, hidden, bias=False)

    def forward(
        self, x: Tensor, rotation: Rotation, mask: Tensor | None, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        qkv = torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)
        heads = self.num_heads, self.num_key_value_heads
        mixed, own = attend(qkv, heads, self.attention, rotation, mask, past)
        return self.o_proj(mixed), own


class _GatedMLP(nn.Module):
    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


def attend(
    qkv: Float[Tensor, "batch n qkv"],
    heads: tuple[int, int],
    attention: Attention,
    rotation: Rotation,
    mask: Tensor | None,
    past: KeysValues | None,
) -> tuple[Float[Tensor, "batch n hidden"], KeysValues]:
    """What each position gathers of those that it looks at, head by head, and keys and values of these
    positions.

    Args:
        qkv: queries, keys and values of all heads, one behind the other.
        heads: how many are of queries, and how many of keys and of values.
        attention: how they look at each other.
        rotation: where they are; this and the others as of a `LayerCall`.
    """
    queries, keys = heads
    split = qkv.view(*qkv.shape[:2], queries + 2 * keys, -1).transpose(1, 2)
    qk, v = _rotate(split[:, : queries + keys], rotation), split[:, queries + keys :]
    q, k = qk[:, :queries], qk[:, queries:]
    own = KeysValues(k, v)
    if past is not None:
        k, v = torch.cat([past.keys, k], 2), torch.cat([past.values, v], 2)
    return attention(q, k, v, mask).transpose(1, 2).flatten(2), own


def rotation_of(positions: Int[Tensor, "#batch n"], head_size: int, theta: float) -> Rotation:
    """The rotary embedding of positions."""
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = (positions[..., None].float() * (1.0 / theta**exponents))[:, None]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def _rotate(x: Tensor, rotation: Rotation) -> Tensor:
    cos, sin = (each.to(x.dtype) for each in rotation)
    half = x.shape[-1] // 2
    if not torch.is_inference_mode_enabled():
        return torch.addcmul(x * cos, x.roll(half, -1), sin)
    turned = x * cos
    turned[..., :half].addcmul_(x[..., half:], sin[..., :half])
    turned[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return turned

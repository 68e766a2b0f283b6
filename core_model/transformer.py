"""The core's transformer: Qwen2 layout, attention in both directions, untied output head.

It knows nothing of modalities or masks: embeddings go in, hidden states come out, and `head` gives logits.
Parameter names are the published ones (`modeling_dream.py` of Omni-Diffusion and Dream), so their weights
load by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.config import TransformerConfig
from omni_agent.core_model.linear import Linear, linear
from omni_agent.core_model.rms_norm import RMSNorm

__all__ = ["KeysValues", "Transformer", "attention", "plain_attention"]

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


class Transformer(nn.Module):
    """Token embeddings, the stack of layers, and the head.

    Logits are *not* shifted here: position p of a canvas is read from the output at p - 1 (position 0 from
    itself), which is the reader's business (`omni_agent.core_model.model`).
    """

    def __init__(self, config: TransformerConfig, attention: Attention = attention) -> None:
        super().__init__()
        self.config = config
        self.model = _Stack(config, attention)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def embed(self, ids: Int[Tensor, "*batch n"]) -> Float[Tensor, "*batch n hidden"]:
        """Embeddings of token ids."""
        embedded: Tensor = self.model.embed_tokens(ids)
        return embedded

    def forward(
        self,
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> Float[Tensor, "batch n hidden"]:
        """Hidden states after the last norm.

        Args:
            embeddings: one row a canvas.
            mask: True where a position (row) may look at another (column); None lets all see all.
            positions: rotary positions; None counts from 0.
        """
        hidden: Tensor = self.model(embeddings, mask, positions)
        return hidden

    def behind(
        self,
        past: Sequence[KeysValues],
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n past_and_n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> tuple[Float[Tensor, "batch n hidden"], list[KeysValues]]:
        """Hidden states of positions that follow others, which are remembered and not computed anew.

        Args:
            past: of each layer what is remembered; none at all where nothing comes before.
            embeddings: one row a canvas, of the positions behind those.
            mask: True where a position (row) may look at a remembered one or one of these (column).
            positions: rotary positions; None counts on from what is remembered.

        Returns:
            Hidden states after the last norm, and of each layer the keys and values of these positions.
        """
        states, made = self.model.behind(past, embeddings, mask, positions)
        hidden: Tensor = self.model.norm(states)
        return hidden, made

    def hidden_states(
        self,
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> list[Float[Tensor, "batch n hidden"]]:
        """What each layer leaves, and last the normed hidden states that `forward` gives."""
        states = list(self.model.states(embeddings, mask, positions))
        return [*states, self.model.norm(states[-1])]

    def join(self) -> None:
        """Lay the matrices of queries, keys and values side by side, so that in inference mode one product
        makes all three. They keep their names, and are frozen; where they are moved, replaced or adapted
        afterwards, each makes its own again.
        """
        for module in self.modules():
            if isinstance(module, _Attention):
                module.join()

    def head(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocab"]:
        """Logits over the whole vocabulary."""
        logits: Tensor = self.lm_head(hidden)
        return logits


class _Stack(nn.Module):
    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config, attention) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        for state in self.states(x, mask, positions):
            x = state
        normed: Tensor = self.norm(x)
        return normed

    def states(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Iterator[Tensor]:
        """What each layer leaves. One at a time: decoding needs the last only, and keeps no other."""
        rotation = self._rotation(x, positions, 0)
        for layer in self.layers:
            x, _ = layer(x, rotation, mask, None)
            yield x

    def behind(
        self, past: Sequence[KeysValues], x: Tensor, mask: Tensor | None, positions: Tensor | None
    ) -> tuple[Tensor, list[KeysValues]]:
        """What the last layer leaves, and the keys and values of each."""
        made = []
        rotation = self._rotation(x, positions, past[0].keys.shape[2] if past else 0)
        for index, layer in enumerate(self.layers):
            x, own = layer(x, rotation, mask, past[index] if past else None)
            made.append(own)
        return x, made

    def _rotation(self, x: Tensor, positions: Tensor | None, first: int) -> tuple[Tensor, Tensor]:
        if positions is None:
            positions = torch.arange(first, first + x.shape[1], device=x.device)[None]
        return _rotation(positions, self.config.hidden_size // self.config.num_heads, self.config.rope_theta)


class _Layer(nn.Module):
    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.self_attn = _Attention(config, attention)
        self.mlp = _GatedMLP(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        mixed, own = self.self_attn(self.input_layernorm(x), rotation, mask, past)
        x = _added(x, mixed)
        return _added(x, self.mlp(self.post_attention_layernorm(x))), own


class _Joined(NamedTuple):
    """Matrices of queries, keys and values side by side, and the part of the weight that is each one's."""

    weight: Float[Tensor, "outer inner"]
    bias: Float[Tensor, " outer"]
    parts: tuple[Tensor, ...]


class _Attention(nn.Module):
    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.num_heads, self.num_kv = config.num_heads, config.num_key_value_heads
        self.head_size = config.hidden_size // config.num_heads
        self.q_proj = Linear(config.hidden_size, self.num_heads * self.head_size)
        self.k_proj = Linear(config.hidden_size, self.num_kv * self.head_size)
        self.v_proj = Linear(config.hidden_size, self.num_kv * self.head_size)
        self.o_proj = Linear(self.num_heads * self.head_size, config.hidden_size, bias=False)
        self._joined: _Joined | None = None

    def join(self) -> None:
        parts = (self.q_proj, self.k_proj, self.v_proj)
        if self._still_joined() or any(type(part) is not Linear for part in parts):
            return
        weight = torch.cat([part.weight.detach() for part in parts])
        bias = torch.cat([part.bias.detach() for part in parts])
        rows = [part.out_features for part in parts]
        self._joined = _Joined(weight, bias, parts=torch.split(weight, rows))
        for part, its_weight, its_bias in zip(
            parts, self._joined.parts, torch.split(bias, rows), strict=True
        ):
            part.weight = nn.Parameter(its_weight, requires_grad=False)
            part.bias = nn.Parameter(its_bias, requires_grad=False)

    def _still_joined(self) -> _Joined | None:
        """The joined matrices, while the parts' weights lie in them: not once those are moved, copied or
        replaced, nor behind adapters.
        """
        if self._joined is None:
            return None
        there = (self._modules["q_proj"], self._modules["k_proj"], self._modules["v_proj"])
        weights = [None if part is None else part._parameters.get("weight") for part in there]
        same = all(
            weight is not None and weight.data_ptr() == its.data_ptr()
            for weight, its in zip(weights, self._joined.parts, strict=True)
        )
        return self._joined if same else None

    def _projected(self, x: Tensor) -> Tensor:
        """Queries, keys and values of all heads, one behind the other."""
        if torch.is_inference_mode_enabled() and (joined := self._still_joined()) is not None:
            return linear(x, joined.weight, joined.bias)
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        turned = self.num_heads + self.num_kv
        heads = self._projected(x).view(*x.shape[:2], turned + self.num_kv, self.head_size).transpose(1, 2)
        qk, v = _rotate(heads[:, :turned], rotation), heads[:, turned:]
        q, k = qk[:, : self.num_heads], qk[:, self.num_heads :]
        own = KeysValues(k, v)
        if past is not None:
            k, v = torch.cat([past.keys, k], 2), torch.cat([past.values, v], 2)
        mixed = self.attention(q, k, v, mask)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), own


class _GatedMLP(nn.Module):
    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = F.silu(self.gate_proj(x)), self.up_proj(x)
        out: Tensor = self.down_proj(gate.mul_(up) if torch.is_inference_mode_enabled() else gate * up)
        return out


def _rotation(positions: Tensor, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines (batch, 1, n, head_size) of the half-split rotary embedding; the sines of the first
    half are negated.
    """
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = (positions[..., None].float() * (1.0 / theta**exponents))[:, None]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    return torch.addcmul(x * cos.to(x.dtype), x.roll(x.shape[-1] // 2, -1), sin.to(x.dtype))


def _added(x: Tensor, more: Tensor) -> Tensor:
    """Their sum, in inference mode in the place of what is added."""
    return more.add_(x) if torch.is_inference_mode_enabled() and more.dtype is x.dtype else x + more

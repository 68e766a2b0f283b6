"""The layers of a resident core as functions of their weights, which say the same as its modules in fewer
calls.

A denoising step of few positions is bounded by calls as much as by arithmetic, and a module looks up its
parts, its hooks and the kind of its input in each, for weights that stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omni_agent.core_model.attention import Attention, KeysValues
from omni_agent.core_model.linear import Linear, bound_linear
from omni_agent.core_model.rms_norm import bound_norm
from omni_agent.core_model.transformer_layer import Layer, Rotation, added, attend, gated

__all__ = ["FusedLayer", "FusedLayers"]

MOST_PACKED = 64 * 2**20
"""Bytes of matrices of which a copy is kept for faster products of few rows: those of a small core."""

Operation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FusedLayer:
    """What a layer does, by functions of its weights; it is a `transformer_layer.LayerCall`.

    Attributes:
        heads: how many are of queries, and how many of keys and of values.
        attention: how they look at each other.
        input_norm: the norm before attention.
        qkv: queries, keys and values of all heads as one product.
        out: the product behind attention.
        post_norm: the norm before the gated MLP.
        gate: the MLP's products, in their order.
        up: the second.
        down: the third.
    """

    heads: tuple[int, int]
    attention: Attention
    input_norm: Operation
    qkv: Operation
    out: Operation
    post_norm: Operation
    gate: Operation
    up: Operation
    down: Operation

    def __call__(
        self,
        x: Float[Tensor, "batch n hidden"],
        rotation: Rotation,
        mask: Tensor | None,
        past: KeysValues | None,
    ) -> tuple[Float[Tensor, "batch n hidden"], KeysValues]:
        """Hidden states behind the layer, and keys and values of these positions."""
        mixed, own = self.attend(x, rotation, mask, past)
        return self.after_attention(x, mixed), own

    def attend(
        self,
        x: Float[Tensor, "batch n hidden"],
        rotation: Rotation,
        mask: Tensor | None,
        past: KeysValues | None,
    ) -> tuple[Float[Tensor, "batch n hidden"], KeysValues]:
        """What each position gathers of those that it looks at, and keys and values of these positions."""
        return attend(self.qkv(self.input_norm(x)), self.heads, self.attention, rotation, mask, past)

    def after_attention(
        self, x: Float[Tensor, "*batch hidden"], mixed: Float[Tensor, "*batch hidden"]
    ) -> Float[Tensor, "*batch hidden"]:
        """Hidden states behind the layer, each of what came in and what it gathered."""
        x = added(x, self.out(mixed))
        normed = self.post_norm(x)
        return added(x, self.down(gated(self.gate(normed), self.up(normed))))


class FusedLayers:
    """Layers that are fused: their matrices of queries, keys and values lie side by side from now on, keep
    their names, and are frozen.

    Args:
        modules: layers as they are made; see `can_be`.

    Attributes:
        layers: what they do.
    """

    def __init__(self, modules: nn.ModuleList) -> None:
        packed = sum(weight.nbytes for weight in modules.parameters()) <= MOST_PACKED
        self.layers = [_fused(layer, packed) for layer in modules if isinstance(layer, Layer)]
        every = list(modules.modules())
        self._hooks = [hooks for each in every for hooks in (each._forward_hooks, each._forward_pre_hooks)]
        self._parts = [(each._modules, name, part) for each in every for name, part in each._modules.items()]
        self._weights = [
            (each._parameters, name, weight, weight.data_ptr(), weight._version)
            for each in every
            for name, weight in each._parameters.items()
            if weight is not None
        ]

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Copied or pickled it is None: a copy's weights lie elsewhere, and MKL's layout may not be moved."""
        return type(None), ()

    @staticmethod
    def can_be(modules: nn.ModuleList) -> bool:
        """Whether these are layers as they are made, not wrapped, nor their matrices behind adapters, and
        changes of their weights are counted: those of weights made in inference mode are not.
        """
        plain = all(
            isinstance(layer, Layer)
            and all(type(each) is Linear for part in (layer.self_attn, layer.mlp) for each in part.children())
            for layer in modules
        )
        return plain and not any(weight.is_inference() for weight in modules.parameters())

    @property
    def holds(self) -> bool:
        """Whether the modules still do just this: not once a weight is moved, replaced or changed, nor behind
        adapters, nor while hooks of a module watch. What is changed by `.data` goes unseen.
        """
        return (
            not any(self._hooks)
            and all(parts.get(name) is part for parts, name, part in self._parts)
            and all(
                weights.get(name) is weight and weight.data_ptr() == place and weight._version == version
                for weights, name, weight, place, version in self._weights
            )
        )


def _fused(layer: Layer, packed: bool) -> FusedLayer:
    attention, mlp, bound = layer.self_attn, layer.mlp, partial(bound_linear, packed=packed)
    return FusedLayer(
        heads=(attention.num_heads, attention.num_key_value_heads),
        attention=attention.attention,
        input_norm=bound_norm(layer.input_layernorm),
        qkv=bound(*_side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)),
        out=bound(attention.o_proj.weight),
        post_norm=bound_norm(layer.post_attention_layernorm),
        gate=bound(mlp.gate_proj.weight),
        up=bound(mlp.up_proj.weight),
        down=bound(mlp.down_proj.weight),
    )


def _side_by_side(*parts: Linear) -> tuple[Tensor, Tensor]:
    """The weight and the bias that several have together, of which theirs are parts from now on."""
    with torch.inference_mode(False):
        weight = torch.cat([part.weight.detach() for part in parts])
        bias = torch.cat([part.bias.detach() for part in parts])
    rows = [part.out_features for part in parts]
    for part, its_weight, its_bias in zip(
        parts, torch.split(weight, rows), torch.split(bias, rows), strict=True
    ):
        part.weight = nn.Parameter(its_weight, requires_grad=False)
        part.bias = nn.Parameter(its_bias, requires_grad=False)
    return weight, bias

"""The layers of a resident core as functions of their weights, which say the same as its modules in fewer
calls.

A denoising step of few positions is bounded by calls as much as by arithmetic, and a module looks up its
parts, its hooks and the kind of its input in each, for weights that stay as they are.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from omni_agent.core_model.linear import Linear, product
from omni_agent.core_model.rms_norm import bound_norm
from omni_agent.core_model.transformer_layer import Layer, Operations

__all__ = ["Joined"]

MOST_PACKED = 64 * 2**20
"""Bytes of matrices of which a copy is kept for faster products of few rows: those of a small core."""


class Joined:
    """What layers do, with queries, keys and values as one product: their matrices lie side by side from now
    on, keep their names, and are frozen.

    Args:
        layers: as they are made, without adapters; see `can_be`.

    Attributes:
        operations: of each layer.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        packed = sum(each.nbytes for each in layers.parameters()) <= MOST_PACKED
        self.operations = [_operations(layer, packed) for layer in layers if isinstance(layer, Layer)]
        modules = list(layers.modules())
        self._hooks = [hooks for each in modules for hooks in (each._forward_hooks, each._forward_pre_hooks)]
        self._parts = [
            (each._modules, name, part) for each in modules for name, part in each._modules.items()
        ]
        self._weights = [
            (each._parameters, name, weight, weight.data_ptr(), weight._version)
            for each in modules
            for name, weight in each._parameters.items()
            if weight is not None
        ]

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy of what is joined is not: its weights lie elsewhere, and a packed layout cannot be moved."""
        return type(None), ()

    @staticmethod
    def can_be(layers: nn.ModuleList) -> bool:
        """Whether these are layers as they are made, not wrapped, nor their matrices behind adapters, and
        changes of their weights are counted: those made in inference mode are not.
        """
        plain = all(isinstance(layer, Layer) and layer.is_plain for layer in layers)
        return plain and not any(weight.is_inference() for weight in layers.parameters())

    @property
    def holds(self) -> bool:
        """Whether the modules still do just this: not once a weight is moved, replaced or changed, nor behind
        adapters, nor while hooks watch. Only what is changed behind torch's back, by `.data`, goes unseen.
        """
        return (
            not any(self._hooks)
            and all(parts.get(name) is part for parts, name, part in self._parts)
            and all(
                weights.get(name) is weight and weight.data_ptr() == place and weight._version == version
                for weights, name, weight, place, version in self._weights
            )
        )


def _operations(layer: Layer, packed: bool) -> Operations:
    attention, mlp, by = layer.self_attn, layer.mlp, partial(product, packed=packed)
    return layer.operations_of(
        input_norm=bound_norm(layer.input_layernorm),
        heads=by(*_side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)),
        out=by(attention.o_proj.weight),
        post_norm=bound_norm(layer.post_attention_layernorm),
        gate=by(mlp.gate_proj.weight),
        up=by(mlp.up_proj.weight),
        down=by(mlp.down_proj.weight),
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

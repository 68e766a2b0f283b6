"""The layers of a resident core as functions of their weights, which say the same as its modules in fewer
calls.

A denoising step of few positions is bounded by calls as much as by arithmetic, and a module looks up its
parts, its hooks and the kind of its input in each, for weights that stay as they are.
"""

from __future__ import annotations

import torch
from torch import nn

from omni_agent.core_model.linear import Linear, product
from omni_agent.core_model.rms_norm import bound_norm
from omni_agent.core_model.transformer_layer import Layer, Operation, Operations

__all__ = ["Joined"]


class Joined:
    """What layers do, with queries, keys and values as one product: their matrices lie side by side from now
    on, keep their names, and are frozen.

    Args:
        layers: as they are made, without adapters; see `can_be`.

    Attributes:
        operations: of each layer.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        self.operations = [_operations(layer) for layer in layers if isinstance(layer, Layer)]
        modules = list(layers.modules())
        self._hooks = [hooks for each in modules for hooks in (each._forward_hooks, each._forward_pre_hooks)]
        self._parts = [
            (each._modules, name, part) for each in modules for name, part in each._modules.items()
        ]
        self._weights = [
            (each._parameters, name, weight, weight.data_ptr())
            for each in modules
            for name, weight in each._parameters.items()
            if weight is not None
        ]

    @staticmethod
    def can_be(layers: nn.ModuleList) -> bool:
        """Whether these are layers as they are made: not wrapped, nor their matrices behind adapters."""
        return all(isinstance(layer, Layer) and layer.is_plain for layer in layers)

    @property
    def holds(self) -> bool:
        """Whether the modules still do just this: not once a weight is moved, copied or replaced, nor behind
        adapters, nor while hooks watch.
        """
        return (
            not any(self._hooks)
            and all(parts.get(name) is part for parts, name, part in self._parts)
            and all(
                weights.get(name) is weight and weight.data_ptr() == place
                for weights, name, weight, place in self._weights
            )
        )


def _operations(layer: Layer) -> Operations:
    attention, mlp = layer.self_attn, layer.mlp
    return layer.operations_of(
        input_norm=bound_norm(layer.input_layernorm),
        heads=_side_by_side(attention.q_proj, attention.k_proj, attention.v_proj),
        out=product(attention.o_proj.weight),
        post_norm=bound_norm(layer.post_attention_layernorm),
        gate=product(mlp.gate_proj.weight),
        up=product(mlp.up_proj.weight),
        down=product(mlp.down_proj.weight),
    )


def _side_by_side(*parts: Linear) -> Operation:
    """The products of several matrices as one."""
    weight = torch.cat([part.weight.detach() for part in parts])
    bias = torch.cat([part.bias.detach() for part in parts])
    rows = [part.out_features for part in parts]
    for part, its_weight, its_bias in zip(
        parts, torch.split(weight, rows), torch.split(bias, rows), strict=True
    ):
        part.weight = nn.Parameter(its_weight, requires_grad=False)
        part.bias = nn.Parameter(its_bias, requires_grad=False)
    return product(weight, bias)

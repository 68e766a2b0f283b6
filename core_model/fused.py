"""The layers of a resident core as functions of their weights, which say the same as its modules in fewer
calls.

A denoising step of few positions is bounded by calls as much as by arithmetic, and a module looks up its
parts, its hooks and the kind of its input in each, for weights that stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import is_

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from omni_agent.core_model.attention import Attention, KeysValues
from omni_agent.core_model.linear import Linear, bound_linear
from omni_agent.core_model.rms_norm import bound_norm
from omni_agent.core_model.transformer_layer import Layer, Rotation, attend

__all__ = ["Fused", "FusedLayer"]

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
        x = self.out(mixed).add_(x)
        normed = self.post_norm(x)
        return self.down(F.silu(self.gate(normed)).mul_(self.up(normed))).add_(x)


class Unchanged:
    """Whether a module, all its parts and their weights are those that they are now."""

    def __init__(self, module: nn.Module) -> None:
        every = list(module.modules())
        self._hooks = [
            _global_forward_hooks,
            _global_forward_pre_hooks,
            *(hooks for each in every for hooks in (each._forward_hooks, each._forward_pre_hooks)),
        ]
        self._held = [slots for each in every for slots in (each._modules, each._parameters)]
        self._sizes = list(map(len, self._held))
        self._slots = [(slots, name) for slots in self._held for name in slots]
        self._parts = [slots[name] for slots, name in self._slots]
        self._weights = list(module.parameters())
        self._states = self._present()

    @property
    def watched(self) -> bool:
        """Whether hooks watch a part, or all modules, and so are to see its calls."""
        return any(self._hooks)

    @property
    def holds(self) -> bool:
        """Whether no part and no weight was moved, replaced or changed. What is changed by `.data`, a norm's
        `eps` or a module's `forward` that is set, goes unseen.
        """
        return (
            list(map(len, self._held)) == self._sizes
            and all(map(is_, [slots.get(name) for slots, name in self._slots], self._parts))
            and self._present() == self._states
        )

    def _present(self) -> tuple[list[int], list[int]]:
        """Where each weight lies, and how often it was changed there."""
        return list(map(Tensor.data_ptr, self._weights)), [weight._version for weight in self._weights]


class Fused:
    """A transformer's layers and its head as functions of their weights. Matrices of queries, keys and values
    lie side by side from now on, keep their names, and are frozen.

    Args:
        transformer: whose.
        modules: its layers as they are made, without adapters, of weights whose changes are counted.
        head: the product behind them.

    Attributes:
        layers: what the layers do.
        head: what the head does.
        unchanged: whether the modules still do just this.
    """

    def __init__(self, transformer: nn.Module, modules: nn.ModuleList, head: Linear) -> None:
        packed = sum(weight.nbytes for weight in transformer.parameters()) <= MOST_PACKED
        self.layers = [_fused(layer, packed) for layer in modules if isinstance(layer, Layer)]
        self.head = bound_linear(head.weight, packed=packed)
        self.unchanged = Unchanged(transformer)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Copied or pickled it is None: a copy's weights lie elsewhere, and MKL's layout may not be moved."""
        return type(None), ()


def _fused(layer: Layer, packed: bool) -> FusedLayer:
    attention, mlp, bound = layer.self_attn, layer.mlp, partial(bound_linear, packed=packed)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    return FusedLayer(
        heads=(attention.num_heads, attention.num_key_value_heads),
        attention=attention.attention,
        input_norm=bound_norm(layer.input_layernorm),
        qkv=bound(_side_by_side(projections, "weight"), _side_by_side(projections, "bias")),
        out=bound(attention.o_proj.weight),
        post_norm=bound_norm(layer.post_attention_layernorm),
        gate=bound(mlp.gate_proj.weight),
        up=bound(mlp.up_proj.weight),
        down=bound(mlp.down_proj.weight),
    )


def _side_by_side(parts: Sequence[Linear], name: str) -> Tensor:
    """The weight or bias that several have together, of which theirs are parts from now on. Those that lie so
    already stay where they lie, as what is captured on CUDA knows the place.
    """
    theirs = [getattr(part, name).detach() for part in parts]
    places = {each.untyped_storage().data_ptr() for each in theirs}
    if len(places) == 1 and all(
        one.data_ptr() + one.nbytes == other.data_ptr() for one, other in pairwise(theirs)
    ):
        whole: Tensor = theirs[0].as_strided(
            (sum(map(len, theirs)), *theirs[0].shape[1:]), theirs[0].stride()
        )
        return whole
    with torch.inference_mode(False):
        whole = torch.cat(theirs)
    for part, view in zip(parts, torch.split(whole, [len(each) for each in theirs]), strict=True):
        setattr(part, name, nn.Parameter(view, requires_grad=False))
    return whole

"""Classifier-free guidance: what the prompt changes, stressed.

The two rows, with the prompt and without, have the same blank behind prompts of unequal length. *Aligned*,
each is read at its own blank and sees nothing of the other's length; *out of line*, as the published code has
it, both are read at the blank of the row with the prompt. docs/decisions/0007 says what that does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from omni_agent.core_model.batching import attended_rows
from omni_agent.core_model.transformer import Transformer

__all__ = ["guided", "out_of_line"]


def guided(
    conditional: Float[Tensor, "m columns"], unconditional: Float[Tensor, "m columns"], scale: float
) -> Float[Tensor, "m columns"]:
    """Logits with the prompt stressed as published: a scale of 0 changes nothing."""
    return (conditional - unconditional).mul_(scale + 1).add_(unconditional)


def out_of_line(
    transformer: Transformer,
    conditional: Float[Tensor, "n hidden"],
    unconditional: Float[Tensor, "m hidden"],
    places: Int[Tensor, " places"],
) -> tuple[Float[Tensor, "places hidden"], Float[Tensor, "places hidden"]]:
    """Hidden states with and without the prompt as published (`generation_utils.py`, `_sample`): the shorter
    row padded behind with zeros that are looked at, and both read at the same positions.
    """
    nothing = torch.zeros_like(conditional[0])
    both = transformer(attended_rows([conditional, unconditional], nothing, behind=True))
    return both[0, places], both[1, places]

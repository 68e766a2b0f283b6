"""Unmasking rules: which masked places of a blank get their token in a denoising step.

Pure functions of logits and settings, in the *typed* reading: the columns are those that the blank may hold,
confidence is the probability before any truncation, and equals go to the lower position. Source of the
rules: `generation_utils.py` of Dream and Omni-Diffusion, whose own reading is in `published_unmasking.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from omni_agent.core_model.exponentials import log_sum_exp
from omni_agent.core_model.topk import topk

__all__ = ["TypedRule", "candidates", "choose"]

Noise = Callable[[Int[Tensor, "m k"]], Float[Tensor, "m k"]]
"""Gumbel noise for so many columns of each place."""


@dataclass(frozen=True, kw_only=True)
class TypedRule:
    """How a blank is filled.

    Attributes:
        temperature: of the draw of tokens; 0 takes the likeliest.
        top_p: the share of probability that is kept when drawing.
        top_k: the number of columns kept when drawing; 0 keeps all.
        order_noise: Gumbel noise added to the log of confidence when places are chosen.
        min_length: places from the blank's start that cannot be the end.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    order_noise: float = 0.0
    min_length: int = 0


def candidates(
    logits: Float[Tensor, "m columns"],
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    noise: Noise | None = None,
) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
    """For each place the column it would take, and how sure that is.

    Args:
        logits: one row a masked place.
        temperature: 0 takes the most probable column; above, `noise` draws one from the truncated
            distribution.
        top_p: the share of probability that is kept when drawing, in (0, 1]; the first column above it stays.
        top_k: the number of columns kept when drawing; 0 keeps all.
        noise: wanted when the temperature is above 0; asked for the columns that are kept only.

    Returns:
        Columns (not ids) and the probability of each at temperature 1, before truncation.
    """
    logits = logits.float()  # in half precision many places would be equally sure
    highest = logits.amax(-1, keepdim=True)
    total = (highest + log_sum_exp(logits, highest))[:, 0]
    if temperature == 0:
        best, column = logits.max(-1)
        return column, (best - total).exp()
    if noise is None:
        raise ValueError("a temperature above 0 wants noise to draw with; none was given")
    most = logits.shape[-1]
    values, columns = topk(logits, min(top_k or most, most))
    tempered = values / temperature
    if top_p < 1:
        shares = tempered.softmax(-1)
        tempered = tempered.masked_fill(shares.cumsum(-1) - shares > top_p, -torch.inf)
    drawn = (tempered + noise(columns)).argmax(-1, keepdim=True)
    sure = (values.gather(-1, drawn)[:, 0] - total).exp()
    return columns.gather(-1, drawn)[:, 0], sure


def choose(score: Float[Tensor, " m"], count: int) -> Int[Tensor, " count"]:
    """Which `count` masked places commit: those of the highest score, equals the lower place, ascending."""
    return score.sort(descending=True, stable=True).indices[:count].sort().values

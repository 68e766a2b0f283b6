"""What the places of a typed blank would take: `unmasking.py` on ids, with noise of this project's kind."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from omni_agent.core import Modality
from omni_agent.core_model import unmasking
from omni_agent.core_model.candidates import Candidates
from omni_agent.core_model.noise import gumbel
from omni_agent.core_model.unmasking import TypedRule

__all__ = ["typed"]


def typed(
    rule: TypedRule,
    modality: Modality,
    logits: Float[Tensor, "m columns"],
    places: Int[Tensor, " m"],
    ids: Int[Tensor, " columns"],
    key: int | Int[Tensor, "m 1"],
    *,
    order_key: int | Int[Tensor, " m"],
) -> Candidates:
    """What the places would take, and the score that decides which commit.

    Args:
        rule: how the blank is filled.
        modality: what it holds.
        logits: one row a place; in all modalities but pictures the last column is the end.
        places: counted from the blank's start.
        ids: the token of each column.
        key: seed of the noise that draws tokens, of this step.
        order_key: seed of the noise in the score.
    """
    if rule.min_length and modality is not Modality.IMAGE:
        logits = logits.clone()
        logits[:, -1].masked_fill_(places < rule.min_length, -torch.inf)
    columns, sure = unmasking.candidates(
        logits,
        temperature=rule.temperature,
        top_p=rule.top_p,
        top_k=rule.top_k,
        noise=lambda columns: gumbel(key, places[:, None], columns),
    )
    score = sure
    if rule.order_noise > 0:
        score = sure.log() + rule.order_noise * gumbel(order_key, places)
    return Candidates(tokens=ids[columns], sure=sure, score=score)

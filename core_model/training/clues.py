"""What layers inside the core are asked besides, in training only: steps on the way that the answers alone
teach far more slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.training.samples import IGNORED, Batch
from omni_agent.core_model.training.untold import excluded
from omni_agent.core_model.training.voices import PHONES
from omni_agent.core_model.world.crowds import MOST

__all__ = ["Clues", "rounded_up"]


class Clues(nn.Module):
    """The object at each place of a picture is read by the words' own embeddings, so that a name in a
    question and what is seen meet in one space; where the objects' centres are tells them apart. A layer
    later each object is asked how many of its likes there are, the picture how many objects, and the name in
    the question whether it met its like; one more, and the name is asked how many of them.
    """

    ORDERS_AFTER, PHONES_AFTER, OBJECTS_AFTER = 2, 3, 3
    LIKES_AFTER, NUMBERS_AFTER, PRESENCE_AFTER, NAMED_AFTER = 4, 4, 4, 5

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.objects = nn.Linear(hidden, hidden)
        self.phones = nn.Linear(hidden, len(PHONES))
        self.centres, self.presence = nn.Linear(hidden, 2), nn.Linear(hidden, 2)
        self.likes, self.numbers, self.named = (nn.Linear(hidden, MOST + 1) for _ in range(3))
        self.orders = nn.Linear(hidden, 20)

    def forward(
        self,
        batch: Batch,
        states: list[Tensor],
        words: Float[Tensor, "words hidden"],
        text_column: Callable[[Int64[np.ndarray, " n"]], Int64[Tensor, " n"]],
        untold: Bool[Tensor, "bits words"],
    ) -> dict[str, Tensor]:
        """Mean cross-entropies of what the batch asks; `untold` are the columns that each bit leaves out."""
        likes, centres, numbers, named, phones = (
            torch.from_numpy(each).flatten()
            for each in (batch.likes, batch.centres, batch.numbers, batch.named, batch.phones)
        )
        flat = [state.flatten(0, 1) for state in states]
        seen = flat[self.OBJECTS_AFTER - 1]
        bits = torch.from_numpy(batch.untold).flatten()
        never_words = partial(_excluded_at, bits, untold)
        never_numbers = partial(
            _excluded_at, bits, torch.eye(MOST + 1, dtype=torch.bool, device=untold.device)
        )
        losses = {
            "objects": _clue(
                seen, text_column(batch.objects.flatten()), lambda x: self.objects(x) @ words.T, never_words
            ),
            "centres": _balanced(
                [_clue(seen, torch.where(centres == each, each, IGNORED), self.centres) for each in (0, 1)]
            ),
            "likes": _clue(flat[self.LIKES_AFTER - 1], likes, self.likes, never_numbers),
            "numbers": _clue(flat[self.NUMBERS_AFTER - 1], numbers, self.numbers, never_numbers),
            "presence": _clue(flat[self.PRESENCE_AFTER - 1], named.clamp(max=1), self.presence),
            "named": _clue(flat[self.NAMED_AFTER - 1], named, self.named, never_numbers),
            "phones": _clue(flat[self.PHONES_AFTER - 1], phones, self.phones),
        }
        if len(batch.heard):
            heard_at = torch.from_numpy(batch.heard_at).to(seen.device)
            ordered = flat[self.ORDERS_AFTER - 1][heard_at]
            losses["orders"] = _clue(ordered, torch.from_numpy(batch.orders), self.orders)
        return {name: loss for name, loss in losses.items() if loss is not None}


def _clue(
    states: Tensor,
    wanted: Tensor,
    read: Callable[[Tensor], Tensor],
    never: Callable[[Tensor], Tensor] | None = None,
) -> Tensor | None:
    """The mean cross-entropy where something is wanted, without what is never told; None where nothing is."""
    at, real = rounded_up((wanted >= 0).nonzero()[:, 0])
    if not len(at):
        return None
    device = states.device
    x = states[at.to(device)].float()
    logits = read(F.rms_norm(x, x.shape[-1:])).float()
    if never is not None:
        logits = logits.masked_fill(never(at), -torch.inf)
    errors = F.cross_entropy(logits, wanted[at].to(device), reduction="none")
    real = real.to(device)
    return (errors * real).sum() / real.sum()


def _balanced(losses: list[Tensor | None]) -> Tensor | None:
    there = [loss for loss in losses if loss is not None]
    return torch.stack(there).mean() if there else None


def _excluded_at(untold: Tensor, classes: Tensor, at: Tensor) -> Tensor:
    return excluded(untold[at].to(classes.device), classes)


def rounded_up(at: Int64[Tensor, " places"], step: int = 128) -> tuple[Tensor, Tensor]:
    """The places and 1.0 for each, filled up to a round number with repeats that count 0.0.

    Every new matrix shape costs a CPU kernel and memory that is never given back; round shapes come again.
    """
    extra = -len(at) % step
    real = torch.cat([torch.ones(len(at)), torch.zeros(extra)])
    return torch.cat([at, at[:1].expand(extra)]), real

"""One published denoising step on logits that a test gives, for all masked places of the blank."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from omni_agent.core_model.published_unmasking import PublishedRule, candidates, committing, reading
from omni_agent.core_model.schedule import BlockStep


@dataclass(frozen=True, kw_only=True, eq=False)
class Committed:
    """What a step decided: places counted from the blank's start, and the blank after it."""

    places: Tensor
    blank: Tensor


def commit(
    rule: PublishedRule,
    step: BlockStep,
    blank: Tensor,
    logits: Tensor,
    *,
    mask: int,
    first: bool,
    key: int | None = None,
) -> Committed:
    """The step, its logits a row for each masked place, in order."""
    read = reading(rule, step, blank, mask=mask, key=key)
    of_place = {place: row for row, place in enumerate((blank == mask).nonzero()[:, 0].tolist())}
    rows = logits[[of_place[place] for place in read.places.tolist()]]
    found = candidates(rule, rows, blank, read, mask=mask, first=first, key=key)
    chosen = committing(rule, step, read, found.score)
    places = read.places[chosen]
    return Committed(places=places, blank=blank.index_copy(0, places, found.tokens[chosen]))

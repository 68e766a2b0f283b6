"""A canvas: the row of token ids that one request fills in, and where its parts lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from omni_agent.core import Modality, Task

__all__ = ["Canvas", "Frames", "Span", "attention_mask"]


@dataclass(frozen=True, kw_only=True)
class Span:
    """Positions `start` up to, not including, `stop`, which hold one modality."""

    start: int
    stop: int
    modality: Modality

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Heard speech in the prompt: embeddings that take the place of the tokens from `start` on."""

    start: int
    embeddings: Float[Tensor, "t hidden"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """Token ids with one blank, all of them on the model's device.

    Attributes:
        task: what it was asked for.
        ids: the row, with the mask token at each masked place.
        blank: the span that is to be filled in.
        prefix: positions before this one look only at each other; 0 lets all look at all.
        frames: heard speech.
    """

    task: Task
    ids: Int[Tensor, " n"]
    blank: Span
    prefix: int = 0
    frames: tuple[Frames, ...] = ()

    @property
    def filled(self) -> Int[Tensor, " length"]:
        """The blank's ids as they are now."""
        return self.ids[self.blank.start : self.blank.stop]

    def with_filled(self, ids: Int[Tensor, " length"]) -> Canvas:
        """The same canvas with other ids in its blank."""
        row = self.ids.clone()
        row[self.blank.start : self.blank.stop] = ids
        return replace(self, ids=row)


def attention_mask(
    length: int, prefix: int, device: torch.device | None = None
) -> Bool[Tensor, "1 1 n n"] | None:
    """True where a position (row) may look at another (column); None where all may look at all."""
    if prefix == 0:
        return None
    inside = torch.arange(length, device=device) < prefix
    return (inside[None, :] | ~inside[:, None])[None, None]

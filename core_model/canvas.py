"""A canvas: the row of token ids that one request fills in, and where its parts lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor

from omni_agent.core import Modality, Task
from omni_agent.core_model.config import TaskConfig

__all__ = ["Canvas", "Frames", "Span"]


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
        task_config: how that is done.
        ids: the row, with the mask token at each masked place.
        blank: the span that is to be filled in.
        prefix: positions before this one look only at each other; 0 lets all look at all.
        frames: heard speech.
    """

    task: Task
    task_config: TaskConfig
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

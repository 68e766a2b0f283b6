"""What training changes of a core, and its errors at masked places."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from omni_agent.core_model.speech_encoder import SpeechProjection
from omni_agent.core_model.training.published.packing import Batch
from omni_agent.core_model.transformer import Transformer

__all__ = ["Learner"]

TILE = 512
"""Masked places whose logits exist at once: of 176,264 columns in float32 they are 360 MB."""


class Learner(nn.Module):
    """The transformer and the projection of heard speech; the speech encoder stays as it is."""

    def __init__(self, transformer: Transformer, projection: SpeechProjection | None) -> None:
        super().__init__()
        self.transformer, self.projection = transformer, projection

    def forward(self, batch: Batch) -> Float[Tensor, " masked"]:
        """The cross-entropy at each masked place, over the whole vocabulary, as the published reading has it;
        a place is read from the output at the one before, as in decoding.
        """
        x = self.transformer.embed(batch.ids)
        if self.projection is not None:
            x = self._with_heard(x, batch, self.projection)
        visible = (batch.sample[:, :, None] == batch.sample[:, None, :])[:, None]
        hidden = self.transformer(x, visible, batch.positions).flatten(0, 1)[batch.places - 1]
        errors = [
            checkpoint(
                self._errors, hidden[at : at + TILE], batch.labels[at : at + TILE], use_reentrant=False
            )
            for at in range(0, max(len(hidden), 1), TILE)
        ]
        return torch.cat(errors)

    def remember_less(self) -> None:
        """From now on, compute each layer twice rather than remember what is in it."""
        layers = set(self.transformer.model.layers)
        apply_activation_checkpointing(self.transformer, check_fn=layers.__contains__)

    @staticmethod
    def _with_heard(x: Tensor, batch: Batch, projection: SpeechProjection) -> Tensor:
        weight = projection.pre_proj_layernorm.weight
        if not len(batch.heard):
            # Devices that share a step wait for each other's gradient of every weight.
            nothing: Tensor = projection(torch.zeros_like(weight)[None])
            return x + 0 * nothing.sum()
        heard = projection(batch.heard.to(weight.dtype)).to(x.dtype)
        return x.flatten(0, 1).index_copy(0, batch.heard_at, heard).view(x.shape)

    def _errors(self, hidden: Float[Tensor, "m hidden"], labels: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        return F.cross_entropy(self.transformer.head(hidden).float(), labels, reduction="none")

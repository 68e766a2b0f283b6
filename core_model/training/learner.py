"""What training changes of a core: the transformer, the projection of heard speech, how codes are built."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core import Modality
from omni_agent.core_model.attention import attention, plain_attention
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.speech_encoder import RecognitionHead, SpeechProjection, spelt
from omni_agent.core_model.training.clues import Clues, rounded_up
from omni_agent.core_model.training.samples import IGNORED, KINDS, Batch
from omni_agent.core_model.training.untold import excluded
from omni_agent.core_model.transformer import Transformer
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = ["Learner"]


class Learner(nn.Module):
    """The weights that training changes. Image codes are built from their bits plus a table of their own, so
    that what is learnt of one code serves its neighbours; `weights` folds the two into plain tables.
    """

    def __init__(
        self, config: CoreConfig, head: RecognitionHead, untold: Sequence[Sequence[int]] = ()
    ) -> None:
        """`head`: what spells words of heard frames, and stays as it is. `untold`: the tokens of words that
        each bit of `Batch.untold` leaves out.
        """
        super().__init__()
        assert config.speech_encoder is not None
        assert config.image_tokenizer is not None
        for name, value in head.ctc_lo.named_parameters():
            self.register_buffer(f"spelling_{name}", value.detach().float(), persistent=False)
        self._queries = len(config.speech_encoder.query_rows)
        self._words = list(config.speech_encoder.ctc_tokens)
        self.config, self.vocabulary = config, Vocabulary.of(config)
        hidden = config.transformer.hidden_size
        self.transformer = Transformer(config.transformer, _attention)
        self.projection = SpeechProjection(config.speech_encoder.hidden_size, hidden)
        bits = config.image_tokenizer.bits
        self.bits_in = nn.Parameter(torch.randn(bits, hidden) * 0.02)
        self.bits_out = nn.Parameter(torch.randn(bits, hidden) * 0.02)
        self.clues = Clues(hidden)
        codes = torch.arange(2**bits)[:, None]
        self.register_buffer(
            "code_bits", ((codes >> torch.arange(bits - 1, -1, -1)) & 1).float() * 2 - 1, persistent=False
        )
        # Decoding reads a blank's own columns only (the typed reading), so only these are trained.
        self.columns = {modality: self.vocabulary.columns(modality) for modality in KINDS}
        column_of = torch.zeros(len(self.vocabulary), dtype=torch.long)
        for columns in self.columns.values():
            column_of[columns[columns != self.vocabulary.end]] = torch.arange(
                int((columns != self.vocabulary.end).sum())
            )
        self.column_of = column_of
        left_out = torch.zeros(len(untold), len(self.columns[Modality.TEXT]), dtype=torch.bool)
        for row, tokens in zip(left_out, untold, strict=True):
            row[column_of[list(tokens)]] = True
        self.register_buffer("untold", left_out, persistent=False)
        for name, parameter in self.transformer.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    parameter.data /= (2 * config.transformer.num_layers) ** 0.5

    code_bits: Tensor
    untold: Tensor
    spelling_weight: Tensor
    spelling_bias: Tensor

    @property
    def device(self) -> torch.device:
        """Where the weights are. Batches stay on the CPU; what they ask is counted there, and moved here."""
        return self.bits_in.device

    def _table(self, own: Tensor, bits: Tensor) -> Tensor:
        first = self.vocabulary.image.start
        return torch.cat([own[:first], own[first:] + self.code_bits @ bits])

    def tables(self) -> tuple[Tensor, Tensor]:
        """Embeddings and head as they are used."""
        return (
            self._table(self.transformer.model.embed_tokens.weight, self.bits_in),
            self._table(self.transformer.lm_head.weight, self.bits_out),
        )

    def weights(self) -> dict[str, Tensor]:
        """The weights as a model loads them, without what serves training only."""
        embeddings, head = self.tables()
        state = {f"transformer.{name}": value for name, value in self.transformer.state_dict().items()}
        state |= {f"speech_projection.{name}": value for name, value in self.projection.state_dict().items()}
        state["transformer.model.embed_tokens.weight"], state["transformer.lm_head.weight"] = embeddings, head
        return {name: value.detach().contiguous().clone() for name, value in state.items()}

    def hidden(self, batch: Batch) -> tuple[Float[Tensor, "rows n hidden"], Float[Tensor, "vocab hidden"]]:
        """The transformer's output for packed rows, and the head to read it with."""
        states, (_, head) = self._states(batch)
        return states[-1], head

    def _states(self, batch: Batch) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
        """All hidden states of packed rows, embeddings and head."""
        ids, group, part, positions = (
            torch.from_numpy(each).to(self.device)
            for each in (batch.ids, batch.group, batch.part, batch.positions)
        )
        embeddings, head = self.tables()
        x = F.embedding(ids, embeddings)
        if len(batch.heard):
            where = torch.from_numpy(batch.heard_at).to(self.device)
            heard = self._heard(batch, embeddings).to(x.dtype)
            x = x.flatten(0, 1).index_copy(0, where, heard).view(x.shape)
        same = group[:, :, None] == group[:, None, :]
        visible = same & ((part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :]))
        states = self.transformer.hidden_states(x, visible[:, None], positions)
        return states, (embeddings, head)

    def _heard(
        self, batch: Batch, embeddings: Float[Tensor, "vocab hidden"]
    ) -> Float[Tensor, "frames hidden"]:
        """The heard frames as they enter the prompt."""
        frames = torch.from_numpy(batch.heard).to(self.device).float()
        padded = F.pad(frames, (0, 0, 0, -len(frames) % 128))
        projected, logits = (
            self.projection(padded),
            F.linear(padded, self.spelling_weight, self.spelling_bias),
        )
        heard = spelt(projected, logits, embeddings[self._words])
        query = torch.from_numpy(batch.frame).to(self.device) < self._queries
        query = F.pad(query, (0, len(padded) - len(frames)))
        return torch.where(query[:, None], projected, heard)[: len(frames)]

    def _text_column(self, tokens: Int64[np.ndarray, " n"]) -> Int64[Tensor, " n"]:
        """Where tokens of text, or the end token, stand among the columns of text; IGNORED stays."""
        ids = torch.from_numpy(tokens)
        last = len(self.columns[Modality.TEXT]) - 1
        columns = torch.where(ids == self.vocabulary.end, last, self.column_of[ids.clamp(min=0)])
        return torch.where(ids == IGNORED, IGNORED, columns)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean cross-entropies over the masked places of each modality, and of each clue."""
        labels = torch.from_numpy(batch.labels).flatten()
        masked = (labels >= 0).nonzero()[:, 0]
        kinds = torch.from_numpy(batch.kinds).flatten()[masked]
        losses: dict[str, Tensor] = {}
        with torch.autocast(self.device.type, torch.bfloat16):
            states, (embeddings, head) = self._states(batch)
            hidden = states[-1].flatten(0, 1)
            for index, modality in enumerate(KINDS):
                at, real = rounded_up(masked[kinds == index])
                if not len(at):
                    continue
                columns = self.columns[modality]
                ended = labels[at] == self.vocabulary.end
                wanted = torch.where(ended, len(columns) - 1, self.column_of[labels[at]]).to(self.device)
                read_at, read_with = (at - 1).to(self.device), columns.to(self.device)
                logits = F.linear(hidden[read_at], head[read_with]).float()
                if modality is Modality.TEXT:
                    bits = torch.from_numpy(batch.untold).flatten()[at].to(self.device)
                    logits = logits.masked_fill(excluded(bits, self.untold), -torch.inf)
                errors = F.cross_entropy(logits, wanted, reduction="none")
                # Padding is easy and most of a short answer's blank.
                weights = (torch.where(ended, 0.15, 1.0) * real).to(self.device)
                losses[modality] = (errors * weights).sum() / weights.sum()
            words = embeddings[self.columns[Modality.TEXT].to(self.device)]
            losses |= self.clues(batch, states, words, self._text_column, self.untold)
        return losses


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Whichever is faster there, forward and backward."""
    if q.device.type == "cpu":
        return plain_attention(q, k, v, mask)
    return attention(q, k, v, mask)

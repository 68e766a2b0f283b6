"""What training changes of a core: the transformer, the projection of heard speech, how codes are built."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core import Modality
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.speech_encoder import SpeechProjection
from omni_agent.core_model.training.clues import Clues, rounded_up
from omni_agent.core_model.training.samples import IGNORED, KINDS, Batch
from omni_agent.core_model.training.untold import excluded
from omni_agent.core_model.transformer import Transformer, plain_attention
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = ["Learner"]


class Learner(nn.Module):
    """The weights that training changes. Image codes are built from their bits plus a table of their own, so
    that what is learnt of one code serves its neighbours; `weights` folds the two into plain tables.
    """

    def __init__(self, config: CoreConfig, untold: Sequence[Sequence[int]] = ()) -> None:
        """`untold`: the tokens of words that each bit of `Batch.untold` leaves out."""
        super().__init__()
        assert config.speech_encoder is not None
        assert config.image_tokenizer is not None
        self.config, self.vocabulary = config, Vocabulary.of(config)
        hidden = config.transformer.hidden_size
        self.transformer = Transformer(config.transformer, plain_attention)
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
        self.untold = torch.zeros(len(untold), len(self.columns[Modality.TEXT]), dtype=torch.bool)
        for row, tokens in zip(self.untold, untold, strict=True):
            row[column_of[list(tokens)]] = True
        for name, parameter in self.transformer.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    parameter.data /= (2 * config.transformer.num_layers) ** 0.5

    WRITTEN = 0.25
    """How many of the words that are heard in training stand there as if written."""

    code_bits: Tensor

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
        states, _, (_, head) = self._states(batch)
        return states[-1], head

    def _states(self, batch: Batch) -> tuple[list[Tensor], Tensor | None, tuple[Tensor, Tensor]]:
        """All hidden states of packed rows, the heard frames as they entered, embeddings and head."""
        ids, group, part = (torch.from_numpy(a) for a in (batch.ids, batch.group, batch.part))
        embeddings, head = self.tables()
        x = F.embedding(ids, embeddings)
        embedded = None
        if len(batch.heard):
            heard, where = torch.from_numpy(batch.heard).float(), torch.from_numpy(batch.heard_at)
            embedded = self.projection(F.pad(heard, (0, 0, 0, -len(heard) % 128)))[: len(heard)].to(x.dtype)
            entering = embedded
            if self.training:
                written, words = self._written_words(batch)
                entering = torch.where(written[:, None], F.embedding(words, embeddings), embedded)
            x = x.flatten(0, 1).index_copy(0, where, entering.to(x.dtype)).view(x.shape)
        same = group[:, :, None] == group[:, None, :]
        visible = same & ((part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :]))
        states = self.transformer.hidden_states(x, visible[:, None], torch.from_numpy(batch.positions))
        return states, embedded, (embeddings, head)

    def _written_words(self, batch: Batch) -> tuple[Bool[Tensor, " frames"], Int64[Tensor, " frames"]]:
        """Which heard frames stand as the embedding of the word that is spotted there: some of the words of
        every utterance. What is learnt of a written word then holds where it is heard.
        """
        words = torch.from_numpy(batch.words)
        spotted = (words != IGNORED) & (words != self.vocabulary.end)
        new = torch.cat([words.new_ones(1, dtype=torch.bool), words[1:] != words[:-1]])
        chosen = torch.rand(len(words)) < self.WRITTEN
        return spotted & chosen[new.cumsum(0) - 1], words.clamp(min=0)

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
        with torch.autocast("cpu", torch.bfloat16):
            states, embedded, (embeddings, head) = self._states(batch)
            hidden = states[-1].flatten(0, 1)
            for index, modality in enumerate(KINDS):
                at, real = rounded_up(masked[kinds == index])
                if not len(at):
                    continue
                columns = self.columns[modality]
                ended = labels[at] == self.vocabulary.end
                wanted = torch.where(ended, len(columns) - 1, self.column_of[labels[at]])
                logits = F.linear(hidden[at - 1], head[columns]).float()
                if modality is Modality.TEXT:
                    untold = torch.from_numpy(batch.untold).flatten()[at]
                    logits = logits.masked_fill(excluded(untold, self.untold), -torch.inf)
                errors = F.cross_entropy(logits, wanted, reduction="none")
                # Padding is easy and most of a short answer's blank.
                weights = torch.where(ended, 0.15, 1.0) * real
                losses[modality] = (errors * weights).sum() / weights.sum()
            words = embeddings[self.columns[Modality.TEXT]]
            losses |= self.clues(batch, states, embedded, words, self._text_column, self.untold)
        return losses

"""The core's transformer: Qwen2 layout, attention in both directions, untied output head.

It knows nothing of modalities or masks: embeddings go in, hidden states come out, and `head` gives logits.
Parameter names are the published ones (`modeling_dream.py` of Omni-Diffusion and Dream), so their weights
load by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from omni_agent.core_model.config import TransformerConfig
from omni_agent.core_model.joined import Joined
from omni_agent.core_model.linear import Linear
from omni_agent.core_model.rms_norm import RMSNorm
from omni_agent.core_model.transformer_layer import (
    Attention,
    KeysValues,
    Layer,
    Operations,
    Rotation,
    attention,
    rotation_of,
)

__all__ = ["Reads", "Transformer"]

Reads = Sequence[Sequence[tuple[int, Int[Tensor, " _"]]]]
"""What is read of a call: for each request of which of its rows, and there which positions."""


class Transformer(nn.Module):
    """Token embeddings, the stack of layers, and the head.

    Logits are *not* shifted here: position p of a canvas is read from the output at p - 1 (position 0 from
    itself), which is the reader's business (`omni_agent.core_model.model`).
    """

    def __init__(self, config: TransformerConfig, attention: Attention = attention) -> None:
        super().__init__()
        self.config = config
        self.model = _Stack(config, attention)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def embed(self, ids: Int[Tensor, "*batch n"]) -> Float[Tensor, "*batch n hidden"]:
        """Embeddings of token ids."""
        embedded: Tensor = self.model.embed_tokens(ids)
        return embedded

    def forward(
        self,
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> Float[Tensor, "batch n hidden"]:
        """Hidden states after the last norm.

        Args:
            embeddings: one row a canvas.
            mask: True where a position (row) may look at another (column); None lets all see all.
            positions: rotary positions; None counts from 0.
        """
        hidden: Tensor = self.model(embeddings, mask, positions)
        return hidden

    def behind(
        self,
        past: Sequence[KeysValues],
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n past_and_n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> tuple[Float[Tensor, "batch n hidden"], list[KeysValues]]:
        """Hidden states of positions that follow others, which are remembered and not computed anew.

        Args:
            past: of each layer what is remembered; none at all where nothing comes before.
            embeddings: one row a canvas, of the positions behind those.
            mask: True where a position (row) may look at a remembered one or one of these (column).
            positions: rotary positions; None counts on from what is remembered.

        Returns:
            Hidden states after the last norm, and of each layer the keys and values of these positions.
        """
        states, made = self.model.behind(past, embeddings, mask, positions)
        hidden: Tensor = self.model.norm(states)
        return hidden, made

    def read_behind(
        self,
        reads: Reads,
        past: Sequence[KeysValues],
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "batch 1 n past_and_n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> tuple[list[Float[Tensor, "_ hidden"]], list[KeysValues]]:
        """As `behind`, of what is read: of all other positions the last layer makes keys and values only.

        Args:
            reads: for each request, one row at least. What it reads goes through the rest of the last layer
                by itself, so who shares the call changes none of its bits there.
            past: these and the others as for `behind`.

        Returns:
            Hidden states of what each request reads, one row behind the other, and of each layer the keys and
            values of all positions.
        """
        states, made = self.model.read_behind(reads, past, embeddings, mask, positions)
        return [self.model.norm(each) for each in states], made

    def hidden_states(
        self,
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> list[Float[Tensor, "batch n hidden"]]:
        """What each layer leaves, and last the normed hidden states that `forward` gives."""
        states = list(self.model.states(embeddings, mask, positions))
        return [*states, self.model.norm(states[-1])]

    def join(self) -> None:
        """From now on, do in inference mode what the layers do in fewer calls, as `joined.Joined` says: their
        matrices of queries, keys and values lie side by side, keep their names, and are frozen. Where weights
        are moved, changed or adapted afterwards, or watched by hooks, the layers do it by themselves again,
        until they are joined anew.
        """
        self.model.join()

    def head(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocab"]:
        """Logits over the whole vocabulary."""
        logits: Tensor = self.lm_head(hidden)
        return logits


class _Stack(nn.Module):
    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, attention) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self._joined: Joined | None = None

    def join(self) -> None:
        self._joined = Joined(self.layers) if Joined.can_be(self.layers) else None

    def forward(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        for state in self.states(x, mask, positions):
            x = state
        normed: Tensor = self.norm(x)
        return normed

    def states(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Iterator[Tensor]:
        """What each layer leaves. One at a time: decoding needs the last only, and keeps no other."""
        rotation = self._rotation(x, positions, 0)
        for layer in self._layers(x):
            x, _ = layer(x, rotation, mask, None)
            yield x

    def behind(
        self, past: Sequence[KeysValues], x: Tensor, mask: Tensor | None, positions: Tensor | None
    ) -> tuple[Tensor, list[KeysValues]]:
        """What the last layer leaves, and the keys and values of each."""
        made = []
        rotation = self._rotation(x, positions, past[0].keys.shape[2] if past else 0)
        for layer, before in zip_longest(self._layers(x), past):
            x, own = layer(x, rotation, mask, before)
            made.append(own)
        return x, made

    def read_behind(
        self,
        reads: Reads,
        past: Sequence[KeysValues],
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
    ) -> tuple[list[Tensor], list[KeysValues]]:
        """What the last layer leaves where each request reads, and the keys and values of each layer."""
        made = []
        rotation = self._rotation(x, positions, past[0].keys.shape[2] if past else 0)
        *others, (last, before_last) = zip_longest(self._layers(x), past)
        for layer, before in others:
            x, own = layer(x, rotation, mask, before)
            made.append(own)
        operations: Operations = last if isinstance(last, Operations) else last.operations()
        mixed, own = operations.attended(x, rotation, mask, before_last)
        read = [
            [torch.cat([states[row, places] for row, places in rows]) for states in (x, mixed)]
            for rows in reads
        ]
        return [operations.rest(*each) for each in read], [*made, own]

    def _layers(self, x: Tensor) -> Sequence[Any]:
        """What is done with hidden states, layer by layer: by functions of the weights, where that is what
        the modules do.
        """
        if (
            self._joined is None
            or not torch.is_inference_mode_enabled()
            or torch.is_autocast_enabled(x.device.type)
            or not self._joined.holds
        ):
            return list(self.layers)
        return self._joined.operations

    def _rotation(self, x: Tensor, positions: Tensor | None, first: int) -> Rotation:
        if positions is None:
            positions = torch.arange(first, first + x.shape[1], device=x.device)[None]
        return rotation_of(
            positions, self.config.hidden_size // self.config.num_heads, self.config.rope_theta
        )

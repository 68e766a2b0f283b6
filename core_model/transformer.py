"""The core's transformer: Qwen2 layout, attention in both directions, untied output head.

It knows nothing of modalities or masks: embeddings go in, hidden states come out, and `head` gives logits.
Parameter names are the published ones (`modeling_dream.py` of Omni-Diffusion and Dream), so their weights
load by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from omni_agent.core_model.attention import Attention, KeysValues, attention
from omni_agent.core_model.config import TransformerConfig
from omni_agent.core_model.fused import Fused, FusedLayer
from omni_agent.core_model.linear import Linear
from omni_agent.core_model.rms_norm import RMSNorm
from omni_agent.core_model.transformer_layer import Layer, LayerCall, Rotation, rotation_of

__all__ = ["Transformer"]


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
        self._fused: Fused | None = None

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
        hidden: Tensor = self.model(self._layers(embeddings), embeddings, mask, positions)
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
        states, made = self.model.behind(self._layers(embeddings), past, embeddings, mask, positions)
        hidden: Tensor = self.model.norm(states)
        return hidden, made

    def read_behind(
        self,
        reads: Sequence[Int[Tensor, " _"]],
        past: Sequence[KeysValues],
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n past_and_n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> tuple[list[Float[Tensor, "_ hidden"]], list[KeysValues]]:
        """As `behind`, of what is read. Of all other positions fused layers make keys and values only in the
        last one.

        Args:
            reads: of each request the positions that it reads, where the rows lie one behind the other. They
                go through the rest of the last layer by themselves, so who shares the call changes none of
                their bits there.
            past: this and the others as for `behind`.

        Returns:
            Hidden states of what each request reads, and of each layer the keys and values of all positions.
        """
        states, made = self.model.read_behind(
            reads, self._layers(embeddings), past, embeddings, mask, positions
        )
        return [self.model.norm(each) for each in states], made

    def hidden_states(
        self,
        embeddings: Float[Tensor, "batch n hidden"],
        mask: Bool[Tensor, "#batch 1 n n"] | None = None,
        positions: Int[Tensor, "#batch n"] | None = None,
    ) -> list[Float[Tensor, "batch n hidden"]]:
        """What each layer leaves, and last the normed hidden states that `forward` gives."""
        states = list(self.model.states(self._layers(embeddings), embeddings, mask, positions))
        return [*states, self.model.norm(states[-1])]

    def fuse(self) -> None:
        """From now on, do in inference mode what layers and head do in fewer calls; see `fused.Fused`. While
        a module is watched by hooks, and from the first call on that finds a weight moved, changed, replaced
        or adapted, the modules do it themselves. Whoever changes weights by `.data`, as merging of adapters
        does, fuses them anew, or calls `unfuse`.
        """
        self._fused = Fused(self, self.model.layers, self.lm_head) if self._as_made() else None

    def unfuse(self) -> None:
        """From now on, the modules do what they do. What lies side by side stays there."""
        self._fused = None

    def head(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocab"]:
        """Logits over the whole vocabulary."""
        fused = self._fused_for(hidden)
        logits: Tensor = self.lm_head(hidden) if fused is None else fused.head(hidden)
        return logits

    def _as_made(self) -> bool:
        """Whether layers and head are what they were made as, and changes of their weights are counted: those
        of weights made in inference mode are not.
        """
        plain = all(isinstance(layer, Layer) and layer.is_plain for layer in self.model.layers)
        return plain and type(self.lm_head) is Linear and not any(map(torch.is_inference, self.parameters()))

    def _layers(self, x: Tensor) -> Sequence[LayerCall]:
        """What is done with hidden states, layer by layer."""
        fused = self._fused_for(x)
        return list(self.model.layers) if fused is None else fused.layers

    def _fused_for(self, x: Tensor) -> Fused | None:
        """What is fused, where the modules would do the same and nobody watches them."""
        if self._fused is not None and not self._fused.unchanged.holds:
            self._fused = None
        if (
            self._fused is None
            or self._fused.unchanged.watched
            or not torch.is_inference_mode_enabled()
            or torch.is_autocast_enabled(x.device.type)
        ):
            return None
        return self._fused


class _Stack(nn.Module):
    def __init__(self, config: TransformerConfig, attention: Attention) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, attention) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, layers: Sequence[LayerCall], x: Tensor, mask: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        for state in self.states(layers, x, mask, positions):
            x = state
        normed: Tensor = self.norm(x)
        return normed

    def states(
        self, layers: Sequence[LayerCall], x: Tensor, mask: Tensor | None, positions: Tensor | None
    ) -> Iterator[Tensor]:
        """What each layer leaves. One at a time: decoding needs the last only, and keeps no other."""
        rotation = self._rotation(x, positions)
        for layer in layers:
            x, _ = layer(x, rotation, mask, None)
            yield x

    def behind(
        self,
        layers: Sequence[LayerCall],
        past: Sequence[KeysValues],
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """What the last layer leaves, and the keys and values of each."""
        return _through(layers, past, x, self._rotation(x, positions, past), mask)

    def read_behind(
        self,
        reads: Sequence[Tensor],
        layers: Sequence[LayerCall],
        past: Sequence[KeysValues],
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
    ) -> tuple[list[Tensor], list[KeysValues]]:
        """What the last layer leaves where each request reads, and the keys and values of each layer."""
        rotation = self._rotation(x, positions, past)
        *others, last = layers
        x, made = _through(others, past[:-1], x, rotation, mask)
        before = past[-1] if past else None
        if isinstance(last, FusedLayer):
            mixed, own = last.attend(x, rotation, mask, before)
            x, mixed = x.flatten(0, 1), mixed.flatten(0, 1)
            read = [last.after_attention(x[places], mixed[places]) for places in reads]
        else:
            x, own = last(x, rotation, mask, before)
            read = [x.flatten(0, 1)[places] for places in reads]
        return read, [*made, own]

    def _rotation(self, x: Tensor, positions: Tensor | None, past: Sequence[KeysValues] = ()) -> Rotation:
        size, theta = self.config.hidden_size // self.config.num_heads, self.config.rope_theta
        if positions is not None:
            return rotation_of(positions, size, theta)
        first = past[0].keys.shape[2] if past else 0
        return _rotation_of_range(first, first + x.shape[1], x.device, size, theta)


@lru_cache(maxsize=16)
def _rotation_of_range(first: int, stop: int, device: torch.device, size: int, theta: float) -> Rotation:
    """Of positions side by side, which are the same ones in each step of a request."""
    with torch.inference_mode(False):
        return rotation_of(torch.arange(first, stop, device=device)[None], size, theta)


def _through(
    layers: Sequence[LayerCall],
    past: Sequence[KeysValues],
    x: Tensor,
    rotation: Rotation,
    mask: Tensor | None,
) -> tuple[Tensor, list[KeysValues]]:
    made = []
    remembered: Sequence[KeysValues | None] = past or [None] * len(layers)
    for layer, before in zip(layers, remembered, strict=True):
        x, own = layer(x, rotation, mask, before)
        made.append(own)
    return x, made

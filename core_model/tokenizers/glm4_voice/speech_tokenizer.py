"""Sound to codes, 12.5 a second: a Whisper encoder cut in the middle, with a codebook (GLM-4-Voice).

Names are those of `THUDM/glm-4-voice-tokenizer` (`speech_tokenizer/modeling_whisper.py`). Features and layers
are transformers' own; new are the causal convolutions, the mask of blocks, the averaging and the codebook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

from omni_agent.core_model.config import SpeechTokenizerConfig

__all__ = ["RATE", "SpeechTokenizer"]

RATE = 16_000
HOP = 160
# Longer sound is cut: the model has no positions for more.
PIECE_SECONDS = 30


class SpeechTokenizer(nn.Module):
    """The encoder up to its codebook."""

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        layer = WhisperConfig(
            d_model=size,
            encoder_attention_heads=config.num_heads,
            encoder_ffn_dim=config.feed_forward_size,
            attn_implementation="eager",
        )
        self.conv1 = nn.Conv1d(config.mels, size, 3)
        self.conv2 = nn.Conv1d(size, size, 3, stride=2)
        self.embed_positions = nn.Embedding(config.positions, size)
        self.layers = nn.ModuleList(WhisperEncoderLayer(layer) for _ in range(config.num_layers))
        self.codebook = nn.Embedding(config.num_codes, size)
        # Of training alone; kept so that a checkpoint is whole.
        self.embed_positions2 = nn.Embedding(-(-config.positions // config.pool), size)
        self.register_buffer("ema_count", torch.ones(config.num_codes))
        self.register_buffer("ema_weight", torch.zeros(config.num_codes, size))
        self._features = WhisperFeatureExtractor(feature_size=config.mels)

    @property
    def stride(self) -> int:
        """Samples at 16 kHz that one code stands for."""
        return 2 * self.config.pool * HOP

    def features(
        self, sounds: Sequence[Float32[np.ndarray, " _"]]
    ) -> tuple[Float[Tensor, "batch mels frames"], Int[Tensor, "batch frames"]]:
        """Log-mel features of sounds at 16 kHz, padded to the longest and to whole codes, and which of their
        frames are sound.
        """
        made = self._features(
            list(sounds),
            sampling_rate=RATE,
            return_attention_mask=True,
            return_tensors="pt",
            padding="longest",
            pad_to_multiple_of=self.stride,
            truncation=False,
        )
        return made.input_features, made.attention_mask

    def stem(self, features: Float[Tensor, "batch mels frames"]) -> Float[Tensor, "batch hidden t"]:
        """Two convolutions that see the past only; the second halves the rate."""
        x = F.gelu(self.conv1(F.pad(features, (2, 0))))
        halved: Tensor = F.gelu(self.conv2(F.pad(x, (2, 0))))
        return halved

    def states(
        self, features: Float[Tensor, "batch mels frames"], there: Int[Tensor, "batch frames"]
    ) -> Iterator[Float[Tensor, "batch t hidden"]]:
        """What each layer leaves."""
        x = self.stem(features).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        mask = torch.zeros(len(x), 1, x.shape[1], x.shape[1], dtype=x.dtype, device=x.device)
        mask.masked_fill_(~self._seen(there[:, ::2].bool())[:, None], torch.finfo(x.dtype).min)
        for layer in self.layers:
            x = layer(x, mask)
            yield x

    def hidden(
        self, features: Float[Tensor, "batch mels frames"], there: Int[Tensor, "batch frames"]
    ) -> Float[Tensor, "batch codes hidden"]:
        """What is looked up in the codebook: the last layer's states, averaged in groups; zeros fill the last
        one up.
        """
        for x in self.states(features, there):
            last = x
        rows = F.pad(last, (0, 0, 0, -last.shape[1] % self.config.pool))
        return rows.reshape(len(rows), -1, self.config.pool, rows.shape[2]).mean(2)

    def nearest(self, vectors: Float[Tensor, "*batch hidden"]) -> Int[Tensor, "*batch"]:
        """The code of each vector, the first among equals."""
        return self.distances(vectors).argmin(-1)

    def distances(self, vectors: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch codes"]:
        """From each vector to each code, squared."""
        book, flat = self.codebook.weight, vectors.flatten(0, -2)
        lengths = book.square().sum(1) + flat.square().sum(1, keepdim=True)
        return torch.addmm(lengths, flat, book.T, alpha=-2).reshape(*vectors.shape[:-1], -1)

    def forward(
        self, features: Float[Tensor, "batch mels frames"], there: Int[Tensor, "batch frames"]
    ) -> tuple[Int[Tensor, "batch codes"], Bool[Tensor, "batch codes"]]:
        """Codes, and which of them are of sound."""
        return self.nearest(self.hidden(features, there)), there[:, :: 2 * self.config.pool].bool()

    @torch.inference_mode()
    def encode(self, samples: Float32[np.ndarray, " n"]) -> list[int]:
        """Codes of a sound at 16 kHz. What is longer than 30 seconds is cut into pieces of 30, each of which
        is encoded alone.
        """
        codes: list[int] = []
        device = self.codebook.weight.device
        piece = min(PIECE_SECONDS * RATE, self.config.positions // self.config.pool * self.stride)
        for start in range(0, max(len(samples), 1), piece):
            features, there = self.features([samples[start : start + piece]])
            found, kept = self(features.to(device, self.codebook.weight.dtype), there.to(device))
            codes += found[kept].tolist()
        return codes

    def _seen(self, there: Bool[Tensor, "batch t"]) -> Bool[Tensor, "batch t t"]:
        """A position sees the past and its own block, as far as that is sound."""
        places = torch.arange(there.shape[1], device=there.device)
        block = places // self.config.block_length
        seen = (places[None] <= places[:, None]) | (block[None] == block[:, None])
        return seen & there[:, None]

"""The core's ears: SANM layers over stacked log-mel frames, projected into the prompt.

Input are the front end's frames (60 ms a row); output is a row of hidden states for each frame and each query
row in front of them, and their projection to the transformer's width. Where the encoder has learnt to spell
words of the core's vocabulary, a frame enters as the word itself, as far as it is sure of one. Parameters
have the published names below `model.audio_model.model.` and `model.audio_projection.` (SenseVoice small in
Omni-Diffusion).
"""

from __future__ import annotations

import math
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.config import SpeechEncoderConfig

__all__ = ["RecognitionHead", "SpeechEncoder", "SpeechProjection", "spelled", "spelt"]


class SpeechEncoder(nn.Module):
    """Self-attention with a memory branch (SANM), in two stages with a norm after each."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.num_queries, config.input_size)
        self.encoder = _Stages(config)
        self.ctc = RecognitionHead(config.hidden_size, config.ctc_size) if config.ctc_size else None

    def forward(
        self, frames: Float[Tensor, "batch t width"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch n hidden"]:
        """Hidden states of the query rows followed by the frames.

        Args:
            frames: front-end frames, (batch, t, 560).
            lengths: true number of frames in each row, at least 1; None takes all t. Padding is hidden from
                attention and zero for the memory branch, so a padded row gives what it gives alone.
        """
        queries = self.embed(torch.tensor(self.config.query_rows, device=frames.device))
        x = torch.cat([queries.to(frames.dtype).expand(len(frames), -1, -1), frames], 1)
        x = x * math.sqrt(self.config.hidden_size)
        x = x + _sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype)
        keep = None
        if lengths is not None:
            keep = (
                torch.arange(x.shape[1], device=x.device)[None]
                < (lengths + len(self.config.query_rows))[:, None]
            )
        hidden: Tensor = self.encoder(x, keep)
        return hidden


class RecognitionHead(nn.Module):
    """What each frame spells, by connectionist temporal classification; output 0 is nothing.

    Nothing reads the published encoder's: it is kept so that a checkpoint that is loaded and saved is whole.
    """

    def __init__(self, size: int, ctc_size: int) -> None:
        super().__init__()
        self.ctc_lo = nn.Linear(size, ctc_size)

    def forward(self, encoded: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch outputs"]:
        """Logits of the outputs."""
        logits: Tensor = self.ctc_lo(encoded)
        return logits


def spelt(
    projected: Float[Tensor, "frames hidden"],
    logits: Float[Tensor, "frames outputs"],
    words: Float[Tensor, "words hidden"],
) -> Float[Tensor, "frames hidden"]:
    """Frames as they enter the prompt: the embeddings of the words they spell, and their projections, each
    weighed by its probability. A word that is heard is then what it is when it is typed.

    Args:
        projected: what enters where nothing is spelt.
        logits: of nothing and of each word.
        words: their embeddings.
    """
    chances = logits.float().softmax(-1).to(projected.dtype)
    return chances[:, :1] * projected + chances[:, 1:] @ words


def spelled(logits: Float[Tensor, "frames outputs"]) -> list[int]:
    """The outputs that frames spell, each of them a word: the likeliest of each frame, repeats merged and
    nothing left out.

    Args:
        logits: of nothing and of each word, or anything that grows with them.
    """
    return [output for output, _ in groupby(logits.argmax(-1).tolist()) if output]


class SpeechProjection(nn.Module):
    """From the encoder's width to the transformer's: norm, then two layers with an exact GELU between."""

    def __init__(self, encoder_size: int, hidden_size: int) -> None:
        super().__init__()
        self.pre_proj_layernorm = nn.LayerNorm(encoder_size)
        self.mlp = nn.Sequential(
            nn.Linear(encoder_size, hidden_size, bias=False),
            nn.GELU(),
            nn.Linear(hidden_size, hidden_size, bias=False),
        )

    def forward(self, encoded: Float[Tensor, "*batch encoder"]) -> Float[Tensor, "*batch hidden"]:
        projected: Tensor = self.mlp(self.pre_proj_layernorm(encoded))
        return projected


class _Stages(nn.Module):
    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.encoders0 = nn.ModuleList([_Layer(config, config.input_size)])
        self.encoders = nn.ModuleList(_Layer(config, size) for _ in range(config.num_blocks - 1))
        self.after_norm = nn.LayerNorm(size, eps=1e-5)
        self.tp_encoders = nn.ModuleList(_Layer(config, size) for _ in range(config.num_tp_blocks))
        self.tp_norm = nn.LayerNorm(size, eps=1e-5)

    def forward(self, x: Tensor, keep: Bool[Tensor, "batch n"] | None) -> Tensor:
        for layer in (*self.encoders0, *self.encoders):
            x = layer(x, keep)
        x = self.after_norm(x)
        for layer in self.tp_encoders:
            x = layer(x, keep)
        normed: Tensor = self.tp_norm(x)
        return normed


class _Layer(nn.Module):
    def __init__(self, config: SpeechEncoderConfig, input_size: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.residual = input_size == size
        self.self_attn = _MemoryAttention(input_size, size, config.num_heads, config.kernel_size)
        self.feed_forward = _FeedForward(size, config.feed_forward_size)
        self.norm1 = nn.LayerNorm(input_size, eps=1e-5)
        self.norm2 = nn.LayerNorm(size, eps=1e-5)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        attended = self.self_attn(self.norm1(x), keep)
        x = x + attended if self.residual else attended
        after: Tensor = x + self.feed_forward(self.norm2(x))
        return after


class _FeedForward(nn.Module):
    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, inner)
        self.w_2 = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w_2(F.relu(self.w_1(x)))
        return out


class _MemoryAttention(nn.Module):
    """Multi-head attention plus a depthwise convolution over the values (the memory of FSMN)."""

    def __init__(self, input_size: int, size: int, num_heads: int, kernel_size: int) -> None:
        super().__init__()
        self.num_heads, self.kernel_size = num_heads, kernel_size
        self.linear_q_k_v = nn.Linear(input_size, 3 * size)
        self.linear_out = nn.Linear(size, size)
        self.fsmn_block = nn.Conv1d(size, size, kernel_size, groups=size, bias=False)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        q, k, v = self.linear_q_k_v(x).chunk(3, -1)
        if keep is not None:
            v = v * keep[..., None].to(v.dtype)
        side = (self.kernel_size - 1) // 2
        memory = (
            self.fsmn_block(F.pad(v.transpose(1, 2), (side, self.kernel_size - 1 - side))).transpose(1, 2) + v
        )
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        mask = None if keep is None else keep[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        out: Tensor = self.linear_out(mixed) + memory
        return out


def _sinusoids(length: int, depth: int, device: torch.device) -> Tensor:
    """Positions counted from 1, (1, length, depth): sines in the first half, cosines in the second."""
    half = depth // 2
    inverse = torch.exp(torch.arange(half, device=device).float() * -(math.log(10_000.0) / (half - 1)))
    angles = torch.arange(1, length + 1, device=device).float()[:, None] * inverse[None]
    return torch.cat([angles.sin(), angles.cos()], -1)[None]

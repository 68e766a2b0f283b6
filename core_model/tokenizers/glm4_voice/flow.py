"""Speech codes to a mel spectrogram by flow matching: a token encoder, a length regulator, and a U-Net that
turns noise into speech in a few steps.

Names are those of `flow.pt` (`cosyvoice/flow/flow.py` of GLM-4-Voice). The published code leaves dropout on;
here it is off, and equal noise gives equal speech (docs/decisions/0009).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from diffusers.models.attention import BasicTransformerBlock
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.config import FlowConfig
from omni_agent.core_model.tokenizers.glm4_voice.vocoder import HOP, MELS, RATE

__all__ = ["FlowDecoder", "frames_of"]

CODES_PER_SECOND = 12.5
GUIDANCE = 0.7
STEPS = 10


def frames_of(codes: int) -> int:
    """Mel frames of so many codes, each step of the division rounded to float32 as published."""
    seconds = np.float32(codes) / np.float32(CODES_PER_SECOND)
    return int(seconds * np.float32(RATE) / np.float32(HOP))


class FlowDecoder(nn.Module):
    """Codes, a speaker and noise in, a mel spectrogram out."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.input_embedding = nn.Embedding(config.num_codes, config.token_size)
        self.spk_embed_affine_layer = nn.Linear(config.speaker_size, MELS)
        self.encoder = _TokenEncoder(config)
        self.encoder_proj = nn.Linear(config.hidden_size, MELS)
        self.length_regulator = _LengthRegulator()
        self.decoder = _Estimating(config)

    def forward(
        self,
        codes: Int[Tensor, "1 codes"],
        noise: Float[Tensor, "1 80 frames"],
        *,
        speaker: Float[Tensor, "1 speaker"],
        prompt_codes: Int[Tensor, "1 before"],
        prompt_mel: Float[Tensor, "1 frames_before 80"],
        num_steps: int = STEPS,
        guidance_scale: float = GUIDANCE,
    ) -> Float[Tensor, "1 80 frames_after"]:
        """The mel spectrogram of codes that follow others.

        Args:
            codes: of the speech wanted.
            noise: standard normal, as many frames as all codes have (`frames_of`).
            speaker: a vector of the voice; zeros are the published one.
            prompt_codes: of speech before; may be none.
            prompt_mel: its spectrogram, which is gone on from.
            num_steps: steps from noise to speech.
            guidance_scale: how much the codes are stressed.
        """
        all_codes = torch.cat([prompt_codes, codes], 1)
        mu = self.conditions(all_codes)
        condition = torch.zeros_like(mu)
        condition[..., : prompt_mel.shape[1]] = prompt_mel.transpose(1, 2)
        mel = self.flow(
            noise,
            mu,
            self.speaker(speaker),
            condition,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
        )
        return mel[..., prompt_mel.shape[1] :]

    def speaker(self, vector: Float[Tensor, "1 speaker"]) -> Float[Tensor, "1 80"]:
        """A speaker's vector as the U-Net reads it."""
        projected: Tensor = self.spk_embed_affine_layer(F.normalize(vector, dim=1, eps=1e-12))
        return projected

    def conditions(self, codes: Int[Tensor, "1 codes"]) -> Float[Tensor, "1 80 frames"]:
        """What the codes say of each mel frame."""
        encoded = self.encoder_proj(self.encoder(self.input_embedding(codes.clamp(min=0))))
        made: Tensor = self.length_regulator(encoded, frames_of(codes.shape[1]))
        return made

    def flow(
        self,
        noise: Float[Tensor, "1 80 frames"],
        mu: Float[Tensor, "1 80 frames"],
        speaker: Float[Tensor, "1 80"],
        condition: Float[Tensor, "1 80 frames"],
        *,
        num_steps: int,
        guidance_scale: float,
    ) -> Float[Tensor, "1 80 frames"]:
        """Euler steps from noise to speech, with and without the conditions in one batch."""
        x = noise
        nothing = torch.zeros_like
        both_mu = torch.cat([mu, nothing(mu)])
        both_speaker = torch.cat([speaker, nothing(speaker)])
        both_condition = torch.cat([condition, nothing(condition)])
        for time, step in times(num_steps):
            at = torch.full((2,), time, dtype=x.dtype, device=x.device)
            velocity = self.decoder.estimator(x.expand(2, -1, -1), both_mu, at, both_speaker, both_condition)
            conditional, unconditional = velocity.chunk(2)
            x = x + step * ((1 + guidance_scale) * conditional - guidance_scale * unconditional)
        return x


def times(num_steps: int) -> Iterator[tuple[float, float]]:
    """When each step is taken and how long it is: short ones first (a cosine schedule)."""
    ends = 1 - torch.cos(torch.linspace(0, 1, num_steps + 1) * 0.5 * torch.pi)
    time = ends[0]
    for end in ends[1:]:
        step = end - time
        yield float(time), float(step)
        time = time + step


class _TokenEncoder(nn.Module):
    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.config = config
        self.embed = _Embedding(config.token_size, size)
        self.encoders = nn.ModuleList(_EncoderLayer(config) for _ in range(config.num_layers))
        self.after_norm = nn.LayerNorm(size, eps=1e-5)

    def forward(self, tokens: Float[Tensor, "1 t width"]) -> Float[Tensor, "1 t hidden"]:
        x = self.embed(tokens)
        offsets = relative_positions(x.shape[1], x.shape[2]).to(x)
        places = torch.arange(x.shape[1], device=x.device)
        block = places // self.config.block_length
        seen = (places[None] <= places[:, None]) | (block[None] == block[:, None])
        for layer in self.encoders:
            x = layer(x, offsets, seen)
        normed: Tensor = self.after_norm(x)
        return normed


class _Embedding(nn.Module):
    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(inputs, size), nn.LayerNorm(size, eps=1e-5))
        self.scale = math.sqrt(size)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.out(tokens) * self.scale
        return out


class _FeedForward(nn.Module):
    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(size, inner), nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w_2(F.silu(self.w_1(x)))
        return out


def relative_positions(length: int, width: int) -> Float[Tensor, "1 distances width"]:
    """Sines in even and cosines in odd columns of the distances from t - 1 down to -(t - 1)."""
    distances = torch.arange(length - 1, -length, -1).float()[:, None]
    inverse = torch.exp(torch.arange(0, width, 2).float() * -(math.log(10_000.0) / width))
    angles = distances * inverse
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None]


class _EncoderLayer(nn.Module):
    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.self_attn = _RelativeAttention(size, config.num_heads)
        self.feed_forward = _FeedForward(size, config.feed_forward_size)
        self.norm_ff = nn.LayerNorm(size, eps=1e-5)
        self.norm_mha = nn.LayerNorm(size, eps=1e-5)

    def forward(self, x: Tensor, offsets: Tensor, seen: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm_mha(x), offsets, seen)
        after: Tensor = x + self.feed_forward(self.norm_ff(x))
        return after


class _RelativeAttention(nn.Module):
    """Attention whose scores also know how far apart two places are (Transformer-XL)."""

    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (
            nn.Linear(size, size) for _ in range(4)
        )
        self.linear_pos = nn.Linear(size, size, bias=False)
        self.pos_bias_u, self.pos_bias_v = (
            nn.Parameter(torch.zeros(num_heads, size // num_heads)) for _ in range(2)
        )

    def forward(self, x: Tensor, offsets: Tensor, seen: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.num_heads, -1))
            for part in (self.linear_q, self.linear_k, self.linear_v)
        )
        r = self.linear_pos(offsets).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        content = (q + self.pos_bias_u).transpose(1, 2) @ k.permute(0, 2, 3, 1)
        position = self._shifted((q + self.pos_bias_v).transpose(1, 2) @ r.transpose(-1, -2))
        scores = (content + position) / math.sqrt(q.shape[-1])
        shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        mixed = (shares @ v.transpose(1, 2)).transpose(1, 2).flatten(2)
        out: Tensor = self.linear_out(mixed)
        return out

    @staticmethod
    def _shifted(scores: Float[Tensor, "1 heads t distances"]) -> Float[Tensor, "1 heads t t"]:
        """Row i holds scores of the distances t-1 .. -(t-1); those of i - j for each j begin at t - 1 - i."""
        length = scores.shape[2]
        start = length - 1 - torch.arange(length, device=scores.device)[:, None]
        columns = start + torch.arange(length, device=scores.device)
        return scores.gather(-1, columns.expand(*scores.shape[:2], -1, -1))


class _LengthRegulator(nn.Module):
    """From code rate to frame rate: the nearest code for each frame, then convolutions that smooth."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv1d(MELS, MELS, 3, padding=1), nn.GroupNorm(1, MELS), nn.Mish()]
        self.model = nn.Sequential(*layers, nn.Conv1d(MELS, MELS, 1))

    def forward(self, encoded: Float[Tensor, "1 t 80"], frames: int) -> Float[Tensor, "1 80 frames"]:
        stretched = encoded.transpose(1, 2)[..., nearest_codes(encoded.shape[1], frames).to(encoded.device)]
        made: Tensor = self.model(stretched)
        return made


def nearest_codes(codes: int, frames: int) -> Int[Tensor, " frames"]:
    """The code under each frame, in float32 as published: exact fractions differ where they fall on a
    border.
    """
    scale = np.float32(codes) / np.float32(frames)
    index = np.floor(np.arange(frames, dtype=np.float32) * scale).astype(np.int64)
    return torch.from_numpy(index.clip(max=codes - 1))


class _Estimating(nn.Module):
    """Only a name: the published weights have the U-Net below `decoder.estimator`."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.estimator = _UNet(config)


class _UNet(nn.Module):
    """The velocity at which noise becomes speech. It halves the rate once and keeps the frames before."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        width = config.channels
        self.time_mlp = _TimeEmbedding(4 * width)
        self.down_blocks = nn.ModuleList(
            [_Stage(config, 4 * MELS, _Halved(width)), _Stage(config, width, _smooth(width))]
        )
        self.mid_blocks = nn.ModuleList(_Stage(config, width) for _ in range(config.middle_stages))
        self.up_blocks = nn.ModuleList(
            [_Stage(config, 2 * width, _Doubled(width)), _Stage(config, 2 * width, _smooth(width))]
        )
        self.final_block = _Block(width, width)
        self.final_proj = nn.Conv1d(width, MELS, 1)

    def forward(
        self,
        x: Float[Tensor, "batch 80 frames"],
        mu: Float[Tensor, "batch 80 frames"],
        time: Float[Tensor, " batch"],
        speaker: Float[Tensor, "batch 80"],
        condition: Float[Tensor, "batch 80 frames"],
    ) -> Float[Tensor, "batch 80 frames"]:
        timed = self.time_mlp(time)
        x = torch.cat([x, mu, speaker[..., None].expand_as(mu), condition], 1)
        kept = []
        for stage in self.down_blocks:
            x, before = stage(x, timed)
            kept.append(before)
        for stage in self.mid_blocks:
            x, _ = stage(x, timed)
        for stage in self.up_blocks:
            before = kept.pop()
            x, _ = stage(torch.cat([x[..., : before.shape[-1]], before], 1), timed)
        velocity: Tensor = self.final_proj(self.final_block(x))
        return velocity


class _Stage(nn.ModuleList):
    """A residual block, transformer blocks over time, and what comes after them, if anything does."""

    def __init__(self, config: FlowConfig, inputs: int, resample: nn.Module | None = None) -> None:
        width = config.channels
        blocks = nn.ModuleList(
            BasicTransformerBlock(width, config.unet_heads, config.unet_head_size, activation_fn="gelu")
            for _ in range(config.blocks_per_stage)
        )
        parts: list[nn.Module] = [_TimedResidual(inputs, width, 4 * width), blocks]
        super().__init__(parts if resample is None else [*parts, resample])
        self._blocks = tuple(blocks)

    def forward(self, x: Tensor, timed: Tensor) -> tuple[Tensor, Tensor]:
        """At the rate that comes after it, and before."""
        x = self[0](x, timed).transpose(1, 2)
        for block in self._blocks:
            x = block(x)
        before = x.transpose(1, 2)
        return (before if len(self) == 2 else self[2](before)), before


def _smooth(width: int) -> nn.Module:
    return nn.Conv1d(width, width, 3, padding=1)


class _Halved(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class _Doubled(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(width, width, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class _TimeEmbedding(nn.Module):
    """When a step is taken, as the U-Net reads it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(4 * MELS, size), nn.Linear(size, size)

    def forward(self, time: Float[Tensor, " batch"]) -> Float[Tensor, "batch size"]:
        out: Tensor = self.linear_2(F.silu(self.linear_1(_sinusoids(time, 4 * MELS))))
        return out


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv1d(inputs, width, 3, padding=1), nn.GroupNorm(8, width), nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _TimedResidual(nn.Module):
    def __init__(self, inputs: int, width: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time, width))
        self.block1, self.block2 = _Block(inputs, width), _Block(width, width)
        self.res_conv = nn.Conv1d(inputs, width, 1)

    def forward(self, x: Tensor, timed: Tensor) -> Tensor:
        out: Tensor = self.block2(self.block1(x) + self.mlp(timed)[..., None]) + self.res_conv(x)
        return out


def _sinusoids(time: Float[Tensor, " batch"], width: int) -> Float[Tensor, "batch width"]:
    half = width // 2
    inverse = torch.exp(torch.arange(half, device=time.device).float() * -(math.log(10_000.0) / (half - 1)))
    angles = 1000 * time[:, None].float() * inverse[None]
    return torch.cat([angles.sin(), angles.cos()], -1).to(time.dtype)

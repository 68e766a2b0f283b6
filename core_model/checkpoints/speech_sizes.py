"""Sizes of the published speech parts, as the shapes of their weights have them.

What no shape says is an argument, the published size by default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from omni_agent.core_model.config import FlowConfig, SpeechTokenizerConfig, VocoderConfig
from omni_agent.errors import CheckpointError

__all__ = ["flow_config", "speech_tokenizer_config", "vocoder_config"]

Shapes = Mapping[str, Sequence[int]]


def speech_tokenizer_config(
    shapes: Shapes, *, num_heads: int = 20, block_length: int = 200, pool: int | None = None
) -> SpeechTokenizerConfig:
    """Of the encoder with a codebook."""
    size, mels, _ = _shape(shapes, "conv1.weight", 3)
    positions, _ = _shape(shapes, "embed_positions.weight", 2)
    pooled, _ = _shape(shapes, "embed_positions2.weight", 2)
    return SpeechTokenizerConfig(
        mels=mels,
        hidden_size=size,
        num_heads=num_heads,
        feed_forward_size=_shape(shapes, "layers.0.fc1.weight", 2)[0],
        num_layers=_count(shapes, r"layers\.(\d+)\."),
        positions=positions,
        block_length=block_length,
        pool=pool or round(positions / pooled),
        num_codes=_shape(shapes, "codebook.weight", 2)[0],
    )


def flow_config(shapes: Shapes, *, block_length: int = 10, unet_head_size: int = 64) -> FlowConfig:
    """Of the flow-matching decoder."""
    codes, token_size = _shape(shapes, "input_embedding.weight", 2)
    inner, hidden = _shape(shapes, "encoder.encoders.0.feed_forward.w_1.weight", 2)
    unet = "decoder.estimator."
    wide, channels = _shape(shapes, f"{unet}mid_blocks.0.1.0.attn1.to_q.weight", 2)
    return FlowConfig(
        num_codes=codes,
        token_size=token_size,
        hidden_size=hidden,
        num_heads=_shape(shapes, "encoder.encoders.0.self_attn.pos_bias_u", 2)[0],
        feed_forward_size=inner,
        num_layers=_count(shapes, r"encoder\.encoders\.(\d+)\."),
        block_length=block_length,
        speaker_size=_shape(shapes, "spk_embed_affine_layer.weight", 2)[1],
        channels=channels,
        unet_heads=wide // unet_head_size,
        unet_head_size=unet_head_size,
        blocks_per_stage=_count(shapes, r"decoder\.estimator\.mid_blocks\.0\.1\.(\d+)\."),
        middle_stages=_count(shapes, r"decoder\.estimator\.mid_blocks\.(\d+)\."),
    )


def vocoder_config(shapes: Shapes) -> VocoderConfig:
    """Of the vocoder."""
    return VocoderConfig(
        channels=_shape(shapes, "conv_pre.weight_v", 3)[0],
        pitch_channels=_shape(shapes, "f0_predictor.condnet.0.weight_v", 3)[0],
    )


def _shape(shapes: Shapes, name: str, axes: int) -> Sequence[int]:
    if name not in shapes:
        raise CheckpointError(f"{name} is missing, which says a size of the speech parts")
    shape = shapes[name]
    if len(shape) != axes or min(shape) < 1:
        raise CheckpointError(f"{name} is {list(shape)}; wanted {axes} sizes, none of them 0")
    return shape


def _count(shapes: Shapes, pattern: str) -> int:
    found = [int(match[1]) for name in shapes if (match := re.match(pattern, name))]
    return max(found, default=-1) + 1

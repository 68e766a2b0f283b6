"""A core of the published layout, small enough for a test, its weights made from their names."""

from __future__ import annotations

from typing import Any

import torch

from omni_agent.core import Request, Settings, Task
from omni_agent.core_model.acceptance import blank_of
from omni_agent.core_model.checkpoints.published_tasks import OMNI_TASKS, TEXT_TASKS
from omni_agent.core_model.config import (
    SPECIAL_TOKENS,
    CoreConfig,
    FlowConfig,
    Glm4VoiceConfig,
    ImageTokenizerConfig,
    SpeechEncoderConfig,
    SpeechTokenizerConfig,
    TransformerConfig,
    VocoderConfig,
)
from omni_agent.core_model.model import Model
from omni_agent.core_model.parity.named_weights import fill
from omni_agent.values import Image, Speech, Text
from tests.core_model.qwen import qwen_tokenizer

SPECIAL = (*SPECIAL_TOKENS, "<|audio|>")
TEXT_SPECIAL = SPECIAL[:4]
SPEECH_CODES = 32
EARS = SpeechEncoderConfig(num_blocks=3, num_tp_blocks=2, ctc_size=7)
VOICELESS = Glm4VoiceConfig(num_codes=SPEECH_CODES, has_parts=False)
VOICE = Glm4VoiceConfig(
    num_codes=SPEECH_CODES,
    tokenizer=SpeechTokenizerConfig(
        hidden_size=64,
        num_heads=4,
        feed_forward_size=96,
        num_layers=2,
        block_length=16,
        num_codes=SPEECH_CODES,
    ),
    flow=FlowConfig(
        num_codes=SPEECH_CODES,
        token_size=32,
        hidden_size=64,
        num_heads=2,
        feed_forward_size=96,
        num_layers=2,
        channels=64,
        unet_heads=1,
        blocks_per_stage=1,
        middle_stages=1,
    ),
    vocoder=VocoderConfig(channels=32, pitch_channels=32),
)
IMAGES = ImageTokenizerConfig(
    bits=5,
    channels=(8, 16),
    decoder_channels=(8, 16),
    encoder_blocks=(1, 1),
    decoder_blocks=(1, 1),
    num_groups=4,
    image_size=32,
    seen_size=64,
)


def published_model(
    *, media: bool = True, voice: bool = False, padding: str = "masked", **changes: Any
) -> Model:
    """A model as the published one is built, its head four times as loud as a rule is used to."""
    tokenizer = qwen_tokenizer()
    special = SPECIAL if media else TEXT_SPECIAL
    codes = SPEECH_CODES + IMAGES.num_codes if media else 0
    config = CoreConfig(
        **{
            "name": "small",
            "transformer": TransformerConfig(
                vocab_size=len(tokenizer) + len(special) + codes + (0 if media else 5),
                hidden_size=64,
                num_layers=2,
                num_heads=4,
                num_key_value_heads=2,
                intermediate_size=96,
            ),
            "speech_encoder": EARS if media else None,
            "image_tokenizer": IMAGES if media else None,
            "speech_codec": (VOICE if voice else VOICELESS) if media else None,
            "text_tokens": len(tokenizer),
            "special_tokens": special,
            "template": "chat",
            "padding": padding,
            "max_speech_seconds": 120.0,
            "max_text_tokens": 1024,
            "tasks": OMNI_TASKS if media else TEXT_TASKS,
            **changes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        model = Model(config, tokenizer)
    fill(model.transformer)
    if model.speech_encoder is not None and model.speech_projection is not None:
        fill(model.speech_encoder, "model.audio_model.model.")
        fill(model.speech_projection, "model.audio_projection.")
    if model.image_tokenizer is not None:
        fill(model.image_tokenizer)
    if voice:
        for name in ("tokenizer", "flow", "vocoder"):
            fill(getattr(model.speech_codec, name))
    if model.speech_frontend is not None:
        generator = torch.Generator().manual_seed(0)
        model.speech_frontend.shift.normal_(generator=generator).add_(8)
        model.speech_frontend.scale.uniform_(0.1, 0.3, generator=generator)
    return model.eval().requires_grad_(False)


def asked(task: Task, *content: str | Image | Speech, **settings: Any) -> Request:
    """A request, what is typed as a plain string."""
    values = tuple(Text(value) if type(value) is str else value for value in content)
    return Request(
        task=task,
        content=values,  # type: ignore[arg-type]
        blank=blank_of(task),
        settings=Settings(**settings),
    )

"""Listings of a published part's weights, name by name and shape by shape, against the part built here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from omni_agent.core_model.checkpoints.speech_sizes import (
    flow_config,
    speech_tokenizer_config,
    vocoder_config,
)
from omni_agent.core_model.checkpoints.weights import shapes, weight_faults
from omni_agent.core_model.config import ImageTokenizerConfig
from omni_agent.core_model.tokenizers.image import QUANTISER, ImageTokenizer
from omni_agent.errors import InputError, MissingExtra

__all__ = ["listed_faults"]

Shapes = Mapping[str, list[int]]


def listed_faults(path: Path) -> list[str]:
    """What is missing, unexpected or of another shape in the part that a listing is of; none if all is right.

    Raises:
        InputError: it cannot be read.
    """
    try:
        listing: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8"))
        given = {name: tuple(shape) for name, shape in listing.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as names and shapes: {error}") from error
    for beginning, make in _PARTS.items():
        if path.name.startswith(beginning):
            try:
                with torch.device("meta"):
                    part = make(listing)
            except ImportError as error:
                raise MissingExtra("the published speech parts", "published") from error
            except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
                raise InputError(f"{str(path)!r} is of no part that can be built: {error}") from error
            kept = {name: shape for name, shape in given.items() if name not in QUANTISER}
            return weight_faults(kept, shapes(part.state_dict()))
    return [f"no part of the published models is called that; known are {', '.join(_PARTS)}"]


def _image_tokenizer(listing: Shapes) -> nn.Module:
    return ImageTokenizer(ImageTokenizerConfig())


def _speech_tokenizer(listing: Shapes) -> nn.Module:
    from omni_agent.core_model.tokenizers.glm4_voice.speech_tokenizer import SpeechTokenizer

    return SpeechTokenizer(speech_tokenizer_config(listing, num_heads=4))


def _flow(listing: Shapes) -> nn.Module:
    from omni_agent.core_model.tokenizers.glm4_voice.flow import FlowDecoder

    return FlowDecoder(flow_config(listing, unet_head_size=32))


def _vocoder(listing: Shapes) -> nn.Module:
    from omni_agent.core_model.tokenizers.glm4_voice.vocoder import Vocoder

    return Vocoder(vocoder_config(listing))


_PARTS: dict[str, Callable[[Shapes], nn.Module]] = {
    "magvit": _image_tokenizer,
    "whisper_vq": _speech_tokenizer,
    "flow": _flow,
    "hift": _vocoder,
}

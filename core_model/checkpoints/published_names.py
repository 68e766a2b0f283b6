"""The published layout's names: of files, and of weights as they are called here and there."""

from __future__ import annotations

import re

from omni_agent.core_model.config import ImageTokenizerConfig

__all__ = [
    "CONFIG",
    "INDEX",
    "PUBLISHED_IMAGES",
    "SIZES",
    "WEIGHTS",
    "WEIGHT_FILES",
    "is_core",
    "published_name",
]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
WEIGHT_FILES = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
# Where an image tokenizer of another size than the published one says so, in its own config.json.
SIZES = "omni_agent"
PUBLISHED_IMAGES = ImageTokenizerConfig(seen_size=512)

# The names of the model's parts here, and what the published names of their weights begin with.
_PREFIXES = {
    "transformer.": "",
    "speech_encoder.": "model.audio_model.model.",
    "speech_projection.": "model.audio_projection.",
}


def is_core(name: str) -> bool:
    """Whether a weight of the model is one of the core, whose files have the published names."""
    return name.startswith(tuple(_PREFIXES))


def published_name(name: str) -> str:
    """The published name of a weight of the core."""
    for ours, theirs in _PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name

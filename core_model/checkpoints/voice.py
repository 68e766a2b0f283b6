"""The published speech codec's files: `THUDM/glm-4-voice-tokenizer`, safetensors, and `-decoder`, pickles.

Pickles are read as tensors and nothing looser (`weights_only`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from omni_agent.core_model.checkpoints.companions import VOICE_DECODER, VOICE_TOKENIZER
from omni_agent.core_model.checkpoints.files import read_json, replace_file, write_json
from omni_agent.core_model.checkpoints.published_names import CONFIG, SIZES
from omni_agent.core_model.checkpoints.speech_sizes import (
    flow_config,
    speech_tokenizer_config,
    vocoder_config,
)
from omni_agent.core_model.checkpoints.weights import Stored, save_tensors, stored_in
from omni_agent.core_model.config import Glm4VoiceConfig
from omni_agent.core_model.model import Model
from omni_agent.errors import CheckpointError

__all__ = ["PREFIX", "Voice", "find_voice", "read_pickle", "save_voice"]

FLOW, VOCODER = "flow.pt", "hift.pt"
PREFIX = "speech_codec."


@dataclass(frozen=True, kw_only=True, eq=False)
class Voice:
    """The parts of a speech codec, found.

    Attributes:
        config: their sizes, as their weights have them.
        stored: weights in safetensors, by the model's names.
        tensors: weights that were read already, by the model's names.
    """

    config: Glm4VoiceConfig
    stored: dict[str, Stored]
    tensors: dict[str, Tensor]


def find_voice(core: Path, *, num_codes: int, fetch: bool) -> Voice | None:
    """The codec of a core; None where its files are nowhere, or the extra `published` is not installed.

    Raises:
        CheckpointError: a file is damaged, or a weight that says a size is missing.
    """
    if find_spec("diffusers") is None or find_spec("transformers") is None:
        return None
    tokenizer = VOICE_TOKENIZER.find(core, fetch=fetch)
    decoder = VOICE_DECODER.find(core, fetch=fetch)
    if tokenizer is None or decoder is None:
        return None
    stored = stored_in(tokenizer / VOICE_TOKENIZER.file)
    flow, vocoder = read_pickle(decoder / FLOW), read_pickle(decoder / VOCODER)
    shapes = ({name: each.shape for name, each in stored.items()}, _shapes(flow), _shapes(vocoder))
    said = read_json(tokenizer / CONFIG) if (tokenizer / CONFIG).is_file() else {}
    sizes = read_json(decoder / CONFIG).get(SIZES) if (decoder / CONFIG).is_file() else None
    try:
        if sizes is not None:
            config = Glm4VoiceConfig.model_validate(sizes)
        else:
            config = Glm4VoiceConfig(
                num_codes=num_codes,
                tokenizer=speech_tokenizer_config(
                    shapes[0],
                    num_heads=said.get("encoder_attention_heads", 20),
                    block_length=said.get("quantize_causal_block_size", 200),
                    pool=said.get("pooling_kernel_size"),
                ),
                flow=flow_config(shapes[1]),
                vocoder=vocoder_config(shapes[2]),
            )
    except ValidationError as error:
        faults = "; ".join(each["msg"] for each in error.errors())
        raise CheckpointError(f"{str(tokenizer)!r} and {str(decoder)!r} say no sizes: {faults}") from error
    return Voice(
        config=config,
        stored={f"{PREFIX}tokenizer.{name}": each for name, each in stored.items()},
        tensors={f"{PREFIX}flow.{name}": each for name, each in flow.items()}
        | {f"{PREFIX}vocoder.{name}": each for name, each in vocoder.items()},
    )


def save_voice(model: Model, core: Path) -> None:
    """Write a model's codec into folders within a core's."""
    parts: dict[str, dict[str, Tensor]] = {"tokenizer": {}, "flow": {}, "vocoder": {}}
    for name, tensor in model.state_dict().items():
        if name.startswith(PREFIX):
            part, _, rest = name.removeprefix(PREFIX).partition(".")
            parts[part][rest] = tensor.detach().cpu()
    codec = model.config.speech_codec
    assert isinstance(codec, Glm4VoiceConfig)
    tokenizer, decoder = core / VOICE_TOKENIZER.folder, core / VOICE_DECODER.folder
    for folder in (tokenizer, decoder):
        folder.mkdir(exist_ok=True)
    save_tensors(tokenizer / VOICE_TOKENIZER.file, parts["tokenizer"])
    write_json(tokenizer / CONFIG, _tokenizer_document(codec))
    for file, part in ((FLOW, "flow"), (VOCODER, "vocoder")):
        try:
            replace_file(decoder / file, partial(torch.save, parts[part]))
        except RuntimeError as error:  # of a full disk, too
            raise CheckpointError(f"{str(decoder / file)!r} cannot be written: {error}") from error
    published = Glm4VoiceConfig(num_codes=codec.num_codes)
    if codec != published:
        write_json(decoder / CONFIG, {SIZES: codec.model_dump()})


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in tensors.items()}


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled state dict, memory-mapped where its form allows that.

    Raises:
        CheckpointError: it cannot be read, or holds anything but tensors by their names.
    """
    read: object = None
    try:
        try:
            read = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # of the form before zip files, which cannot be mapped
            read = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises nothing narrower
        said = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{str(path)!r} cannot be read as a file of tensors: {said}") from error
    if not isinstance(read, Mapping) or not all(
        isinstance(name, str) and isinstance(each, Tensor) for name, each in read.items()
    ):
        raise CheckpointError(f"{str(path)!r} holds something other than tensors by their names")
    return dict(read)


def _tokenizer_document(codec: Glm4VoiceConfig) -> dict[str, Any]:
    sizes = codec.tokenizer
    return {
        "model_type": "whisper",
        "architectures": ["WhisperVQEncoder"],
        "num_mel_bins": sizes.mels,
        "d_model": sizes.hidden_size,
        "encoder_attention_heads": sizes.num_heads,
        "encoder_ffn_dim": sizes.feed_forward_size,
        "encoder_layers": sizes.num_layers,
        "max_source_positions": sizes.positions,
        "quantize_causal_block_size": sizes.block_length,
        "quantize_position": sizes.num_layers,
        "quantize_vocab_size": sizes.num_codes,
        "pooling_kernel_size": sizes.pool,
        "pooling_position": sizes.num_layers,
    }

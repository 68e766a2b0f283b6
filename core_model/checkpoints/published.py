"""The published layout: `lijiang/Omni-Diffusion`, and Dream-7B, the same transformer without ears and eyes.

A folder with `config.json`, weights in safetensors, whole or in shards with an index, by the published names,
and Qwen2's tokenizer files. The image tokenizer, the front end's shift and scale and the speech codec have
folders of their own (`companions.py`). Every name and shape is read first, and all faults are in one error;
then each weight goes straight to its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ValidationError
from tqdm import tqdm

from omni_agent.core_model.checkpoints.companions import FRONT_END, IMAGE_TOKENIZER
from omni_agent.core_model.checkpoints.files import read_json
from omni_agent.core_model.checkpoints.loading import Loading
from omni_agent.core_model.checkpoints.mvn import read_mvn
from omni_agent.core_model.checkpoints.published_names import (
    CONFIG,
    INDEX,
    PUBLISHED_IMAGES,
    SIZES,
    WEIGHTS,
    is_core,
    published_name,
)
from omni_agent.core_model.checkpoints.published_tasks import OMNI_TASKS, TEXT_TASKS
from omni_agent.core_model.checkpoints.text_files import TokenTable, read_text_files
from omni_agent.core_model.checkpoints.voice import PREFIX, Voice, find_voice
from omni_agent.core_model.checkpoints.weights import (
    Stored,
    empty_model,
    load_into,
    stored_faults,
    stored_in,
    tensor_faults,
)
from omni_agent.core_model.config import (
    CoreConfig,
    Glm4VoiceConfig,
    ImageTokenizerConfig,
    SpeechEncoderConfig,
    TransformerConfig,
)
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.image import QUANTISER
from omni_agent.errors import CheckpointError

__all__ = ["HUB_ID", "is_published", "load"]

HUB_ID = "lijiang/Omni-Diffusion"
SHARD = re.compile(r"[\w.-]{1,200}\.safetensors")
LAYERS_AT_MOST = 1000

CTC = "model.audio_model.model.ctc.ctc_lo.weight"
LAYERS = re.compile(r"model\.audio_model\.model\.encoder\.(encoders|tp_encoders)\.(\d+)\.")

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NEEDED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|mask|>")
NEEDED_FOR_MEDIA = (
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_audio|>",
    "<|end_of_audio|>",
    "<|context_of_audio|>",
)


class _Config(BaseModel):
    """What is read of the published `config.json`."""

    model_type: Literal["Dream"]
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    rope_scaling: None = None
    hidden_act: Literal["silu"] = "silu"
    tie_word_embeddings: Literal[False] = False
    mask_token_id: int


def is_published(folder: Path) -> bool:
    """Whether a folder's `config.json` is one of transformers' kind, which names its model."""
    try:
        return "model_type" in read_json(folder / CONFIG)
    except CheckpointError:
        return False


def load(folder: Path, loading: Loading, *, name: str, fetch: bool) -> Model:
    """The model of a folder.

    Args:
        folder: with the published files.
        loading: the device and type of its weights. The image tokenizer is float32 in any case, as its codes
            should not depend on the core's type.
        name: of the checkpoint, for errors and events.
        fetch: look for the image tokenizer and the front end on the hub too, not only in its cache.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not those of the configuration; all
            faults are listed.
    """
    published = _config(folder / CONFIG)
    stored, faults = _stored(folder)
    try:
        tokenizer, table = read_text_files(folder)
    except CheckpointError as error:
        raise CheckpointError("; ".join([str(error), *faults])) from error
    has_media = table.speech_codes > 0
    faults += _table_faults(table, published, has_media=has_media)
    eyes = mvn = voice = None
    image_sizes = PUBLISHED_IMAGES
    if has_media:
        fetch = fetch and not faults  # for a core that is not whole, nothing more is fetched
        eyes, mvn = (each.find(folder, fetch=fetch) for each in (IMAGE_TOKENIZER, FRONT_END))
        found = ((IMAGE_TOKENIZER, eyes), (FRONT_END, mvn))
        faults += [each.missing(folder) for each, there in found if there is None]
        image_sizes = _image_sizes(eyes)
        voice = find_voice(folder, num_codes=table.speech_codes, fetch=fetch)
        if voice is not None:
            known = (voice.config.tokenizer.num_codes, voice.config.flow.num_codes)
            if known != (table.speech_codes, table.speech_codes):
                faults.append(
                    f"its tokenizer has {table.speech_codes} speech codes; its speech codec makes {known[0]}"
                    f" and reads {known[1]}"
                )
        if table.image_codes != image_sizes.num_codes:
            faults.append(
                f"its tokenizer has {table.image_codes} image codes; its image tokenizer makes"
                f" {image_sizes.num_codes}"
            )
    if faults:
        raise CheckpointError(f"{str(folder)!r} is not whole: {'; '.join(faults)}")
    media = None
    if has_media:
        voiceless = Glm4VoiceConfig(num_codes=table.speech_codes, has_parts=False)
        media = (image_sizes, voice.config if voice else voiceless)
    config = _core_config(name, published, table, stored, media)
    config = loading.applied(config)
    try:
        model = empty_model(config, tokenizer)
    except Exception as error:
        raise CheckpointError(f"{str(folder / CONFIG)!r} describes no model: {error}") from error
    wanted = {published_name(name): each for name, each in model.state_dict().items() if is_core(name)}
    faults = stored_faults(stored, wanted)
    ours = {
        name: stored[published_name(name)] for name in model.state_dict() if published_name(name) in stored
    }
    if eyes is not None:
        pictures, more = _image_weights(eyes / IMAGE_TOKENIZER.file, model)
        ours |= pictures
        faults += more
    if voice is not None:
        ours |= voice.stored
        faults += _voice_faults(voice, model)
    if faults:
        raise CheckpointError(f"{str(folder)!r} is not what its {CONFIG} describes: {'; '.join(faults)}")
    if mvn is not None and model.speech_frontend is not None:
        shift, scale = read_mvn(mvn / FRONT_END.file)
        model.speech_frontend.shift = shift.to(loading.device)
        model.speech_frontend.scale = scale.to(loading.device)
    total = sum(each.bytes for each in ours.values())
    if loading.dtype is None:  # one type for all of the core, whatever its shards are stored in
        loading = replace(loading, dtype=DTYPES[stored["lm_head.weight"].dtype])
    with tqdm(total=total, unit="B", unit_scale=True, desc=f"loading {name}", disable=None) as bar:
        read = voice.tensors if voice is not None else None
        load_into(model, ours, loading, read=read, loaded=bar.update)
    return model


def _config(path: Path) -> _Config:
    document = read_json(path)
    if document.get("model_type") != "Dream":
        raise CheckpointError(
            f"{str(path)!r} is of a model of type {document.get('model_type')!r}; wanted 'Dream', as"
            f" {HUB_ID} and Dream-7B are"
        )
    try:
        return _Config.model_validate(document)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise CheckpointError(f"{str(path)!r} is not a core's configuration: {'; '.join(faults)}") from error


def _stored(folder: Path) -> tuple[dict[str, Stored], list[str]]:
    """Every weight of the core by its published name, and which files of them are missing."""
    if not (folder / INDEX).is_file():
        if not (folder / WEIGHTS).is_file():
            return {}, [f"its weights are missing: wanted {WEIGHTS}, or {INDEX} with its shards"]
        return stored_in(folder / WEIGHTS), []
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(each, str) for each in weight_map.values()):
        raise CheckpointError(f"{str(folder / INDEX)!r} has no weight_map, which names each weight's shard")
    files = sorted(set(weight_map.values()))
    if strange := [file for file in files if not SHARD.fullmatch(file)]:
        raise CheckpointError(
            f"{str(folder / INDEX)!r} names {strange[0][:80]!r}; wanted names of safetensors files beside it"
        )
    stored: dict[str, Stored] = {}
    faults = []
    for file in files:
        if (folder / file).is_file():
            stored |= stored_in(folder / file)
        else:
            faults.append(f"its shard {file} is missing")
    return stored, faults


def _table_faults(table: TokenTable, config: _Config, *, has_media: bool) -> list[str]:
    needed = NEEDED + (NEEDED_FOR_MEDIA if has_media else ())
    faults = [f"its tokenizer lacks {name}" for name in needed if name not in table.special]
    if "<|mask|>" in table.special:
        mask = table.text_tokens + table.special.index("<|mask|>")
        if mask != config.mask_token_id:
            faults.append(f"its tokenizer's <|mask|> is {mask}; {CONFIG} says {config.mask_token_id}")
    size = table.text_tokens + len(table.special) + table.speech_codes + table.image_codes
    if size > config.vocab_size:
        faults.append(f"its tokenizer has ids up to {size - 1}; {CONFIG} has {config.vocab_size} in all")
    return faults


def _core_config(
    name: str,
    config: _Config,
    table: TokenTable,
    stored: Mapping[str, Stored],
    media: tuple[ImageTokenizerConfig, Glm4VoiceConfig] | None,
) -> CoreConfig:
    try:
        return CoreConfig(
            name=name,
            transformer=TransformerConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                num_layers=config.num_hidden_layers,
                num_heads=config.num_attention_heads,
                num_key_value_heads=config.num_key_value_heads,
                intermediate_size=config.intermediate_size,
                rms_norm_eps=config.rms_norm_eps,
                rope_theta=config.rope_theta,
            ),
            speech_encoder=None if media is None else _encoder_config(stored),
            image_tokenizer=None if media is None else media[0],
            speech_codec=None if media is None else media[1],
            text_tokens=table.text_tokens,
            special_tokens=table.special,
            template="chat",
            max_speech_seconds=120.0,
            max_text_tokens=1024,
            tasks=TEXT_TASKS if media is None else OMNI_TASKS,
        )
    except ValidationError as error:
        said = "; ".join(each["msg"] for each in error.errors())
        raise CheckpointError(f"the {CONFIG} of {name!r} does not fit its other files: {said}") from error


def _encoder_config(stored: Mapping[str, Stored]) -> SpeechEncoderConfig:
    """The published widths; the depth, which no file says, as the names have it."""
    last = {"encoders": -1, "tp_encoders": -1}
    for name in stored:
        if match := LAYERS.match(name):
            last[match[1]] = max(last[match[1]], int(match[2]))
    if max(last.values()) > LAYERS_AT_MOST:
        raise CheckpointError(
            f"a layer of the speech encoder is called {max(last.values())}; wanted at most 1000"
        )
    return SpeechEncoderConfig(
        num_blocks=last["encoders"] + 2,  # the first layer has a name of its own
        num_tp_blocks=last["tp_encoders"] + 1,
        ctc_size=stored[CTC].shape[0] if CTC in stored and stored[CTC].shape else 0,
    )


def _image_sizes(folder: Path | None) -> ImageTokenizerConfig:
    if folder is None or not (folder / CONFIG).is_file():
        return PUBLISHED_IMAGES
    sizes = read_json(folder / CONFIG).get(SIZES)
    try:
        return PUBLISHED_IMAGES if sizes is None else ImageTokenizerConfig.model_validate(sizes)
    except ValidationError as error:
        said = "; ".join(each["msg"] for each in error.errors())
        raise CheckpointError(f"{str(folder / CONFIG)!r} says no sizes under {SIZES!r}: {said}") from error


def _image_weights(path: Path, model: Model) -> tuple[dict[str, Stored], list[str]]:
    prefix = "image_tokenizer."
    stored = {name: each for name, each in stored_in(path).items() if name not in QUANTISER}
    faults = stored_faults(stored, model.eyes.state_dict())
    named = {prefix + name: each for name, each in stored.items()}
    return named, [f"{path.name}: {fault}" for fault in faults]


def _voice_faults(voice: Voice, model: Model) -> list[str]:
    of_the_codec = {name: each for name, each in model.state_dict().items() if name.startswith(PREFIX)}
    in_tokenizer = {name for name in of_the_codec if name.startswith(f"{PREFIX}tokenizer.")}
    return stored_faults(
        voice.stored, {name: each for name, each in of_the_codec.items() if name in in_tokenizer}
    ) + tensor_faults(
        voice.tensors, {name: each for name, each in of_the_codec.items() if name not in in_tokenizer}
    )

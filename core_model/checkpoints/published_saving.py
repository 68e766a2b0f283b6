"""Writing the published layout."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards

from omni_agent.core_model.checkpoints.companions import COMPANIONS, FRONT_END, IMAGE_TOKENIZER
from omni_agent.core_model.checkpoints.files import replace_file, write_json
from omni_agent.core_model.checkpoints.mvn import write_mvn
from omni_agent.core_model.checkpoints.published_names import (
    CONFIG,
    INDEX,
    PUBLISHED_IMAGES,
    SIZES,
    WEIGHT_FILES,
    is_core,
    published_name,
)
from omni_agent.core_model.checkpoints.text_files import write_text_files
from omni_agent.core_model.checkpoints.voice import save_voice
from omni_agent.core_model.checkpoints.weights import save_tensors
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.image import QUANTISER

__all__ = ["save"]

SHARD_SIZE = "5GB"


def save(model: Model, folder: Path) -> None:
    """Write a model as a folder that `load` reads: the core in shards, in the type it is held in, and its
    parts in folders within.

    Over an older one, all is written beside it first; then `config.json` goes, with the older core's files,
    everything is put in its place, and `config.json` comes last: a folder that was left half done is no
    checkpoint, not a mixture. One at a time may write to a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".partial-") as name:
        made = Path(name)
        _write(model, made)
        files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
        for file in files:
            (folder / file).parent.mkdir(exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
        for path in [path for path in folder.iterdir() if WEIGHT_FILES.fullmatch(path.name)]:
            path.unlink()
        for companion in COMPANIONS:
            companion.remove(folder)
        for file in sorted(files, key=lambda file: file == Path(CONFIG)):
            os.replace(made / file, folder / file)


def _write(model: Model, folder: Path) -> None:
    weights = {published_name(name): each for name, each in model.state_dict().items() if is_core(name)}
    shards = split_torch_state_dict_into_shards(weights, max_shard_size=SHARD_SIZE)
    for file, names in shards.filename_to_tensors.items():
        save_tensors(folder / file, {name: weights[name] for name in names})
    if shards.is_sharded:
        write_json(folder / INDEX, {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename})
    write_text_files(folder, model.text_tokenizer, model.vocabulary)
    write_json(folder / CONFIG, _published_config(model))
    if model.image_tokenizer is not None:
        eyes = folder / IMAGE_TOKENIZER.folder
        eyes.mkdir()
        _save_image_tokenizer(model, eyes)
    if model.speech_codec is not None:
        save_voice(model, folder)
    if model.speech_frontend is not None:
        ears = folder / FRONT_END.folder
        ears.mkdir()
        shift, scale = model.speech_frontend.shift.cpu(), model.speech_frontend.scale.cpu()
        replace_file(ears / FRONT_END.file, lambda path: write_mvn(path, shift, scale))


def _published_config(model: Model) -> dict[str, Any]:
    config, special = model.config.transformer, model.vocabulary.special
    end = special["<|endoftext|>"]
    return {
        "architectures": ["DreamModel"],
        "model_type": "Dream",
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "vocab_size": config.vocab_size,
        "mask_token_id": special["<|mask|>"],
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "torch_dtype": str(model.transformer.lm_head.weight.dtype).removeprefix("torch."),
    }


def _save_image_tokenizer(model: Model, folder: Path) -> None:
    eyes = model.eyes
    codes = torch.arange(eyes.config.num_codes)
    bits = ((codes[:, None] >> torch.arange(eyes.config.bits - 1, -1, -1)) & 1).float() * 2 - 1
    quantiser = dict(zip(QUANTISER, (bits, eyes.powers.cpu()), strict=True))
    save_tensors(folder / IMAGE_TOKENIZER.file, eyes.state_dict() | quantiser)
    document: dict[str, Any] = {"_class_name": "MAGVITv2"}
    if eyes.config != PUBLISHED_IMAGES:
        document[SIZES] = eyes.config.model_dump()
    write_json(folder / CONFIG, document)

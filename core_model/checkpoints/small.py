"""A small core's folder: `config.json`, `model.safetensors` and `tokenizer.json`.

Weights are stored as float16 and held as float32; whatever is measured is measured after that rounding.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from omni_agent.core_model.checkpoints.files import replace_file
from omni_agent.core_model.checkpoints.loading import Loading
from omni_agent.core_model.checkpoints.weights import empty_model, load_into, stored_faults, stored_in
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.errors import CheckpointError

__all__ = ["FILES", "load", "save"]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
FILES = (CONFIG, WEIGHTS, TOKENIZER)


def load(folder: Path, loading: Loading) -> Model:
    """The model in a folder, ready to be asked, without gradients; its weights are float32 unless `loading`
    says otherwise.

    Names and shapes are compared before any weight is read.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not those of the configuration; the
            error lists every weight that is missing, unexpected or of another shape.
    """
    config = _config(folder / CONFIG)
    tokenizer = _tokenizer(folder / TOKENIZER, config)
    try:
        model = empty_model(loading.applied(config), tokenizer)
    except Exception as error:
        raise CheckpointError(f"{str(folder / CONFIG)!r} describes no model: {error}") from error
    stored = stored_in(folder / WEIGHTS)
    if faults := stored_faults(stored, model.state_dict()):
        raise CheckpointError(
            f"{str(folder / WEIGHTS)!r} does not hold the weights that its {CONFIG} describes:"
            f" {'; '.join(faults)}"
        )
    load_into(model, stored, Loading(device=loading.device, dtype=loading.dtype or torch.float32))
    return model


def save(model: Model, folder: Path) -> None:
    """Write a model as a folder that `load` reads: a whole new folder, or over the files of an older one.

    Raises:
        CheckpointError: a weight is not a number that float16 holds.
    """
    stored = {name: _stored(name, tensor) for name, tensor in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    text = model.config.model_dump_json(indent=2) + "\n"
    replace_file(folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))
    replace_file(folder / TOKENIZER, model.text_tokenizer.save)
    replace_file(folder / WEIGHTS, lambda path: save_file(stored, path))


def _config(path: Path) -> CoreConfig:
    try:
        return CoreConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors())
        raise CheckpointError(f"{str(path)!r} is not a core's configuration: {'; '.join(faults)}") from error


def _tokenizer(path: Path, config: CoreConfig) -> TextTokenizer:
    try:
        tokenizer = TextTokenizer.open(path)
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from error
    if len(tokenizer) != config.text_tokens:
        raise CheckpointError(
            f"{str(path)!r} has {len(tokenizer)} tokens; its {CONFIG} says {config.text_tokens}"
        )
    return tokenizer


def _stored(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.detach().cpu().contiguous()
    half = tensor.detach().to("cpu", torch.float16, copy=True).contiguous()
    if not half.isfinite().all():
        raise CheckpointError(
            f"{name} holds infinities, not-a-numbers or numbers past float16's 65504, and cannot be stored"
        )
    return half

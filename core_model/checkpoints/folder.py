"""A core's folder: `config.json`, `model.safetensors` and `tokenizer.json`.

Weights are stored as float16 and held as float32; whatever is measured is measured after that rounding.
Nothing is unpickled, nothing is fetched.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.errors import CheckpointError

__all__ = ["find", "load", "names", "read_weights", "save", "shapes", "weight_faults"]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"


def find(name_or_path: object) -> Path:
    """The folder of a checkpoint: by its name, of one that comes with the package; by its path, of any other.

    Raises:
        CheckpointError: there is neither, or the folder lacks one of its files.
    """
    if not isinstance(name_or_path, str | os.PathLike) or not os.fspath(name_or_path):
        raise CheckpointError(f"the checkpoint was {name_or_path!r}; wanted a name or a path: {_wanted()}")
    folder = _packaged().get(os.fspath(name_or_path), Path(name_or_path))
    if not os.path.isdir(folder):
        raise CheckpointError(f"there is no checkpoint {str(name_or_path)!r}: {_wanted()}")
    absent = [name for name in (CONFIG, WEIGHTS, TOKENIZER) if not os.path.isfile(folder / name)]
    if absent:
        raise CheckpointError(
            f"{str(folder)!r} is no checkpoint, as it lacks {', '.join(absent)}: {_wanted()}"
        )
    return folder


def load(folder: str | os.PathLike[str]) -> Model:
    """The model in a folder, ready to be asked: float32, on the CPU, without gradients.

    Names and shapes are compared before any weight is read.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not those of the configuration; the
            error lists every weight that is missing, unexpected or of another shape.
    """
    folder = Path(folder)
    config = _config(folder / CONFIG)
    tokenizer = _tokenizer(folder / TOKENIZER, config)
    try:
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are of no use, a caller's draws are
            model = Model(config, tokenizer)
    except Exception as error:
        raise CheckpointError(f"{str(folder / CONFIG)!r} describes no model: {error}") from error
    described = f"the weights that its {CONFIG} describes"
    model.load_state_dict(read_weights(folder / WEIGHTS, model.state_dict(), described))
    model.fingerprint = _fingerprint(folder)
    return model.eval().requires_grad_(False)


def save(model: Model, folder: str | os.PathLike[str]) -> None:
    """Write a model as a folder that `load` reads: a whole new folder, or over the files of an older one.

    Raises:
        CheckpointError: a weight is not a number that float16 holds.
    """
    folder = Path(folder)
    stored = {name: _stored(name, tensor) for name, tensor in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / CONFIG, lambda path: _write_text(path, model.config.model_dump_json(indent=2) + "\n"))
    _replace(folder / TOKENIZER, model.text_tokenizer.save)
    # safetensors' own way to a file makes one that only its owner may read
    _replace(folder / WEIGHTS, lambda path: path.write_bytes(serialised(stored)))


def names() -> list[str]:
    """The names of the checkpoints that come with the package."""
    return list(_packaged())


def _packaged() -> dict[str, Path]:
    """The checkpoints that come with the package, by name: `omni-tiny` lies in `omni_tiny`."""
    here = Path(str(files("omni_agent.core_model.checkpoints")))
    return {path.parent.name.replace("_", "-"): path.parent for path in sorted(here.glob(f"*/{CONFIG}"))}


def _wanted() -> str:
    packaged = ", ".join(names()) or "none is installed"
    return (
        f"give the name of one that comes with the package ({packaged}) "
        f"or the path of a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}"
    )


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


def read_weights(path: Path, wanted: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The file's tensors, once their names and shapes are those of `wanted`, which the error calls `what`.

    Raises:
        CheckpointError: the file cannot be read, or holds other weights; all of them are listed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            given = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
            if faults := weight_faults(given, shapes(wanted)):
                raise CheckpointError(f"{str(path)!r} does not hold {what}: {'; '.join(faults)}")
            return {name: file.get_tensor(name) for name in given}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as safetensors: {error}") from error


def shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, by its name."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def weight_faults(given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Every weight, by its name, that is missing, unexpected or of another shape; empty if all is right."""
    faults = [f"{name} is missing" for name in wanted if name not in given]
    faults += [f"{name} is unexpected" for name in given if name not in wanted]
    faults += [
        f"{name} is {list(shape)} and should be {list(wanted[name])}"
        for name, shape in given.items()
        if name in wanted and shape != wanted[name]
    ]
    return faults


def _stored(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.detach().cpu().contiguous()
    half = tensor.detach().to("cpu", torch.float16, copy=True).contiguous()
    if not half.isfinite().all():
        raise CheckpointError(
            f"{name} holds infinities, not-a-numbers or numbers past float16's 65504, and cannot be stored"
        )
    return half


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, then put it in its place: a reader sees the old one or the new one,
    whole.
    """
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    os.replace(partial, path)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _fingerprint(folder: Path) -> str:
    """SHA-256 over the files: equal for equal weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    for name in (CONFIG, TOKENIZER, WEIGHTS):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()

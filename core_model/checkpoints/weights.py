"""Weights in safetensors files: compared by name and shape first, then taken one by one, so that there is
never a second copy of them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from omni_agent.core_model.checkpoints.files import replace_file
from omni_agent.core_model.checkpoints.loading import Loading
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.errors import CheckpointError

__all__ = [
    "Stored",
    "empty_model",
    "load_into",
    "read_weights",
    "save_tensors",
    "shapes",
    "stored_faults",
    "stored_in",
    "tensor_faults",
    "weight_faults",
]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor in a file: under which name, of which shape and type, and of how many bytes."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


def stored_in(path: Path) -> dict[str, Stored]:
    """What a safetensors file holds, by name; only its header is read.

    Raises:
        CheckpointError: it cannot be read, or ends too early.
    """
    found = {}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            part = file.get_slice(name)
            shape = tuple(part.get_shape())
            dtype = str(part.get_dtype())
            size = torch.Size(shape).numel() * _BYTES.get(dtype, 1)
            found[name] = Stored(path=path, name=name, shape=shape, dtype=dtype, bytes=size)
    return found


def read_weights(path: Path, wanted: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The file's tensors, once their names and shapes are those of `wanted`, which the error calls `what`.

    Raises:
        CheckpointError: the file cannot be read, or holds other weights; all of them are listed.
    """
    stored = stored_in(path)
    if faults := stored_faults(stored, wanted):
        raise CheckpointError(f"{str(path)!r} does not hold {what}: {'; '.join(faults)}")
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in stored}


def empty_model(config: CoreConfig, tokenizer: TextTokenizer) -> Model:
    """A model of the right names and shapes whose weights take no memory until `load_into` brings them."""
    with torch.device("meta"):
        return Model(config, tokenizer)


def load_into(
    model: Model,
    stored: Mapping[str, Stored],
    loading: Loading,
    *,
    read: Mapping[str, Tensor] | None = None,
    loaded: Callable[[int], object] = lambda _: None,
) -> None:
    """Give an empty model its weights, each straight to its place. The files are memory-mapped, so that what
    is held beside the model is one tensor at most.

    Args:
        model: without weights.
        stored: where each of its weights is, by the model's names; shapes are right.
        loading: the device, and the type of what is the core's.
        read: weights that were read already, by the model's names.
        loaded: told how many bytes of the files were taken, tensor by tensor.

    Raises:
        CheckpointError: a file cannot be read.
    """
    by_path: dict[Path, list[tuple[str, Stored]]] = {}
    for name, each in stored.items():
        by_path.setdefault(each.path, []).append((name, each))
    for path, tensors in by_path.items():
        with _opened(path) as file:
            for name, each in tensors:
                mapped = file.get_tensor(each.name)
                # a copy in any case: a mapped weight would change, or end the program, with its file
                kept = mapped.to(loading.device, loading.kept_as(name, mapped.dtype), copy=True)
                _assign(model, name, kept)
                loaded(each.bytes)
    for name, tensor in (read or {}).items():
        kept = loading.kept_as(name, tensor.dtype)
        _assign(model, name, tensor.detach().to(loading.device, kept, copy=True))
    model.eval().requires_grad_(False)


def stored_faults(stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> list[str]:
    """Every weight of a file, by its name, that is missing, unexpected, of another shape or not of a type to
    compute with.
    """
    faults = weight_faults({name: each.shape for name, each in stored.items()}, shapes(wanted))
    return faults + [
        f"{name} is {each.dtype}; wanted F32, F16 or BF16, weights that are not quantised"
        for name, each in stored.items()
        if name in wanted and wanted[name].is_floating_point() and each.dtype not in _FLOATS
    ]


def tensor_faults(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """The same of tensors that were read already."""
    return weight_faults(shapes(given), shapes(wanted)) + [
        f"{name} is {each.dtype}, {each.layout}; wanted float32, float16 or bfloat16, strided"
        for name, each in given.items()
        if not each.is_floating_point() or each.layout is not torch.strided or each.element_size() == 1
    ]


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all."""
    there = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(path, lambda partial: save_file(there, partial, metadata={"format": "pt"}))


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


_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
_FLOATS = ("F64", "F32", "F16", "BF16")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as safetensors: {error}") from error


def _assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if leaf in module._parameters:
        module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[leaf] = tensor

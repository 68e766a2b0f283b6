"""Weights made from their names, as `tests/golden/core/README.md` says, for the tests that compare with
golden vectors.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent.parent / "golden"


def cases() -> dict[str, Any]:
    """The settings of every case."""
    read: dict[str, Any] = json.loads((FOLDER / "core" / "cases.json").read_text())
    return read


def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of one golden file, for example `core/magvit`."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """One tensor drawn from the random stream that its name seeds."""
    x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) == 1:
        x = 1 + 0.1 * x if name.endswith("weight") else 0.05 * x
    elif not name.endswith(("embed_tokens.weight", "embed.weight")):
        x = x / np.sqrt(np.prod(shape[1:]))
    if name == "lm_head.weight":
        x = x * 4
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def fill(module: nn.Module, prefix: str = "") -> None:
    """Give every parameter of a module the weight made from its published name."""
    made = {name: weight(prefix + name, tuple(value.shape)) for name, value in module.named_parameters()}
    module.load_state_dict(made, strict=False)
    module.eval()

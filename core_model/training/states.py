"""What a training leaves: files that are whole or not there, and the chance of each of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["chance_of", "replace_state", "replace_weights"]


def replace_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state beside the last one, then put it in its place. What a kill leaves beside it is written
    over by the next; one process at a time may write.
    """
    new = path.with_suffix(".new")
    torch.save(dict(state), new)
    new.replace(path)


def replace_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights beside the last ones, then put them in their place."""
    new = path.with_suffix(".partial")
    save_file({name: value.contiguous().clone() for name, value in weights.items()}, new)
    new.replace(path)


def chance_of(seed: int, step: int) -> int:
    """The seed of a step's chance: a run that goes on has the chance of one that was never cut off."""
    return seed * 1_000_003 + step

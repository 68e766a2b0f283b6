"""What a training leaves: files that are whole or not there, and the chance of each of its steps."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from omni_agent.errors import CheckpointError

__all__ = ["State", "chance_of", "replace_state", "replace_weights"]


class _Part(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


class State:
    """Everything a training goes on from, in one file: its parts, by name, and its step.

    Args:
        path: of the file. One process at a time may write.
        parts: what learns, its average, its optimisers.
        seconds: from one writing to the next.
    """

    def __init__(self, path: Path, parts: Mapping[str, _Part], *, seconds: float) -> None:
        self._path, self._parts, self._seconds = path, parts, seconds
        self._kept_at = time.monotonic()

    def restore(self) -> int:
        """Put the parts where a run that was cut off left them; the step it goes on with, 0 where none was.

        Raises:
            CheckpointError: the file cannot be read, or is of parts of other names or sizes.
        """
        if not self._path.exists():
            return 0
        try:
            saved = torch.load(self._path, weights_only=True, map_location="cpu")
            step = int(saved["step"])
            for name, part in self._parts.items():
                part.load_state_dict(saved[name])
        except (KeyError, RuntimeError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            raise CheckpointError(
                f"given {self._path}, which is no state of this training ({why}); wanted one of"
                " the same sizes: train with those, or remove it to begin anew"
            ) from error
        return step

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._kept_at > self._seconds

    def keep(self, step: int) -> None:
        """Write the state; a run goes on with that step."""
        replace_state(
            self._path, {**{name: part.state_dict() for name, part in self._parts.items()}, "step": step}
        )
        self._kept_at = time.monotonic()

    def remove(self) -> None:
        """Where the training has ended, and nothing is to go on."""
        self._path.unlink(missing_ok=True)


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

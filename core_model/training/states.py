"""What a training leaves: files that are whole or not there, and the chance of each of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from omni_agent.errors import InputError

__all__ = ["State", "chance_of", "read_state", "replace_state", "replace_weights"]


class _Part(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


class State:
    """Everything a training goes on from, in one file: its parts, by name, and plain facts such as its step.

    Args:
        path: of the file. One process at a time may write.
        parts: what learns, its average, its optimisers.
        seconds: from one writing to the next.
    """

    def __init__(self, path: Path, parts: Mapping[str, _Part], *, seconds: float) -> None:
        self._path, self._parts, self._seconds = path, parts, seconds
        self._kept_at = time.monotonic()

    def restore(self) -> dict[str, int]:
        """Put the parts where a run that was cut off left them; its facts, none where there was no run.

        Raises:
            InputError: the file cannot be read, lacks a part, or has one that does not fit.
        """
        if not self._path.exists():
            return {}
        saved = read_state(self._path)
        if missing := sorted({*self._parts, "facts"} - saved.keys()):
            raise InputError(
                f"{self._path}: the state has no {', '.join(missing)}, so it is of another training or of an"
                " earlier version; remove it to begin anew"
            )
        for name, part in self._parts.items():
            try:
                part.load_state_dict(saved[name])
            except torch.OutOfMemoryError:
                raise
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                raise InputError(
                    f"{self._path}: its {name} does not fit this training's, which has other sizes; train"
                    " with those it was kept with, or remove it to begin anew"
                ) from error
        return dict(saved["facts"])

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._kept_at > self._seconds

    def is_newer_than(self, path: Path) -> bool:
        """Whether what was trained was not written to that file any more, which comes after the state."""
        return not path.exists() or path.stat().st_mtime_ns < self._path.stat().st_mtime_ns

    def keep(self, **facts: int) -> None:
        """Write the state, with what is to be known when a run goes on from it."""
        replace_state(
            self._path, {**{name: part.state_dict() for name, part in self._parts.items()}, "facts": facts}
        )
        self._kept_at = time.monotonic()

    def remove(self) -> None:
        """Where the training has ended, and nothing is to go on."""
        self._path.unlink(missing_ok=True)


def read_state(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """What `replace_state` wrote, on the CPU; `mapped`, its tensors stay in the file until they are used.

    Raises:
        InputError: it cannot be read.
    """
    why = None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except Exception as error:  # unpickling raises nothing narrower
        why = error
    if why is not None or not isinstance(state, dict):
        raise InputError(f"{path}: the state cannot be read; remove it to begin anew") from why
    return state


def replace_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state beside the last one, then put it in its place. What a kill leaves beside it is written
    over by the next; one process at a time may write.

    Raises:
        InputError: it cannot be written; the last one stays.
    """
    _replace(path, path.with_suffix(".new"), lambda new: torch.save(dict(state), new))


def replace_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights beside the last ones, then put them in their place. The rest as `replace_state`."""
    whole = {name: value.contiguous().clone() for name, value in weights.items()}
    _replace(path, path.with_suffix(".partial"), lambda new: save_file(whole, new))


def _replace(path: Path, new: Path, write: Callable[[Path], object]) -> None:
    try:
        write(new)
        new.replace(path)
    except torch.OutOfMemoryError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's and safetensors' own, too
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error}); make room, and run the same again") from error


def chance_of(seed: int, step: int) -> int:
    """The seed of a step's chance: a run that goes on has the chance of one that was never cut off."""
    return seed * 1_000_003 + step

"""A golden case: its arrays, the settings beside it, and the kind of what it computes.

A kind is told by the arrays that a case holds, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from omni_agent.core_model.parity.named_weights import fill
from omni_agent.errors import InputError

__all__ = ["TOLERANCE", "Arrays", "Case", "Kind", "Parts"]

Arrays = dict[str, np.ndarray]
M = TypeVar("M", bound=nn.Module)
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A case as it was read. Asking for what it lacks is an InputError that names the case.

    Attributes:
        name: of its file.
        arrays: what is in it.
        settings: what `cases.json` says of it.
        shapes: of the weights of the model behind it, where a listing of them lies beside it.
    """

    name: str
    arrays: Arrays
    settings: Mapping[str, Any]
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def tensor(self, key: str) -> Tensor:
        """One of its arrays."""
        if key not in self.arrays:
            raise InputError(f"the case {self.name!r} lacks the array {key!r}, which its kind wants")
        return torch.from_numpy(self.arrays[key])

    def setting(self, key: str) -> Any:
        """One of its settings."""
        if key not in self.settings:
            raise InputError(f"cases.json lacks the setting {key!r} for the case {self.name!r}")
        return self.settings[key]

    def size(self, key: str) -> int:
        """One of the sizes of its model."""
        sizes = self.setting("config")
        if key not in sizes:
            raise InputError(f"cases.json lacks the size {key!r} in the config of the case {self.name!r}")
        return int(sizes[key])


class Parts:
    """Parts of the published models with weights made from their names, each made once for each size."""

    def __init__(self) -> None:
        self._made: dict[object, nn.Module] = {}

    def of(self, config: object, make: Callable[[], M], prefix: str = "") -> M:
        """The part of a size, whose weights are named behind `prefix`."""
        key = (config, prefix)
        if key not in self._made:
            self._made[key] = make()
            fill(self._made[key], prefix)
        return cast(M, self._made[key])


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Cases that are computed alike.

    Attributes:
        holds: patterns of names of arrays that such a case has.
        inputs: patterns of names of those that are not compared, but computed from.
        compute: the arrays to compare with, by the names of those that are compared; behind an @, a name has
            another way to the same.
        tolerances: the largest difference of what matches a pattern, the first that does; else `TOLERANCE`,
            and none for integers.
    """

    holds: tuple[str, ...]
    inputs: tuple[str, ...]
    compute: Callable[[Case, Parts], Arrays]
    tolerances: Mapping[str, float] = field(default_factory=dict)

    def is_of(self, arrays: Arrays) -> bool:
        """Whether a case of these arrays is of this kind."""
        return all(any(fnmatchcase(key, pattern) for key in arrays) for pattern in self.holds)

    def is_input(self, key: str) -> bool:
        """Whether an array is only computed from."""
        return any(fnmatchcase(key, pattern) for pattern in self.inputs)

    def tolerance(self, key: str, wanted: np.ndarray) -> float:
        """How far what is computed may be from it."""
        for pattern, most in self.tolerances.items():
            if fnmatchcase(key, pattern):
                return most
        return 0.0 if wanted.dtype.kind in "iub" else TOLERANCE

"""How a checkpoint is loaded: where its weights go, as what, and how its rows are to be padded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import torch
from pydantic import ValidationError

from omni_agent.core import DType, Padding
from omni_agent.core_model.checkpoints.published_names import is_core
from omni_agent.core_model.config import CoreConfig
from omni_agent.errors import CheckpointError, InputError

__all__ = ["Loading"]


@dataclass(frozen=True, kw_only=True)
class Loading:
    """A device, the type of the core's weights there, and the padding; None leaves it to the checkpoint."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None
    padding: Padding | None = None

    @classmethod
    def of(cls, device: str, dtype: DType | None, padding: Padding | None) -> Loading:
        """By the names that `Core.load` takes.

        Raises:
            InputError: there is no such device here, or no such type or padding.
        """
        if dtype not in (None, *get_args(DType)):
            raise InputError(f"dtype was {dtype!r}; wanted one of {', '.join(get_args(DType))}")
        if padding not in (None, *get_args(Padding)):
            raise InputError(f"padding was {padding!r}; wanted one of {', '.join(get_args(Padding))}")
        try:
            found = torch.device(device)
            torch.empty(0, device=found)
        except (RuntimeError, AssertionError, TypeError) as error:
            said = str(error).partition("\n")[0]
            raise InputError(
                f"the device {device!r} cannot be used here ({said}); wanted 'cpu', or 'cuda' with a GPU"
            ) from error
        if found.type == "meta":
            raise InputError("the device 'meta' holds no numbers; wanted 'cpu', or 'cuda' with a GPU")
        return cls(device=found, dtype=None if dtype is None else getattr(torch, dtype), padding=padding)

    def kept_as(self, name: str, stored: torch.dtype) -> torch.dtype:
        """The type that a model's weight is held in, given the one it is stored in."""
        if not stored.is_floating_point:
            return stored
        if is_core(name):
            return self.dtype or stored
        # The rest is small, and codes must not depend on the core's type.
        return torch.float32

    def applied(self, config: CoreConfig) -> CoreConfig:
        """The configuration with the padding that was asked for.

        Raises:
            CheckpointError: the checkpoint cannot be read that way.
        """
        if self.padding is None:
            return config
        try:
            return CoreConfig.model_validate(config.model_dump() | {"padding": self.padding})
        except ValidationError as error:
            said = "; ".join(each["msg"] for each in error.errors())
            raise CheckpointError(
                f"{config.name} cannot be loaded with padding={self.padding!r}: {said}"
            ) from error

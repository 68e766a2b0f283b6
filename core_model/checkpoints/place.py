"""Where weights go, and as what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import torch

from omni_agent.core import DType
from omni_agent.errors import InputError

__all__ = ["Place"]

# The image tokenizer, the front end and the codec are small, and codes must not depend on the core's type.
_OF_THE_CORE = ("transformer.", "speech_encoder.", "speech_projection.")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A device, and the type of the core's weights there; None leaves that to the checkpoint."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, device: str, dtype: DType | None) -> Place:
        """By the names that `Core.load` takes.

        Raises:
            InputError: there is no such device here, or no such type.
        """
        if dtype not in (None, *get_args(DType)):
            raise InputError(f"dtype was {dtype!r}; wanted one of {', '.join(get_args(DType))}")
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
        return cls(device=found, dtype=None if dtype is None else getattr(torch, dtype))

    def kept_as(self, name: str, stored: torch.dtype) -> torch.dtype:
        """The type that a model's weight is held in, given the one it is stored in."""
        if not stored.is_floating_point:
            return stored
        if name.startswith(_OF_THE_CORE):
            return self.dtype or stored
        return torch.float32

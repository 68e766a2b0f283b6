"""What a speech codec can do: omni-tiny's table and the published flow decoder have one face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Int
from torch import Tensor

__all__ = ["SpeechCodec"]


class SpeechCodec(Protocol):
    """Sound to codes and codes to sound."""

    @property
    def sample_rate(self) -> int:
        """Of the sound it makes, in Hz."""
        ...

    def encode(self, samples: Float32[np.ndarray, " n"], rate: int) -> Int[Tensor, " codes"]:
        """Codes of a mono sound in [-1, 1] at `rate` Hz."""
        ...

    def decode(self, codes: Int[Tensor, " codes"] | Sequence[int]) -> Float32[np.ndarray, " n"]:
        """The sound of codes, mono in [-1, 1]; equal codes give equal sounds."""
        ...

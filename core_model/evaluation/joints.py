"""Whether sound made in pieces clicks where they join: its largest jumps there, and everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float32

__all__ = ["Jumps", "largest_jumps"]


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """The largest difference of two samples side by side, of full scale 1."""

    at_joints: float
    """Where one piece ends and the next begins; 0 without any."""
    inside: float
    """Between samples of one piece."""


def largest_jumps(pieces: Sequence[Float32[np.ndarray, " _"]]) -> Jumps:
    """How a sound's pieces join. Pieces without samples count as none."""
    there = [piece for piece in pieces if len(piece)]
    across = [abs(float(after[0]) - float(before[-1])) for before, after in pairwise(there)]
    within = [float(np.abs(np.diff(piece)).max()) for piece in there if len(piece) > 1]
    return Jumps(at_joints=max(across, default=0.0), inside=max(within, default=0.0))

"""Sound at another rate, as the published pipeline has it: a windowed sinc, in phases.

torchaudio's `Resample` with its defaults (squared-cosine window, six zero crossings, roll-off 0.99), which
the published code feeds its models with. Elsewhere sound is resampled by soxr (`speech_frontend.py`).
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

from omni_agent.errors import InputError

__all__ = ["resampled"]

ZERO_CROSSINGS = 6
ROLL_OFF = 0.99
# Rates that share no factor have as many phases as the wanted one has samples; past this they cost gigabytes.
MOST_TAPS = 20_000_000


def resampled(samples: Float32[np.ndarray, " n"], rate: int, wanted: int) -> Float32[np.ndarray, " m"]:
    """Mono samples at `rate` Hz as ceil(wanted / rate * n) samples at `wanted` Hz.

    Raises:
        InputError: rates that are not positive, or that have next to no factor in common.
    """
    if rate <= 0 or wanted <= 0:
        raise InputError(f"given rates of {rate} and {wanted} Hz; wanted positive ones, such as 16000")
    if rate == wanted:
        return np.asarray(samples, dtype=np.float32)
    common = math.gcd(rate, wanted)
    old, new = rate // common, wanted // common
    width = math.ceil(ZERO_CROSSINGS * old / (min(old, new) * ROLL_OFF))
    if new * (2 * width + old) > MOST_TAPS:
        raise InputError(
            f"given {rate} Hz, which cannot be brought to {wanted} Hz in one step; wanted a usual rate, such"
            " as 44100"
        )
    padded = F.pad(torch.from_numpy(np.array(samples, dtype=np.float32)), (width, width + old))
    made = F.conv1d(padded[None, None], _kernels(old, new), stride=old)[0]  # one row a phase
    return made.T.reshape(-1)[: math.ceil(new * len(samples) / old)].numpy()


@functools.lru_cache(maxsize=8)
def _kernels(old: int, new: int) -> Float[Tensor, "new 1 taps"]:
    """The filter of each of `new` phases, for groups of `old` samples."""
    base = min(old, new) * ROLL_OFF
    width = math.ceil(ZERO_CROSSINGS * old / base)
    taps = torch.arange(-width, width + old, dtype=torch.float64)[None] / old
    phases = -torch.arange(new, dtype=torch.float64)[:, None] / new
    times = ((taps + phases) * base).clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    window = (times * math.pi / ZERO_CROSSINGS / 2).cos() ** 2
    return (torch.sinc(times) * window * base / old).float()[:, None]

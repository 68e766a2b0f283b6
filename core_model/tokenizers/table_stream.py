"""omni-tiny's speech while its codes are still to come.

Every hop of codes Griffin-Lim runs over a window that begins in what was said already and ends a few codes
ahead. What was said stays as it is in every iteration, so that the phases of the rest go on from it; what two
windows both have is cross-faded. `TableCodec.decode` brings a whole sound to one peak; here a fixed gain
comes close to that, as the loudest moment may be still to come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from omni_agent.core_model.seeds import seed_of
from omni_agent.core_model.tokenizers.code_window import CodeWindow
from omni_agent.core_model.tokenizers.griffin_lim import BINS, HOP, griffin_lim
from omni_agent.core_model.tokenizers.in_context import CONTEXT_CODES

if TYPE_CHECKING:
    from omni_agent.core_model.tokenizers.table_codec import TableCodec

__all__ = ["FRAMES", "ITERATIONS", "PIECE", "TableStream", "faded"]

FRAMES = 4  # 10 ms each, of a code
PIECE = HOP * FRAMES  # samples of a code
ITERATIONS = 48


# How a code sounds depends on so many behind it. Measured (docs/decisions/0012): so the spectrum is met as
# well as in one piece, and jumps at joints are smaller than those inside.
HOP_CODES, AHEAD_CODES, BACK_CODES = 5, CONTEXT_CODES, 4
FADED = 320  # samples
# Peaks of Griffin-Lim were 0.47 to 0.66 in eight sentences of omni-tiny; `decode` brings them to 0.8.
GAIN = 1.3
BENT_ABOVE, LIMIT = 0.8, 0.99


class TableStream:
    """One speech, code by code. What it holds does not grow."""

    def __init__(self, codec: TableCodec) -> None:
        self._codec = codec
        self._window = CodeWindow(codec.checked, ahead=AHEAD_CODES)
        self._said = torch.zeros(0)  # the sound of the codes from `_origin` to those done, before its gain
        self._tail = torch.zeros(0)  # what the last window had ahead

    @torch.no_grad()
    def push(self, codes: Sequence[int], *, last: bool = False) -> Float32[np.ndarray, " n"]:
        """Take the next codes and give the sound that no later one can change; see `SpeechCodecStream`."""
        window = self._window
        window.add(codes, last=last)
        made = []
        while (stop := window.due(HOP_CODES)) is not None:
            made.append(self._sound(stop, last=window.ends_at(stop)))
            # more codes on the left: see `_sound`
            window.made(stop, keep=max(stop - BACK_CODES - CONTEXT_CODES, 0))
        return np.concatenate(made) if made else np.zeros(0, np.float32)

    @property
    def _origin(self) -> int:
        """The code that the next window begins with."""
        return max(self._window.done - BACK_CODES, 0)

    def _sound(self, stop: int, *, last: bool) -> Float32[np.ndarray, " n"]:
        """The samples of the codes from those done up to `stop`."""
        window, origin = self._window, self._origin
        # more codes on the left, as how the first one sounds depends on them
        before = max(origin - CONTEXT_CODES, 0)
        spectrum = self._codec.log_spectrum(window.known(stop, before)).exp()[(origin - before) * FRAMES :]
        new = griffin_lim(
            spectrum,
            phase=_phase(origin * FRAMES, len(spectrum) + 1),
            iterations=ITERATIONS,
            said=self._said,
            guess=self._tail,
        )[len(self._said) :]
        both = min(FADED, len(self._tail))
        weight = torch.linspace(0, 1, both + 2)[1:-1]
        new[:both] = weight * new[:both] + (1 - weight) * self._tail[:both]
        made = new[: (stop - window.done) * PIECE]
        self._tail = new[len(made) :]
        keep = (stop - max(stop - BACK_CODES, 0)) * PIECE
        self._said = torch.cat([self._said, made])[-keep:]
        return _loud(made, first=window.done == 0, last=last)


def _phase(start: int, count: int) -> Float[Tensor, "count 257"]:
    """What frames start from, by their number in the speech."""
    rows = [
        torch.rand(BINS, generator=torch.Generator().manual_seed(seed_of("table phase", frame)))
        for frame in range(start, start + count)
    ]
    return torch.stack(rows) * 2 * math.pi


def _loud(sound: Float[Tensor, " n"], *, first: bool, last: bool) -> Float32[np.ndarray, " n"]:
    """As loud as a whole sound, on average; bent where that would be too loud, and faded at its ends."""
    loud = sound * GAIN
    over = (loud.abs() - BENT_ABOVE).clamp(min=0)
    room = LIMIT - BENT_ABOVE
    samples = ((loud.abs() - over + room * (over / room).tanh()) * loud.sign()).numpy()
    return faded(samples, first=first, last=last)


def faded(sound: Float32[np.ndarray, " n"], *, first: bool, last: bool) -> Float32[np.ndarray, " n"]:
    """A sound that comes out of silence in 10 ms, if it is the first, and goes into it, if the last."""
    fade = np.sin(np.linspace(0, np.pi / 2, HOP, dtype=np.float32)) ** 2
    if first:
        sound[:HOP] *= fade
    if last:
        sound[-HOP:] *= fade[::-1]
    return sound

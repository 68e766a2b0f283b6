"""Griffin-Lim: a waveform for a magnitude spectrogram, with the momentum of Perraudin et al. 2013.

Magnitudes are of frames of 512 samples, 160 apart, under a Hann window.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["BINS", "FFT", "HOP", "griffin_lim", "transformed"]

FFT, HOP = 512, 160
BINS = FFT // 2 + 1
MOMENTUM = 0.99

_AROUND = FFT // 2  # samples of silence on either side, so that the outer frames are whole
_LEAST = 1e-9  # of a magnitude that is divided by


def griffin_lim(
    spectrum: Float[Tensor, "frames 257"],
    *,
    phase: Float[Tensor, "frames_and_one 257"],
    iterations: int,
    said: Float[Tensor, " said"] | None = None,
    guess: Float[Tensor, " ahead"] | None = None,
) -> Float[Tensor, " n"]:
    """A waveform, 160 samples a frame, whose magnitudes come close to the spectrum's. On the CPU.

    Args:
        spectrum: the magnitudes wanted, in float32.
        phase: what each frame starts from, in radians, and one more frame behind the last.
        iterations: how often it comes closer.
        said: sound that it begins with, whatever the spectrum says there: the rest goes on from its phases.
        guess: what may come after that; where there is no sound to start from, `phase` is.
    """
    wanted = torch.cat([spectrum, spectrum[-1:]])  # one frame more, so that the last hop is covered
    frames = _Frames(len(wanted))
    estimate = torch.polar(wanted, phase.contiguous())
    if said is not None and len(said):
        there = (said if guess is None else torch.cat([said, guess]))[: len(frames.sound)]
        known = max((len(there) - _AROUND) // HOP, 0)  # frames that lie within it
        estimate[:known] = _with_magnitudes(transformed(there)[:known], wanted[:known])
    rebuilt = torch.zeros_like(estimate)
    for _ in range(iterations):
        frames.become(estimate)
        if said is not None:
            frames.sound[: len(said)] = said
        before, rebuilt = rebuilt, frames.transformed()
        ahead = torch.sub(rebuilt, before, out=estimate).mul_(MOMENTUM).add_(rebuilt)
        estimate = _with_magnitudes(ahead, wanted)
    frames.become(estimate)
    return frames.sound.clone()


def transformed(sound: Float[Tensor, " n"]) -> Complex[Tensor, "frames_and_one 257"]:
    """The short-time Fourier transform of a sound, as if silence lay around it. On the CPU, in float32."""
    return _spectra(torch.nn.functional.pad(sound, (_AROUND, _AROUND)), _window())


class _Frames:
    """A sound that is turned into frames and back again.

    Attributes:
        sound: its samples, one hop fewer than there are frames; nothing of use before `become`.
    """

    def __init__(self, count: int) -> None:
        self._window = _window()
        self._hops = torch.zeros(count - 1 + -(-FFT // HOP), HOP)
        self._around = self._hops.flatten()[: HOP * (count - 1) + FFT]
        self.sound = self._around[_AROUND:-_AROUND]
        self._lay(self._window.square().expand(count, FFT))
        self._overlap = self.sound.clone()

    def transformed(self) -> Complex[Tensor, "count 257"]:
        """The Fourier transforms of its frames."""
        return _spectra(self._around, self._window)

    def become(self, spectra: Complex[Tensor, "count 257"]) -> None:
        """The sound whose frames come closest to these (Griffin and Lim 1984)."""
        self._lay(torch.fft.irfft(spectra, FFT, dim=1).mul_(self._window))
        self.sound.div_(self._overlap)

    def _lay(self, each: Float[Tensor, "count 512"]) -> None:
        """The frames, under the window twice, one over the other, in silence."""
        self._hops.zero_()
        for hop in reversed(range(-(-FFT // HOP))):  # of each sample, the earliest frame first
            part = each[:, hop * HOP : (hop + 1) * HOP]
            self._hops[hop : hop + len(each), : part.shape[1]] += part
        self._around[:_AROUND] = 0
        self._around[-_AROUND:] = 0


def _window() -> Float[Tensor, " 512"]:
    return torch.hann_window(FFT, dtype=torch.float32, device="cpu")


def _spectra(around: Float[Tensor, " n"], window: Float[Tensor, " 512"]) -> Complex[Tensor, "frames 257"]:
    """Of each frame that lies within a sound."""
    spectra: Tensor = torch.fft.rfft(around.unfold(0, FFT, HOP) * window, dim=1)
    return spectra


def _with_magnitudes(
    spectra: Complex[Tensor, "frames 257"], wanted: Float[Tensor, "frames 257"]
) -> Complex[Tensor, "frames 257"]:
    """The same phases, in the same memory. By numpy: torch takes an absolute value in five times as long."""
    given, size = spectra.numpy(), np.abs(spectra.numpy())
    np.maximum(size, _LEAST, out=size)
    np.divide(wanted.numpy(), size, out=size)
    np.multiply(given, size, out=given)
    return spectra

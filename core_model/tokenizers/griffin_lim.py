"""Griffin-Lim: a waveform for a magnitude spectrogram, with the momentum of Perraudin et al. 2013.

Magnitudes are of frames of 512 samples, 160 apart, under a Hann window.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["BINS", "FFT", "HOP", "griffin_lim", "transformed"]

FFT, HOP = 512, 160
BINS = FFT // 2 + 1
MOMENTUM = 0.99


def griffin_lim(
    spectrum: Float[Tensor, "frames 257"],
    *,
    phase: Float[Tensor, "257 frames_and_one"],
    iterations: int,
    said: Float[Tensor, " said"] | None = None,
    guess: Float[Tensor, " ahead"] | None = None,
) -> Float[Tensor, " n"]:
    """A waveform, 160 samples a frame, whose magnitudes come close to the spectrum's.

    Args:
        spectrum: the magnitudes wanted.
        phase: what each frame starts from, in radians, and one more frame behind the last.
        iterations: how often it comes closer.
        said: sound that it begins with, whatever the spectrum says there: the rest goes on from its phases.
        guess: what may come after that; where there is no sound to start from, `phase` is.
    """
    wanted = torch.cat([spectrum, spectrum[-1:]]).T  # one frame more, so that the last hop is covered
    length = HOP * (wanted.shape[1] - 1)
    estimate = torch.polar(wanted, phase)
    if said is not None and len(said):
        there = said if guess is None else torch.cat([said, guess])
        known = max((len(there) - FFT // 2) // HOP, 0)  # frames that lie within it
        spoken = transformed(torch.nn.functional.pad(there, (0, length - len(there))))[:, :known]
        estimate[:, :known] = wanted[:, :known] * spoken / spoken.abs().clamp(min=1e-9)
    before = torch.zeros_like(estimate)
    for _ in range(iterations):
        sound = _sound(estimate, length)
        if said is not None:
            sound[: len(said)] = said
        rebuilt = transformed(sound)
        ahead = rebuilt + MOMENTUM * (rebuilt - before)
        estimate = wanted * ahead / ahead.abs().clamp(min=1e-9)
        before = rebuilt
    return _sound(estimate, length)


def transformed(sound: Float[Tensor, " n"]) -> Complex[Tensor, "257 frames_and_one"]:
    """The short-time Fourier transform of a sound, as if silence lay around it."""
    return torch.stft(
        sound, FFT, HOP, window=torch.hann_window(FFT), return_complex=True, pad_mode="constant"
    )


def _sound(estimate: Complex[Tensor, "257 frames_and_one"], length: int) -> Float[Tensor, " n"]:
    return torch.istft(estimate, FFT, HOP, window=torch.hann_window(FFT), length=length)

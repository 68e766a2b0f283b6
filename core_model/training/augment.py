"""Damage to clean synthetic speech, so that what learns from it can hear a real microphone in a real room.

Waveforms at 16 kHz: speaker, room, noise, silence around and loudness. Log-mel batches: vocal tract,
microphone colour, loudness and masks (SpecAugment, arXiv 1904.08779). Pure functions of their arguments and
the generator.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
import torch
from jaxtyping import Float, Float32, Int
from scipy.signal import fftconvolve
from torch import Tensor

__all__ = ["augmented", "mel_augmented"]

RATE = 16_000


def augmented(samples: Float32[np.ndarray, " n"], rng: np.random.Generator) -> Float32[np.ndarray, " m"]:
    """One damaged copy: often another speaker, a room and noise, always other silence around and another
    loudness."""
    sound = samples
    if rng.random() < 0.6:
        sound = _other_speaker(sound, rng.uniform(0.87, 1.15))
    sound = np.pad(sound, (int(rng.uniform(0, 0.25) * RATE), int(rng.uniform(0, 0.25) * RATE)))
    if rng.random() < 0.35:
        sound = _in_room(sound, rng)
    if rng.random() < 0.6:
        sound = sound + _noise(len(sound), rng) * _loudness(samples) * 10 ** (-rng.uniform(8, 40) / 20)
    peak = max(float(np.abs(sound).max(initial=0.0)), 1e-6)
    return np.asarray(sound * (10 ** rng.uniform(-1.3, -0.03) / peak), dtype=np.float32)


def mel_augmented(
    mels: Float[Tensor, "batch t 80"],
    lengths: Int[Tensor, " batch"],
    rng: torch.Generator,
    *,
    masks: bool = True,
) -> Float[Tensor, "batch t 80"]:
    """A batch of log-mel spectrograms, each with its own vocal tract, colour, loudness and masks.

    Masked places get the utterance's mean, which normalisation turns into about zero.
    """
    batch, t, bands = mels.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=rng) * (high - low) + low

    # a shorter vocal tract moves all resonances up: read the mel axis at stretched places, linear between
    # bands
    places = (torch.arange(bands) / uniform(0.85, 1.2, 1)).clamp(0, bands - 1.001)
    low = places.floor().long()
    high_share = (places - low)[:, None]
    low = low[:, None].expand(-1, t, -1)
    warped = mels.gather(2, low) * (1 - high_share) + mels.gather(2, low + 1) * high_share
    # a smooth curve over the bands, some 3 dB each way, is another microphone; its constant part is loudness
    waves = torch.cos(math.pi * torch.arange(4)[:, None] * torch.arange(bands) / bands)
    curve = (torch.randn(batch, 4, generator=rng) * torch.tensor([0.7, 0.7, 0.5, 0.4])) @ waves
    coloured = warped + curve[:, None]
    # steady noise under a third of them, 10 to 50 dB below the loudest, with the flutter that noise has in 10
    # ms
    noise = (
        coloured.amax((1, 2), keepdim=True)
        - uniform(2.3, 11.5, 1, 1)
        + (torch.randn(batch, 4, generator=rng) @ waves)[:, None]
    )
    flutter = torch.rand(coloured.shape, generator=rng).clamp(min=1e-3).log().neg().log() * 0.3
    noisy = torch.logaddexp(coloured, noise + flutter)
    coloured = torch.where(uniform(0, 1, 1, 1) < 0.33, noisy, coloured)
    if not masks:
        return coloured
    mean = coloured.mean((1, 2), keepdim=True)
    frames, band = torch.arange(t)[None, :, None], torch.arange(bands)[None, None]
    for _ in range(2):
        start, width = uniform(0, bands, 1, 1), uniform(0, 14, 1, 1)
        coloured = torch.where((band >= start) & (band < start + width), mean, coloured)
        # words last about 30 frames: a mask shorter than 12 leaves enough of each to be heard
        start, width = uniform(0, 1, 1, 1) * lengths[:, None, None], uniform(0, 12, 1, 1)
        coloured = torch.where((frames >= start) & (frames < start + width), mean, coloured)
    return coloured


def _other_speaker(samples: Float32[np.ndarray, " n"], factor: float) -> Float32[np.ndarray, " m"]:
    """Played faster or slower: pitch, resonances and tempo move together."""
    return np.asarray(soxr.resample(samples, RATE * factor, RATE), dtype=np.float32)


def _in_room(samples: Float32[np.ndarray, " n"], rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Decaying noise after the direct sound: a room of 0.1 to 0.6 seconds of reverberation."""
    seconds = rng.uniform(0.1, 0.6)
    t = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / seconds)
    tail *= rng.uniform(0.1, 0.8) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return np.asarray(fftconvolve(samples, tail)[: len(samples)], dtype=np.float32)


def _noise(count: int, rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Noise of unit loudness whose spectrum falls by 0 (white) to 6 dB (brown) an octave."""
    size = 1 << max(count - 1, 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size)) / np.sqrt(np.arange(1, size // 2 + 2)) ** rng.uniform(
        0, 2
    )
    noise = np.fft.irfft(spectrum, size)[:count]
    return np.asarray(noise / (noise.std() + 1e-9), dtype=np.float32)


def _loudness(samples: Float32[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.mean(samples**2)) + 1e-6)

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
from torch.nn import functional as F

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
    """A batch of log-mel spectrograms, each with its own rhythm, vocal tract, colour, loudness and masks.

    Masked places get the utterance's mean, which normalisation turns into about zero.

    Args:
        mels: the spectrograms, 10 ms a row, padded to one length.
        lengths: of each without its padding; they stay as they are.
        rng: source of chance, on the device of the spectrograms.
        masks: hide some times and bands.
    """
    batch, t, bands = mels.shape
    device = mels.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=rng, device=device) * (high - low) + low

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=rng, device=device)

    band = torch.arange(bands, device=device)
    mels = _read_at(mels, _other_rhythm(lengths, t, normal(t // 12 + 2)), 1)
    # a shorter vocal tract moves all resonances up, and one of another shape some more than others
    shape = 1 + uniform(-0.06, 0.06, 1) * torch.cos(math.pi * band / bands)
    warped = _read_at(mels, band / uniform(0.85, 1.2, 1) * shape, 2)
    # resonances are sharper or broader than this voice's
    broad = F.avg_pool1d(F.pad(warped, (3, 3), mode="replicate"), 7, 1)
    warped = warped + uniform(-0.7, 0.5, 1, 1) * (warped - broad)
    # a smooth curve over the bands, some 3 dB each way, is another microphone; its constant part is loudness
    waves = torch.cos(math.pi * torch.arange(4, device=device)[:, None] * band / bands)
    curve = (normal(4) * torch.tensor([0.7, 0.7, 0.5, 0.4], device=device)) @ waves
    coloured = warped + curve[:, None]
    # steady noise under a third of them, 10 to 50 dB below the loudest, with the flutter that noise has in 10
    # ms
    noise = coloured.amax((1, 2), keepdim=True) - uniform(2.3, 11.5, 1, 1) + (normal(4) @ waves)[:, None]
    flutter = uniform(0, 1, t, bands).clamp(min=1e-3).log().neg().log() * 0.3
    noisy = torch.logaddexp(coloured, noise + flutter)
    coloured = torch.where(uniform(0, 1, 1, 1) < 0.33, noisy, coloured)
    if not masks:
        return coloured
    mean = coloured.mean((1, 2), keepdim=True)
    frames = torch.arange(t, device=device)[None, :, None]
    for _ in range(2):
        start, width = uniform(0, bands, 1, 1), uniform(0, 14, 1, 1)
        coloured = torch.where((band >= start) & (band < start + width), mean, coloured)
        # words last about 30 frames: a mask shorter than 12 leaves enough of each to be heard
        start, width = uniform(0, 1, 1, 1) * lengths[:, None, None], uniform(0, 12, 1, 1)
        coloured = torch.where((frames >= start) & (frames < start + width), mean, coloured)
    return coloured


def _other_rhythm(
    lengths: Int[Tensor, " batch"], t: int, speeds: Float[Tensor, "batch knots"]
) -> Float[Tensor, "batch t"]:
    """Which row to read at each time, so that some sounds last longer and others shorter, by a third or so;
    the whole lasts as long as before.
    """
    knots = F.interpolate((0.25 * speeds).exp()[:, None], size=t, mode="linear", align_corners=True)[:, 0]
    times = torch.arange(t, device=speeds.device)
    inside = times < lengths[:, None]
    passed = (knots * inside).cumsum(-1)
    last = (lengths - 1).clamp(min=1)[:, None]
    warped = (passed - passed[:, :1]) / (passed[:, -1:] - passed[:, :1]).clamp(min=1e-6) * last
    return torch.where(inside, warped, times.float())


def _read_at(
    mels: Float[Tensor, "batch t bands"], places: Float[Tensor, "batch n"], axis: int
) -> Float[Tensor, "batch t bands"]:
    """The spectrograms at places between their rows (axis 1) or bands (axis 2), linear between the two."""
    places = places.clamp(0, mels.shape[axis] - 1.001)
    low = places.floor().long()
    share = (places - low).unsqueeze(3 - axis)
    low = low.unsqueeze(3 - axis).expand(mels.shape)
    return mels.gather(axis, low) * (1 - share) + mels.gather(axis, low + 1) * share


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

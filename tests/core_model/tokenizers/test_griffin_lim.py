"""A sound is found for magnitudes, by the transforms that torch has too."""

from __future__ import annotations

import math

import pytest
import torch

from omni_agent.core_model.tokenizers.griffin_lim import BINS, FFT, HOP, griffin_lim, transformed


def short_time(sound: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(FFT)
    return torch.stft(sound, FFT, HOP, window=window, return_complex=True, pad_mode="constant").T


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, 5 * HOP + 3, 16_000])
def test_a_transform_is_torchs(samples: int) -> None:
    sound = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    assert torch.equal(transformed(sound), short_time(sound))


def inverse(spectra: torch.Tensor) -> torch.Tensor:
    length = (len(spectra) - 1) * HOP
    return torch.istft(spectra.T, FFT, HOP, window=torch.hann_window(FFT), length=length)


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_it_is_what_the_transforms_of_torch_make(frames: int, iterations: int) -> None:
    spectrum = torch.rand(frames, BINS, generator=torch.Generator().manual_seed(1))
    wanted = torch.cat([spectrum, spectrum[-1:]])
    estimate, before = torch.polar(wanted, chance(frames + 1)), torch.zeros(frames + 1, BINS)
    for _ in range(iterations):
        rebuilt = short_time(inverse(estimate))
        ahead = rebuilt + 0.99 * (rebuilt - before)
        estimate, before = wanted * ahead / ahead.abs(), rebuilt
    made = griffin_lim(spectrum, phase=chance(frames + 1), iterations=iterations)
    torch.testing.assert_close(made, inverse(estimate), rtol=1e-4, atol=1e-5)


def tone() -> torch.Tensor:
    times = torch.arange(HOP * 40)
    return torch.sin(times * 0.05) + torch.sin(times * 0.31)


def chance(frames: int) -> torch.Tensor:
    return torch.rand(frames, BINS, generator=torch.Generator().manual_seed(0)) * 2 * math.pi


def test_iterations_come_closer_to_the_magnitudes() -> None:
    wanted = short_time(tone()).abs()

    def missed(iterations: int) -> float:
        made = griffin_lim(wanted[:-1], phase=chance(len(wanted)), iterations=iterations)
        return float((short_time(made).abs() - wanted).norm() / wanted.norm())

    one, eight, many = missed(1), missed(8), missed(48)
    assert many < eight < one
    assert many < 0.1  # 0.07; without momentum 0.16


def test_a_sound_goes_on_from_what_was_said() -> None:
    """Of 40 hops the first 20 were said, and what comes then is guessed or not."""
    sound = tone()
    wanted = short_time(sound).abs()
    said, guess = sound[: 20 * HOP], sound[20 * HOP : 24 * HOP]

    def likeness(hops: range, iterations: int, **known: torch.Tensor) -> float:
        made = griffin_lim(wanted[:-1], phase=chance(len(wanted)), iterations=iterations, **known)
        within = slice(hops.start * HOP, hops.stop * HOP)
        return float(torch.cosine_similarity(made[within], sound[within], dim=0))

    assert likeness(range(18), 0, said=said) > 0.95, "it begins with the phases of what was said"
    assert likeness(range(18, 22), 0, said=said) < 0.5
    assert likeness(range(18, 22), 0, said=said, guess=guess) > 0.9, "and of what is guessed"
    assert likeness(range(18, 20), 1, said=said) > 0.95, "what was said stays"
    assert likeness(range(20, 25), 48, said=said) > 0.9
    assert likeness(range(20, 25), 48) < 0.5


def test_a_guess_may_be_longer_than_what_is_wanted() -> None:
    sound = tone()
    spectrum = short_time(sound).abs()[:20]
    said, more = sound[: 15 * HOP], sound[15 * HOP :]

    def made(guess: torch.Tensor) -> torch.Tensor:
        return griffin_lim(spectrum, phase=chance(21), iterations=2, said=said, guess=guess)

    assert torch.equal(made(more), made(more[: 5 * HOP]))

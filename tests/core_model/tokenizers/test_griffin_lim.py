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


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_without_an_iteration_it_is_the_inverse_that_torch_has(frames: int) -> None:
    chance = torch.Generator().manual_seed(0)
    spectrum = torch.rand(frames, BINS, generator=chance)
    phase = torch.rand(frames + 1, BINS, generator=chance) * 2 * math.pi
    wanted = torch.polar(torch.cat([spectrum, spectrum[-1:]]), phase)
    expected = torch.istft(wanted.T, FFT, HOP, window=torch.hann_window(FFT), length=frames * HOP)
    torch.testing.assert_close(
        griffin_lim(spectrum, phase=phase, iterations=0), expected, rtol=1e-5, atol=1e-6
    )


def test_every_iteration_comes_closer_to_the_magnitudes() -> None:
    sound = torch.sin(torch.arange(HOP * 40) * 0.05) + torch.sin(torch.arange(HOP * 40) * 0.31)
    wanted = short_time(sound).abs()
    phase = torch.rand(len(wanted), BINS, generator=torch.Generator().manual_seed(0)) * 2 * math.pi

    def missed(iterations: int) -> float:
        made = griffin_lim(wanted[:-1], phase=phase, iterations=iterations)
        return float((short_time(made).abs() - wanted).norm() / wanted.norm())

    first, second, third = (missed(iterations) for iterations in (1, 8, 48))
    assert third < second < first
    assert third < 0.1


def test_a_sound_goes_on_from_what_was_said() -> None:
    sound = torch.sin(torch.arange(HOP * 40) * 0.05) + torch.sin(torch.arange(HOP * 40) * 0.31)
    wanted = short_time(sound).abs()
    phase = torch.rand(len(wanted), BINS, generator=torch.Generator().manual_seed(0)) * 2 * math.pi

    def likeness(said: torch.Tensor | None) -> float:
        made = griffin_lim(wanted[:-1], phase=phase, iterations=48, said=said)
        behind = slice(20 * HOP, 25 * HOP)
        return float(torch.cosine_similarity(made[behind], sound[behind], dim=0))

    assert likeness(sound[: 20 * HOP]) > 0.9
    assert likeness(None) < 0.9

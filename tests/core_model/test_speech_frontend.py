"""The front end gives the published code's frames, for any sound at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from omni_agent.core_model.speech_frontend import FRAME_SIZE, SpeechFrontend, at_rate, log_mel, stacked
from omni_agent.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "speech" / "sensevoice_frontend.npz"


@pytest.mark.parametrize("case", ["long", "short", "one", "tiny"])
def test_frames_are_those_of_the_published_code(case: str) -> None:
    golden = np.load(GOLDEN)
    mels = log_mel(golden[f"wav_{case}"])
    np.testing.assert_allclose(mels, golden[f"fbank_{case}"], rtol=0, atol=2e-3)
    np.testing.assert_allclose(stacked(mels), golden[f"frames_nocmvn_{case}"], rtol=0, atol=2e-3)
    frontend = SpeechFrontend()
    frontend.shift.copy_(torch.from_numpy(golden["cmvn_shift"]))
    frontend.scale.copy_(torch.from_numpy(golden["cmvn_scale"]))
    frames = frontend(golden[f"wav_{case}"], 16_000)
    np.testing.assert_allclose(frames.numpy(), golden[f"frames_{case}"], rtol=0, atol=5e-4)


@pytest.mark.parametrize("count", [1, 2, 128, 256, 257, 399, 400, 401, 559, 560, 561])
def test_the_shortest_sounds_make_a_frame(count: int) -> None:
    sound = np.random.default_rng(count).uniform(-0.5, 0.5, count).astype(np.float32)
    assert SpeechFrontend()(sound, 16_000).shape == (1, FRAME_SIZE)


def test_digital_silence_is_the_floor() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(4000, np.float32)), -15.942385, atol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    sound = at_rate(tone, rate)
    assert abs(len(sound) - 16_000) <= 1
    assert np.argmax(np.abs(np.fft.rfft(sound))) * 16_000 / len(sound) == pytest.approx(440, abs=2)
    assert at_rate(tone[:1], rate).size >= 1


@pytest.mark.parametrize(
    ("sound", "rate", "said"),
    [
        (np.zeros(0, np.float32), 16_000, "at least one sample"),
        (np.zeros((2, 100), np.float32), 16_000, "one channel"),
        (np.zeros(100, np.float32), 0, "a positive one"),
        (np.full(100, np.nan, np.float32), 16_000, "damaged"),
    ],
)
def test_what_is_no_sound_is_refused(sound: np.ndarray, rate: int, said: str, shapes_unchecked: None) -> None:
    with pytest.raises(InputError, match=said):
        SpeechFrontend()(sound, rate)

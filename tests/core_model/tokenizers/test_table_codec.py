"""The speech codec repeats the sounds its table was made of, and nothing breaks it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from omni_agent.core_model.config import TableCodecConfig
from omni_agent.core_model.speech_frontend import log_mel
from omni_agent.core_model.tokenizers.table_codec import TableCodec, fit_speech_codec
from omni_agent.errors import InputError

RATE = 16_000


def vowels(seed: int, count: int = 6) -> np.ndarray:
    """A row of hummed vowels, 160 ms each: harmonics of 120 Hz under two resonances."""
    rng = np.random.default_rng(seed)
    t = np.arange(RATE * 16 // 100) / RATE
    row = []
    for _ in range(count):
        first, second = rng.choice([300, 500, 700]), rng.choice([900, 1500, 2300])
        harmonics = 120 * np.arange(1, 30)
        heights = np.exp(-(((harmonics - first) / 150) ** 2)) + np.exp(-(((harmonics - second) / 200) ** 2))
        row.append((np.sin(2 * np.pi * harmonics * t[:, None]) * heights).sum(1) * np.hanning(len(t)))
    return np.asarray(np.concatenate(row) / 4, dtype=np.float32)


@pytest.fixture(scope="module")
def codec() -> TableCodec:
    config = TableCodecConfig(num_codes=64)
    return fit_speech_codec(lambda: (vowels(seed) for seed in range(30)), config, report=lambda _: None)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of the log-mel spectrograms, in nepers, where the first is not silent."""
    a, b = log_mel(first / np.abs(first).max()), log_mel(second / np.abs(second).max())
    size = min(len(a), len(b))
    loud = a[:size] > a.max() - 7
    return float(np.abs(a[:size] - b[:size])[loud].mean())


def test_a_sound_comes_back_from_its_codes(codec: TableCodec) -> None:
    sound = vowels(99)
    codes = codec.encode(sound, RATE)
    decoded = codec.decode(codes)
    assert len(codes) == -(-len(sound) // 640)
    assert decoded.dtype == np.float32
    assert len(decoded) == 640 * len(codes)
    assert np.abs(decoded).max() == pytest.approx(0.8, abs=1e-3)
    wrong = codec.decode(codec.encode(vowels(123), RATE))
    assert distance(sound, decoded) < 1.2
    assert distance(sound, decoded) < 0.6 * distance(sound, wrong)


def test_loudness_and_rate_hardly_change_the_codes(codec: TableCodec) -> None:
    sound = vowels(7)
    codes = codec.encode(sound, RATE)
    assert torch.equal(codec.encode(sound * 0.1, RATE), codes)
    twice = np.interp(np.arange(2 * len(sound)) / 2, np.arange(len(sound)), sound).astype(np.float32)
    assert (codec.encode(twice, 2 * RATE) == codes).float().mean() > 0.7


def test_decoding_is_repeatable_and_takes_a_list(codec: TableCodec) -> None:
    codes = codec.encode(vowels(3), RATE)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(codec.decode(codes), codec.decode(codes.tolist()))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_codec_stored_in_half_precision_gives_the_same_codes(codec: TableCodec) -> None:
    stored = TableCodec(codec.config)
    stored.load_state_dict({name: value.half() for name, value in codec.state_dict().items()})
    sound = vowels(11)
    assert torch.equal(stored.encode(sound, RATE), codec.encode(sound, RATE))


@pytest.mark.parametrize("codes", [[0], [1, 2], list(range(64))])
def test_any_codes_are_a_sound(codec: TableCodec, codes: list[int]) -> None:
    sound = codec.decode(codes)
    assert len(sound) == 640 * len(codes)
    assert np.isfinite(sound).all()


def test_no_codes_are_a_moment_of_silence(codec: TableCodec) -> None:
    assert not codec.decode([]).any()


def test_silence_and_single_samples_are_encoded(codec: TableCodec) -> None:
    assert len(codec.encode(np.zeros(1000, np.float32), RATE)) == 2
    assert len(codec.encode(np.ones(1, np.float32), RATE)) == 1


@pytest.mark.parametrize("seconds", [40.0, 0.01])
def test_long_and_very_short_sounds_go_through_both_ways(codec: TableCodec, seconds: float) -> None:
    sound = np.resize(vowels(5), int(seconds * 44_100))
    codes = codec.encode(sound, 44_100)
    assert len(codes) == math.ceil(seconds * 25)
    assert len(codec.decode(codes)) == 640 * len(codes)


def test_what_is_no_sound_or_no_code_is_refused(codec: TableCodec) -> None:
    with pytest.raises(InputError, match="at least one sample"):
        codec.encode(np.zeros(0, np.float32), RATE)
    with pytest.raises(InputError, match="wanted 0 to 63"):
        codec.decode([64])
    with pytest.raises(InputError, match="wanted 0 to 63"):
        codec.decode([-1])


def test_another_rate_of_codes_is_refused() -> None:
    with pytest.raises(InputError, match=r"12\.5 codes a second"):
        TableCodec(TableCodecConfig(codes_per_second=12.5))


def test_too_little_sound_for_a_table_is_refused() -> None:
    with pytest.raises(InputError, match="wanted more sound"):
        fit_speech_codec(lambda: [vowels(0)], TableCodecConfig(), report=lambda _: None)

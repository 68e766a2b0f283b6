"""The published speech codec whole, small and with weights made from their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from omni_agent import InputError, Speech, VoiceSettings
from omni_agent.core_model.evaluation.joints import largest_jumps
from omni_agent.core_model.tokenizers.glm4_voice.codec import MOST_CODES, Glm4VoiceCodec
from omni_agent.core_model.tokenizers.glm4_voice.flow import frames_of
from omni_agent.core_model.tokenizers.glm4_voice.streaming import CONTEXT_CODES, Noise
from tests.core_model.published_core import published_model

RATE = 22_050


@pytest.fixture(scope="module")
def codec() -> Glm4VoiceCodec:
    made = published_model(voice=True).speech_codec
    assert isinstance(made, Glm4VoiceCodec)
    return made


def codes(count: int, seed: int = 0) -> list[int]:
    row: list[int] = np.random.default_rng(seed).integers(0, 32, count).tolist()
    return row


def tone(seconds: float, rate: int) -> np.ndarray:
    times = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)


@pytest.mark.parametrize(
    ("seconds", "rate", "count"),
    [(40.0, 16_000, 500), (0.01, 16_000, 1), (1.0, 44_100, 13), (31.0, 8_000, 388)],
)
def test_sound_is_encoded_12_and_a_half_times_a_second(
    codec: Glm4VoiceCodec, seconds: float, rate: int, count: int
) -> None:
    made = codec.encode(tone(seconds, rate), rate)
    assert made.shape == (count,)
    assert made.min() >= 0
    assert made.max() < 32


def test_longer_sound_is_encoded_in_pieces_of_thirty_seconds(codec: Glm4VoiceCodec) -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, 35 * 16_000).astype(np.float32)
    pieces = [codec.encode(part, 16_000) for part in (sound[: 30 * 16_000], sound[30 * 16_000 :])]
    assert torch.equal(codec.encode(sound, 16_000), torch.cat(pieces))


def written(folder: Path, what: str) -> Path:
    """A file of each kind that has been trouble somewhere."""
    path = folder / "sound.wav"
    left = tone(1.0, 44_100)
    match what:
        case "40 seconds":
            soundfile.write(path, tone(40.0, 16_000), 16_000)
        case "10 milliseconds":
            soundfile.write(path, tone(0.01, 16_000), 16_000)
        case "silence":
            soundfile.write(path, np.zeros(16_000), 16_000)
        case "stereo":
            soundfile.write(path, np.stack([left, 0.5 * left], 1), 44_100)
        case "truncated":
            soundfile.write(path, left, 44_100)
            path.write_bytes(path.read_bytes()[:60_000])
    return path


@pytest.mark.parametrize(
    ("what", "count"),
    [("40 seconds", 500), ("10 milliseconds", 1), ("silence", 13), ("stereo", 13), ("truncated", 9)],
)
def test_files_go_through_both_ways(codec: Glm4VoiceCodec, tmp_path: Path, what: str, count: int) -> None:
    heard = Speech.open(written(tmp_path, what))
    made = codec.encode(heard.samples, heard.rate)
    assert made.shape == (count,)
    sound = codec.decode(made)
    assert len(sound) == 256 * (frames_of(count) if count <= MOST_CODES else count * 441 // 64)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 0.99
    assert Speech(sound, codec.sample_rate).seconds == pytest.approx(0.08 * count, abs=0.02)


@pytest.mark.parametrize("count", [1, 2, 13, 60])
def test_a_code_is_eighty_milliseconds_of_sound(codec: Glm4VoiceCodec, count: int) -> None:
    sound = codec.decode(codes(count))
    assert len(sound) == 256 * frames_of(count)
    assert len(sound) / RATE == pytest.approx(0.08 * count, abs=256 / RATE)
    assert np.array_equal(sound, codec.decode(codes(count)))
    assert not np.array_equal(sound, codec.decode(codes(count), seed=1))


@pytest.mark.parametrize(
    "voice",
    [
        VoiceSettings(num_steps=4),
        VoiceSettings(guidance_scale=0.0),
        VoiceSettings(speaker=tuple(np.linspace(-1, 1, 192).tolist())),
    ],
)
def test_a_voice_is_a_setting_of_a_stream_or_of_all_sound(
    codec: Glm4VoiceCodec, voice: VoiceSettings
) -> None:
    row = codes(20)
    usual, one = codec.stream().push(row, last=True), codec.decode(row)
    other = codec.stream(voice=voice).push(row, last=True)
    assert len(other) == len(usual)
    assert not np.array_equal(other, usual)
    assert np.array_equal(codec.decode(row), one), "a stream's voice is its own"
    try:
        codec.speak_as(voice)
        assert np.array_equal(codec.stream().push(row, last=True), other)
        assert not np.array_equal(codec.decode(row), one)
        back = VoiceSettings(num_steps=10, guidance_scale=0.7, speaker=(0.0,) * 192)
        assert np.array_equal(codec.stream(voice=back).push(row, last=True), usual)
    finally:
        codec.speak_as(VoiceSettings())
    with pytest.raises(InputError, match="the speaker has 2 numbers; wanted 192"):
        codec.stream(voice=VoiceSettings(speaker=(0.0, 1.0)))


def test_settings_and_speaker_change_the_sound(codec: Glm4VoiceCodec) -> None:
    before = codec.config
    usual = codec.decode(codes(20))
    try:
        for change in ({"num_steps": 4}, {"guidance_scale": 0.0}, {"speaker": (0.5,) * 192}):
            codec.config = before.model_copy(update=change)
            assert not np.array_equal(codec.decode(codes(20)), usual), change
    finally:
        codec.config = before


@pytest.mark.parametrize("wrong", [[-1], [32], [1, 2, 999]])
def test_codes_that_there_are_not_are_refused_and_change_nothing(
    codec: Glm4VoiceCodec, wrong: list[int]
) -> None:
    stream = codec.stream()
    for refusing in (codec.decode, stream.push):
        with pytest.raises(InputError, match="wanted 0 to 31"):
            refusing(wrong)
    assert np.array_equal(stream.push(codes(20), last=True), codec.stream().push(codes(20), last=True))
    with pytest.raises(InputError, match="after the last ones"):
        stream.push([1])
    with pytest.raises(InputError, match="no speech codes were given"):
        codec.decode([])


@pytest.mark.parametrize(
    ("sound", "rate", "said"),
    [
        (np.zeros(0, np.float32), 16_000, "at least one sample"),
        (np.zeros(10, np.float32), 0, "wanted positive ones"),
        (np.zeros(10, np.float32), 999_983, "wanted a usual rate"),
    ],
)
def test_sound_that_cannot_be_encoded_is_refused(
    codec: Glm4VoiceCodec, sound: np.ndarray, rate: int, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        codec.encode(sound, rate)


# Code by code


def streamed(codec: Glm4VoiceCodec, row: list[int], piece: int) -> list[np.ndarray]:
    stream = codec.stream()
    parts = [stream.push(row[start : start + piece]) for start in range(0, len(row), piece)]
    return [*parts, stream.push([], last=True)]


@pytest.mark.parametrize("count", [1, 9, 20, 64, 150])
def test_a_stream_gives_as_much_sound_however_its_codes_come(codec: Glm4VoiceCodec, count: int) -> None:
    row = codes(count)
    one = codec.stream().push(row, last=True)
    for piece in (1, 7, 64):
        assert np.array_equal(np.concatenate(streamed(codec, row, piece)), one)
    assert len(one) == len(codec.decode(row))


def test_sound_comes_before_the_last_code_is_known(codec: Glm4VoiceCodec) -> None:
    lengths = [len(part) for part in streamed(codec, codes(150), 5)]
    assert sum(lengths[:4]) > 0.4 * RATE, "twenty codes are enough for the first half second"
    assert lengths[-1] < 2 * RATE


def test_a_stream_has_no_click_where_its_pieces_join(codec: Glm4VoiceCodec) -> None:
    parts = streamed(codec, codes(200), 25)
    assert sum(len(part) > 0 for part in parts) > 5
    found = largest_jumps(parts)
    assert found.at_joints < found.inside  # 1.45 and 1.98: random weights make loud noise
    joints = np.cumsum([len(part) for part in parts])[:-1] - 1
    jumps = np.abs(np.diff(np.concatenate(parts)))
    assert jumps[joints].mean() < 1.5 * jumps.mean()


@pytest.mark.parametrize("count", [60, 250])
def test_the_spectrogram_of_a_stream_is_near_that_of_one_piece(codec: Glm4VoiceCodec, count: int) -> None:
    """Not equal: the U-Net looks at all frames at once, also at those that are not there yet."""
    row, noise = codes(count), Noise(0)
    frames = codec.stream().frames(row)
    with torch.inference_mode():
        whole = codec.flow(
            torch.tensor([row]),
            noise.of_frames(0, frames_of(count)),
            speaker=torch.zeros(1, 192),
            prompt_codes=torch.zeros(1, 0, dtype=torch.long),
            prompt_mel=torch.zeros(1, 0, 80),
        )
    difference = (frames - whole).abs()
    assert difference.mean() < 0.1 * whole.std()  # 0.05 and 0.09 of 1.27; another seed: 1.2
    assert difference.mean((0, 1)).max() < 0.5 * whole.std()  # 0.28 and 0.39, of the frame that differs most


def test_the_sound_of_a_stream_is_the_vocoders_of_the_whole_spectrogram(codec: Glm4VoiceCodec) -> None:
    """What differs from one piece is the spectrogram; the sound of it is joined without a difference."""
    row = codes(120)
    joined = np.concatenate(streamed(codec, row, 10))
    mel, noise = codec.stream().frames(row), Noise(0)
    with torch.inference_mode():
        whole, _ = codec.vocoder(mel, noise.phase(), noise.of_source(0, mel.shape[-1]))
    assert np.abs(joined - whole[0].numpy()).max() < 1e-3  # 3e-5 was measured
    assert np.abs(joined - whole[0].numpy()).mean() < 1e-5


def test_ten_minutes_in_chunks_hold_no_more_than_one(codec: Glm4VoiceCodec) -> None:
    stream = codec.stream(voice=VoiceSettings(num_steps=1))  # how much is held does not depend on it
    held = []
    said = 0
    for minute in range(10):
        said += len(stream.push(codes(750, seed=minute)))
        held.append(
            (len(stream._window.codes), stream._sound._mel.shape[-1], stream._sound._source.shape[-1])
        )
    said += len(stream.push([], last=True))
    assert said == 256 * (7500 * 441 // 64)
    assert max(row[0] for row in held) < CONTEXT_CODES + 128 + 50
    assert max(row[1] for row in held) == held[0][1]
    assert max(row[2] for row in held) == held[0][2]


def test_long_speech_is_decoded_as_a_stream(codec: Glm4VoiceCodec) -> None:
    row = codes(MOST_CODES + 5)
    assert np.array_equal(codec.decode(row), codec.stream().push(row, last=True))

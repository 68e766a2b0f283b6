"""Speech: what is accepted, what is refused with which words, and that JSON gives back what it was given."""

from __future__ import annotations

import copy
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import BaseModel, TypeAdapter, ValidationError

from omni_agent import InputError, NotDecoded, Speech, Tokens
from omni_agent.values.speech import sound_seconds

JSON = TypeAdapter(Speech)
SAMPLES = arrays(np.float32, st.integers(1, 60), elements=st.floats(-1, 1, width=32))
RATES = st.integers(1_000, 192_000)
TOKENS = st.builds(
    Tokens,
    ids=st.lists(st.integers(0, 511), min_size=1, max_size=50).map(tuple),
    tokenizer=st.just("a;b,c=d:e-f"),
)


def encoded(samples: Any, rate: int = 16_000, **options: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, **{"format": "WAV", **options})
    return stream.getvalue()


def tone(seconds: float = 0.1, rate: int = 16_000) -> np.ndarray:
    return np.sin(np.arange(int(seconds * rate)) * 0.2).astype(np.float32) * 0.5


@given(SAMPLES, RATES)
def test_samples_survive_json_bit_for_bit(samples: np.ndarray, rate: int) -> None:
    speech = Speech(samples, rate)
    again = JSON.validate_json(JSON.dump_json(speech))
    assert again.samples.tobytes() == samples.tobytes()
    assert (again.rate, again.content_hash) == (rate, speech.content_hash)
    assert again == speech


@given(arrays(np.int16, st.integers(1, 40)), RATES)
def test_sixteen_bit_samples_survive_json_in_sixteen_bits(whole: np.ndarray, rate: int) -> None:
    speech = Speech(whole.astype(np.float32) / 32768, rate)
    assert len(speech.to_data_uri()) < 160 + 3 * len(whole)
    assert Speech.from_data_uri(speech.to_data_uri()) == speech


@given(SAMPLES, TOKENS)
def test_decoded_speech_keeps_its_tokens_in_json(samples: np.ndarray, tokens: Tokens) -> None:
    speech = Speech(samples, 8000, tokens=tokens)
    again = JSON.validate_json(JSON.dump_json(speech))
    assert again.tokens == tokens
    assert again == speech == Speech.from_tokens(tokens)


@given(TOKENS)
def test_speech_of_tokens_survives_json_undecoded(tokens: Tokens) -> None:
    again = JSON.validate_json(JSON.dump_json(Speech.from_tokens(tokens)))
    assert again.tokens == tokens
    assert not again.is_decoded


def test_encoded_bytes_survive_json_as_they_are() -> None:
    data = encoded(tone(), format="FLAC")
    uri = Speech.from_bytes(data).to_data_uri()
    assert uri.startswith("data:audio/flac;base64,")
    assert Speech.from_data_uri(uri) == Speech.from_bytes(data)


@pytest.mark.parametrize("suffix", [".wav", ".WAV", ".flac", ".ogg", ".mp3"])
def test_a_saved_sound_opens_again(tmp_path: Path, suffix: str) -> None:
    speech = Speech(tone(0.5), 16_000)
    speech.save(tmp_path / f"sound{suffix}")
    again = Speech.open(tmp_path / f"sound{suffix}")
    assert again.rate == 16_000
    assert again.seconds == pytest.approx(0.5, abs=0.1)
    if suffix.lower() in (".wav", ".flac"):
        assert np.allclose(again.samples, speech.samples, atol=1 / 32768)


def test_channels_are_averaged() -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1)
    assert np.allclose(Speech.from_bytes(encoded(stereo, subtype="FLOAT")).samples, 0.125)


def test_overshoot_in_a_file_is_clipped() -> None:
    loud = np.array([0.5, 1.5, -2.0], np.float32)
    assert Speech.from_bytes(encoded(loud, subtype="FLOAT")).samples.tolist() == [0.5, 1.0, -1.0]


def test_resampling_keeps_the_duration_and_the_range() -> None:
    square = np.sign(np.sin(np.arange(16_000) * 0.05)).astype(np.float32)
    slower = Speech(square, 16_000).resampled(8_000)
    assert (slower.rate, slower.seconds) == (8_000, 1.0)
    assert np.abs(slower.samples).max() <= 1
    assert slower.resampled(8_000) is slower
    assert len(Speech(np.zeros(1, np.float32), 48_000).resampled(8_000).samples) == 1


def test_nothing_changes_speech_from_outside() -> None:
    samples = np.zeros(4, np.float32)
    speech = Speech(samples, 8000)
    samples[:] = 1
    assert not speech.samples.any()
    with pytest.raises(ValueError, match="read-only"):
        speech.samples[0] = 1
    assert copy.deepcopy(speech) is copy.copy(speech) is speech


def test_tokens_are_told_apart_from_samples() -> None:
    speech = Speech.from_tokens(Tokens(ids=(1, 2, 3), tokenizer="t"))
    assert repr(speech) == "<Speech of 3 tokens, not decoded>"
    assert "not decoded" in speech._repr_html_()
    for ask in (
        lambda: speech.samples,
        lambda: speech.rate,
        lambda: speech.seconds,
        lambda: speech.save("x.wav"),
        lambda: speech.resampled(8000),
    ):
        with pytest.raises(NotDecoded, match=r"await core\.decoded\(speech\)"):
            ask()


def test_a_notebook_plays_the_sound() -> None:
    assert Speech(tone(), 16_000)._repr_html_().startswith('<audio controls src="data:audio/wav;base64,')


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.zeros(0, np.float32), 8000, "no samples"),
        (np.zeros((10, 2), np.float32), 8000, "average the channels"),
        (np.zeros(10, np.int16), 8000, "divide 16-bit integers by 32768"),
        (np.array([0, np.nan]), 8000, "not-a-numbers"),
        (np.array([0, np.inf]), 8000, "infinities"),
        (np.array([0, 1.01]), 8000, r"reach 1\.01; wanted them within \[-1, 1\]"),
        (np.zeros(300 * 8000 + 1, np.float32), 8000, "the limit is 300 seconds"),
        (np.zeros(5, np.float32), 0, "wanted an integer from 1,000 to 192,000"),
        (np.zeros(5, np.float32), 16e3, "wanted an integer"),
        (np.zeros(5, np.float32), True, "wanted an integer"),
        ([0.0, 0.1], 8000, "Speech was made from list"),
        (b"RIFF", 8000, "Speech.from_bytes"),
    ],
)
def test_what_is_no_sound_is_refused(samples: Any, rate: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Speech(samples, rate)
    assert "\n" not in str(caught.value)


def test_exactly_the_longest_sound_is_accepted() -> None:
    assert Speech(np.zeros(300 * 1000, np.float32), 1000).seconds == 300


def test_opening_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "none.wav").write_bytes(encoded(np.zeros(0, np.float32)))
    (tmp_path / "long.wav").write_bytes(encoded(np.zeros(601 * 1000, np.int16), 1000))
    (tmp_path / "nan.wav").write_bytes(encoded(np.array([np.nan], np.float32), subtype="FLOAT"))
    (tmp_path / "many.wav").write_bytes(encoded(np.zeros((9, 9), np.int16)))
    for name, words in {
        "empty.wav": r"the file is empty \(0 bytes\)",
        "text.wav": "not a sound file; wanted WAV, FLAC, Ogg or MP3",
        "none.wav": "no samples",
        "long.wav": r"601\.0 seconds of sound; the limit is 300 seconds",
        "nan.wav": "not-a-numbers",
        "many.wav": "9 channels; the limit is 8",
        "missing.wav": "no such file",
    }.items():
        for look in (Speech.open, sound_seconds):
            if look is sound_seconds and name == "nan.wav":
                continue  # no header tells
            with pytest.raises(InputError, match=words) as caught:
                look(tmp_path / name)
            assert name in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_long_sound_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(encoded(np.zeros(601 * 1000, np.int16), 1000))
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *given, **named: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match="the limit is 300 seconds"):
        Speech.open(path)


def test_a_wave_whose_header_was_never_finished_is_read(tmp_path: Path) -> None:
    data = bytearray(encoded(tone()))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert len(Speech.from_bytes(bytes(data)).samples) == len(tone())
    (tmp_path / "live.wav").write_bytes(data)
    assert sound_seconds(tmp_path / "live.wav") == len(tone()) / 16_000


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@given(st.data())
def test_damage_anywhere_is_an_input_error_or_harmless(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encoded(tone(), format=kind))
    for _ in range(3):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        speech = Speech.from_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
        assert np.isfinite(speech.samples).all()
        assert np.abs(speech.samples).max() <= 1


def test_saving_needs_a_name_a_place_and_a_rate_that_fits(tmp_path: Path) -> None:
    speech = Speech(tone(), 11_111)
    with pytest.raises(InputError, match=r"must end in \.wav"):
        speech.save(tmp_path / "sound.txt")
    with pytest.raises(InputError, match="could not be written"):
        speech.save(tmp_path / "none" / "sound.wav")
    with pytest.raises(InputError, match="MP3 cannot hold 11111 samples a second"):
        speech.save(tmp_path / "sound.mp3")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("https://example.org/a.wav", "URLs are never followed"),
        ("data:image/png;base64,AAAA", "media type is 'image/png'"),
        ("data:audio/wav;base64,AAAA", "not a sound file"),
        ("data:audio/wav;base64,", "empty"),
    ],
)
def test_what_is_no_data_uri_of_sound_is_refused(uri: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Speech.from_data_uri(uri)


def test_pydantic_models_hold_speech() -> None:
    class Message(BaseModel):
        sound: Speech

    speech = Speech(tone(), 16_000)
    assert Message(sound=speech).sound is speech
    assert Message.model_validate_json(Message(sound=speech).model_dump_json()).sound == speech
    with pytest.raises(ValidationError, match="URLs are never followed"):
        Message.model_validate({"sound": "http://example.org"})

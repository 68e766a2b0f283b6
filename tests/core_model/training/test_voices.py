"""The voices speak, and those that only measure never train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omni_agent.core_model.training import voices
from omni_agent.core_model.training.speech_corpus import (
    Line,
    Utterances,
    hearing_sentences,
    recognition_plan,
    speaking_plan,
    speaking_sentences,
    synthesise,
    trimmed,
)
from omni_agent.core_model.training.voices import HELD_OUT_VOICES, TRAINING_VOICES, speak_with
from omni_agent.core_model.world import load_world, sums
from omni_agent.errors import InputError, NotAvailable


@pytest.mark.parametrize("voice", ["rms", "kal16", "espeak:en-gb+f3", "awb", "ked", "slt_arctic_hts"])
def test_a_voice_speaks(voice: str) -> None:
    samples, rate = speak_with(voice, "a dog on the grass")
    assert samples.ndim == 1
    assert samples.dtype == np.float32
    assert 0.8 < len(samples) / rate < 2.5
    assert 0.1 < np.abs(samples).max() <= 1


def test_tempo_and_pitch_are_heard() -> None:
    slow, _ = speak_with("kal16", "a dog", tempo=0.8)
    fast, _ = speak_with("kal16", "a dog", tempo=1.3)
    assert len(slow) > 1.3 * len(fast)
    low, _ = speak_with("espeak:en-us+m1", "a dog", pitch=0.6)
    high, _ = speak_with("espeak:en-us+m1", "a dog", pitch=1.6)
    size = min(len(low), len(high))
    assert not np.allclose(low[:size], high[:size])


def test_no_voice_is_both_trained_and_held_out() -> None:
    assert not set(TRAINING_VOICES) & set(HELD_OUT_VOICES)
    assert {"awb", "ked"} <= set(HELD_OUT_VOICES)


@pytest.mark.parametrize(
    ("voice", "text", "options", "said"),
    [
        ("rms", "  ", {}, "at least one word"),
        ("nobody", "a dog", {}, "wanted one of rms, slt"),
        ("espeak:tlh+m1", "a dog", {}, "ESPEAK_VOICES"),
        ("rms", "a dog", {"pitch": 1.2}, "only kal16 and espeak"),
        ("rms", "a dog", {"tempo": 3.0}, "within 0.5 to 2"),
    ],
)
def test_what_cannot_be_spoken_is_refused(
    voice: str, text: str, options: dict[str, float], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        speak_with(voice, text, **options)


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices.shutil, "which", lambda _: None)
    with pytest.raises(NotAvailable, match="apt-get install festival festvox-kdlpc16k"):
        speak_with("ked", "a dog")


def test_held_out_voices_are_never_trained_on(tmp_path: Path) -> None:
    for voice in HELD_OUT_VOICES:
        with pytest.raises(InputError, match=f"'{voice}'.*for training"):
            synthesise([Line(text="a dog", voice=voice)], tmp_path)
    with pytest.raises(InputError, match="for measuring"):
        synthesise([Line(text="a dog", voice="rms")], tmp_path, measuring=True)
    plan = recognition_plan(hearing_sentences(np.random.default_rng(0), 300), np.random.default_rng(0))
    assert {line.voice for line in plan} <= set(TRAINING_VOICES)
    assert {"rms", "slt", "kal16"} <= {line.voice for line in plan}


def test_speaking_covers_every_short_sentence_once() -> None:
    texts = speaking_sentences(np.random.default_rng(0), 4_000)
    world = load_world()
    assert len(texts) == len(set(texts)) == 4_000
    assert {*world.numbers, "yes", "no", "what is this", "describe the picture"} <= set(texts)
    assert {sum_.text for sum_ in sums()} <= set(texts)
    assert {thing.phrase for thing in world.objects} <= set(texts)
    assert {f"how many {thing.plural} are there" for thing in world.objects} <= set(texts)
    assert {f"is there {thing.phrase}" for thing in world.objects} <= set(texts)
    with pytest.raises(InputError, match="given room for 10 sentences"):
        speaking_sentences(np.random.default_rng(0), 10)


def test_a_corpus_is_kept_and_read_back(tmp_path: Path) -> None:
    plan = speaking_plan(["a dog", "two plus three"])
    made = synthesise(plan, tmp_path / "corpus", processes=1)
    again = Utterances.open(tmp_path / "corpus")
    assert again.lines == tuple(plan)
    assert len(again) == 2
    np.testing.assert_array_equal(made.sound(1), again.sound(1))
    assert np.abs(again.sound(0)).max() == pytest.approx(0.8, abs=0.01)
    with pytest.raises(InputError, match="without a finished speech corpus"):
        Utterances.open(tmp_path)


def test_silence_around_speech_is_cut_to_a_constant() -> None:
    tone = np.sin(np.arange(8_000) / 5).astype(np.float32)
    for before, after in [(5_000, 3_000), (0, 0), (160, 9_000)]:
        cut = trimmed(np.pad(tone, (before, after)))
        assert abs(len(cut) - (8_000 + 2 * 640)) <= 320
    silent = np.zeros(500, np.float32)
    np.testing.assert_array_equal(trimmed(silent), silent)

"""The listener hears padded batches as it hears one sound, learns, and goes on where it was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni_agent.core_model.config import SpeechEncoderConfig
from omni_agent.core_model.speech_frontend import SpeechFrontend
from omni_agent.core_model.training.speech_corpus import Line, Utterances
from omni_agent.core_model.training.speech_encoder import (
    Listener,
    SpeechEncoderRun,
    listened,
    load_listener,
    spectrograms,
    train_speech_encoder,
)
from tests.core_model.training.killing import killed_under_way

TINY = SpeechEncoderConfig(hidden_size=32, num_heads=2, feed_forward_size=64, num_blocks=2, num_tp_blocks=1)
TONES = {"low": 300, "middle": 1000, "high": 3000}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sixty utterances of one or two words, each word a tone of its own."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "corpus"
    folder.mkdir()
    pieces, lines = [], []
    for _ in range(60):
        words = rng.choice(list(TONES), size=int(rng.integers(1, 3)))
        sound = [
            np.pad(np.sin(2 * np.pi * TONES[word] * np.arange(4000) / 16_000) * 0.5, 1200) for word in words
        ]
        pieces.append((np.concatenate(sound) * 32767).astype(np.int16))
        lines.append({"text": " ".join(words), "voice": "rms", "tempo": 1.0, "pitch": 1.0})
    np.save(folder / "samples.npy", np.concatenate(pieces))
    np.save(folder / "starts.npy", np.cumsum([0, *map(len, pieces)]).astype(np.int64))
    (folder / "lines.json").write_text(json.dumps(lines))
    return folder


def test_a_padded_batch_hears_what_the_front_end_and_encoder_give_alone(corpus: Path) -> None:
    utterances = Utterances.open(corpus)
    assert utterances.lines[0] == Line(text=utterances.lines[0].text, voice="rms")
    spoken = spectrograms(utterances, range(8), copies=1, clean=True)
    torch.manual_seed(0)
    listener = Listener(TINY, sorted(TONES)).eval()
    listener.fit_normalisation(spoken)
    frontend = SpeechFrontend()
    frontend.load_state_dict({"shift": listener.shift, "scale": listener.scale})
    with torch.inference_mode():
        hidden, counts = listener.hidden(*spoken.batch(range(8)))
        for index, count in enumerate(counts.tolist()):
            alone = listener.encoder(frontend(utterances.sound(index), 16_000)[None])[0]
            assert count == len(alone)
            torch.testing.assert_close(
                hidden[index, :count], alone, atol=0.03, rtol=0
            )  # float16 spectrograms


def test_training_learns_and_goes_on(corpus: Path, tmp_path: Path) -> None:
    run = SpeechEncoderRun(
        config=TINY, steps=100, batch=16, kept_aside=10, save_every=1e9, learning_rate=5e-3
    )
    said: list[str] = []
    out = tmp_path / "trained"
    train_speech_encoder(corpus, out, run, words=sorted(TONES), report=said.append)
    assert "word errors: training voices" in said[-1]
    train_speech_encoder(
        corpus,
        out,
        replace(run, steps=200),
        words=sorted(TONES),
        held_out={"same": corpus},
        report=said.append,
    )
    assert "going on from step 100" in said
    assert ", same " in said[-1]
    listener = load_listener(out, sorted(TONES), TINY)
    pairs = listened(listener, spectrograms(Utterances.open(corpus), range(50, 60), copies=1, clean=True))
    assert [wanted for wanted, _ in pairs] == [line.text for line in Utterances.open(corpus).lines[50:]]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in said if "loss" in line]
    assert losses[1] < 0.8 * losses[0]


def small_run(folder: Path) -> None:
    """Steps on the corpus beside the folder, over more than one epoch; kept after every step."""
    run = SpeechEncoderRun(config=TINY, steps=40, batch=16, kept_aside=10, save_every=0.0)
    train_speech_encoder(folder.parent / "corpus", folder, run, words=sorted(TONES), report=lambda line: None)


def reached(folder: Path) -> int:
    state = folder / "speech_encoder.state"
    return int(torch.load(state, weights_only=True)["facts"]["step"]) if state.exists() else 0


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_five_times_ends_as_one_left_alone(corpus: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small_run(tmp_path / "alone")
    torch.set_num_threads(threads)
    kills = killed_under_way(small_run, tmp_path / "killed", reached)
    assert kills[-1] < 40, f"killed under way: at {kills}"
    for name in ("speech_encoder", "speech_frontend"):
        wanted, given = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("alone", "killed"))
        assert wanted.keys() == given.keys()
        assert all(torch.equal(wanted[key], given[key]) for key in wanted), name

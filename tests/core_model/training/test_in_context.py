"""What codes sound like between others is learnt, nears the sound, and goes on where it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni_agent.core_model.config import TableCodecConfig
from omni_agent.core_model.tokenizers.in_context import CONTEXT_CODES
from omni_agent.core_model.tokenizers.table_codec import RATE, TableCodec, fit_speech_codec, log_spectra
from omni_agent.core_model.training import stages
from omni_agent.core_model.training.in_context import InContextRun, train_in_context
from omni_agent.core_model.training.speech_corpus import Utterances
from omni_agent.core_model.training.tiny import TINY_SPEECH_CODEC
from tests.core_model.training.killing import killed_under_way

CONFIG = TableCodecConfig(num_codes=12, context_size=16)


def glide(seed: int) -> np.ndarray:
    """A tone of four harmonics that rises or falls: a piece of it alone does not say which."""
    rng = np.random.default_rng(seed)
    pitch = np.geomspace(*rng.permutation([200, 800]), num=RATE // 2)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return np.asarray(sum(np.sin(harmonic * phase) for harmonic in (1, 2, 3, 4)) / 5, dtype=np.float32)


def spoken(folder: Path, count: int = 24) -> Utterances:
    if not (folder / "lines.json").exists():
        sounds = [(glide(seed) * 32767).astype(np.int16) for seed in range(count)]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "samples.npy", np.concatenate(sounds))
        np.save(folder / "starts.npy", np.cumsum([0, *map(len, sounds)]).astype(np.int64))
        lines = [{"text": "up", "voice": "rms", "tempo": 1.0, "pitch": 1.0}] * len(sounds)
        (folder / "lines.json").write_text(json.dumps(lines))
    return Utterances.open(folder)


def table() -> TableCodec:
    return fit_speech_codec(lambda: (glide(seed) for seed in range(24)), CONFIG, report=lambda _: None)


def error(codec: TableCodec, sound: np.ndarray) -> float:
    """Of the spectrum that its codes come back as, in nepers."""
    return float((codec.log_spectrum(codec.encode(sound, RATE).tolist()) - log_spectra(sound)).abs().mean())


def small_run(folder: Path) -> None:
    """A run of forty steps that is saved at every step, and leaves its weights at the end."""
    codec = table()
    run = InContextRun(steps=40, batch=4, save_every=0.0)
    train_in_context(codec, spoken(folder / "speaking"), folder / "state", run, report=lambda _: None)
    torch.save(codec.state_dict(), folder / "codec.pt")


def reached(folder: Path) -> int:
    state = folder / "state"
    return int(torch.load(state, weights_only=True)["facts"]["step"]) if state.exists() else 0


def test_untrained_it_adds_nothing_and_trained_it_nears_the_sound(tmp_path: Path) -> None:
    codec = table()
    codes = codec.encode(glide(1), RATE)
    assert torch.equal(codec.log_spectrum(codes.tolist()), codec.joined(codes))
    before = [error(codec, glide(seed)) for seed in (100, 101, 102, 103)]
    said: list[str] = []
    run = InContextRun(steps=200, batch=4, warmup_steps=10)
    train_in_context(codec, spoken(tmp_path), tmp_path / "state", run, report=said.append)
    assert "step 200 of 200" in said[-1]
    after = [error(codec, glide(seed)) for seed in (100, 101, 102, 103)]
    assert np.mean(after) < 0.8 * np.mean(before), (before, after)
    assert torch.equal(codec.encode(glide(1), RATE), codes), "the codes are what they were"


def test_the_stage_fits_a_table_once_and_learns_on_from_there(tmp_path: Path) -> None:
    spoken(tmp_path / "speech" / "speaking", count=180)  # a third of them are for the table
    said: list[str] = []
    stages.make_speech_codec(tmp_path, steps=2, report=said.append)
    first = load_file(tmp_path / "speech_codec.safetensors")
    TableCodec(TINY_SPEECH_CODEC).load_state_dict(first)
    assert (tmp_path / "spoken.npz").exists()
    stages.make_speech_codec(tmp_path, steps=4, report=said.append)
    assert any("speech_table.safetensors stays" in line for line in said)
    assert "going on from step 2" in said
    second = load_file(tmp_path / "speech_codec.safetensors")
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert changed
    assert all(name.startswith("in_context.") for name in changed), "codes stay as others learnt them"


def test_a_codec_without_context_speaks_and_streams() -> None:
    plain = CONFIG.model_copy(update={"context_size": 0})
    codec = fit_speech_codec(lambda: (glide(seed) for seed in range(24)), plain, report=lambda _: None)
    codes = codec.encode(glide(1), RATE)
    assert torch.equal(codec.log_spectrum(codes.tolist()), codec.joined(codes))
    stream = codec.stream()
    parts = [stream.push(codes.tolist()), stream.push([], last=True)]
    assert sum(map(len, parts)) == len(codec.decode(codes))


def test_so_many_codes_on_either_side_matter_and_no_more() -> None:
    codec = table()
    assert codec.in_context is not None
    with torch.no_grad():
        codec.in_context.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    row = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    middle = slice(20, 24)  # the frames of the sixth
    as_it_is = codec.log_spectrum(row)[middle]
    for at in range(len(row)):
        other = codec.log_spectrum([*row[:at], 0, *row[at + 1 :]])[middle]
        assert torch.allclose(other, as_it_is, atol=1e-6) == (abs(at - 5) > CONTEXT_CODES), at


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_five_times_ends_as_one_left_alone(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small_run(tmp_path / "alone")
    torch.set_num_threads(threads)
    spoken(tmp_path / "killed" / "speaking")
    kills = killed_under_way(small_run, tmp_path / "killed", reached)
    assert kills[-1] < 40, f"killed under way: at {kills}"
    wanted, given = (
        torch.load(tmp_path / run / "codec.pt", weights_only=True) for run in ("alone", "killed")
    )
    assert wanted.keys() == given.keys()
    assert all(torch.equal(wanted[key], given[key]) for key in wanted)

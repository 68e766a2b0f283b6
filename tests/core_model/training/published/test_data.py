"""The files of a run: read whole before the first step, and drawn by the seed and the step."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as PilImage

from omni_agent import InputError
from omni_agent.core_model import checkpoints
from omni_agent.core_model.model import Model
from omni_agent.core_model.training.published.batches import Batches
from omni_agent.core_model.training.published.config import BatchConfig, StageConfig
from omni_agent.core_model.training.published.data import open_file, plan
from omni_agent.core_model.training.sample_lines import Line
from tests.core_model.published_core import published_model
from tests.core_model.training.published.small import config, message, samples, small_core, write_lines


def written(path: Path, *lengths: int) -> Path:
    """A file of samples whose answers say how long they are to be taken for."""
    said = [{"messages": [message("user", "a"), message("assistant", str(length))]} for length in lengths]
    return write_lines(path, said)


def length(line: Line) -> int:
    return int(str(line.said[-1].content[0]))


def stage(**shares: float) -> StageConfig:
    data = [{"file": name, "share": share} for name, share in shares.items()]
    return StageConfig.model_validate({"name": "all", "steps": 1, "data": data})


def test_a_line_is_found_again_behind_empty_ones_and_long_letters(tmp_path: Path) -> None:
    path = written(tmp_path / "all.jsonl", 3, 4, 5)
    lines = path.read_text().splitlines()
    lines[0] = json.dumps({"messages": [message("user", "ü"), message("assistant", "3")]}, ensure_ascii=False)
    path.write_text("\n\n".join(lines) + "\n")
    file = open_file(path, BatchConfig(), length)
    assert [length(file.line(index)) for index in range(len(file))] == file.lengths.tolist() == [3, 4, 5]
    assert file.numbers.tolist() == [1, 3, 5]


def test_a_longer_sample_is_refused_or_skipped(tmp_path: Path) -> None:
    path = written(tmp_path / "all.jsonl", 30, 31)
    with pytest.raises(InputError, match="line 2: given a sample of up to 31 tokens; a row has 30: shorten"):
        open_file(path, BatchConfig(length=30), length)
    skipping = open_file(path, BatchConfig(length=30, longer="skip"), length)
    assert (len(skipping), skipping.skipped) == (1, 1)
    with pytest.raises(InputError, match="no sample to train on, 2 longer than a row of 20 tokens"):
        open_file(path, BatchConfig(length=20, longer="skip"), length)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl: the file cannot be read"):
        open_file(tmp_path / "nothing.jsonl", BatchConfig(), length)
    (tmp_path / "latin.jsonl").write_bytes(b'{"messages": "\xfc"}\n')
    with pytest.raises(InputError, match=r"latin\.jsonl, line 1: this is no UTF-8"):
        open_file(tmp_path / "latin.jsonl", BatchConfig(), length)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="given no sample to train on; wanted one a line"):
        open_file(tmp_path / "empty.jsonl", BatchConfig(), length)


def test_rows_are_filled_and_never_too_full(tmp_path: Path) -> None:
    file = open_file(written(tmp_path / "all.jsonl", *range(10, 60)), BatchConfig(length=100), length)
    batch = BatchConfig(length=100, rows=16)
    full = []
    for seed in range(50):
        rows = plan([file], stage(all=1.0), batch, np.random.default_rng(seed))
        sums = [sum(int(file.lengths[each.index]) for each in row) for row in rows]
        assert max(sums) <= 100
        assert all(rows)
        full.append(np.mean(sums) / 100)
    assert np.mean(full) > 0.8


def test_samples_are_drawn_by_the_shares_of_their_files_whatever_their_lengths(tmp_path: Path) -> None:
    short = open_file(written(tmp_path / "short.jsonl", *[4] * 5), BatchConfig(), length)
    long = open_file(written(tmp_path / "long.jsonl", *[40] * 50), BatchConfig(), length)
    count: Counter[str] = Counter()
    for seed in range(200):
        batch = BatchConfig(length=100, rows=32)
        rows = plan([short, long], stage(short=3.0, long=1.0), batch, np.random.default_rng(seed))
        count.update(each.file.stem for row in rows for each in row)
    assert count["short"] / count.total() == pytest.approx(0.75, abs=0.01)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    small_core(folder / "core")
    write_lines(folder / "all.jsonl", list(samples(folder).values()))
    return folder


@pytest.fixture(scope="module")
def model(place: Path) -> Model:
    return checkpoints.load(place / "core")


def test_a_step_sees_the_same_whenever_and_on_however_many_devices(place: Path, model: Model) -> None:
    run = config(
        place / "core", place / "out", place / "all.jsonl", steps=9, batch={"length": 448, "rows": 4}
    )
    [stage] = run.stages
    once, again = Batches(run, model), Batches(run, model)
    list(again.of(3, stage))
    wanted = list(once.of(7, stage))
    given = [batch for device in (0, 1) for batch in again.of(7, stage, device=device, devices=2)]
    assert len(wanted) == len(given) == 4
    for one, other in zip(wanted, [given[0], given[2], given[1], given[3]], strict=True):
        for name in ("ids", "sample", "positions", "places", "labels", "weights", "heard", "heard_at"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
    other_step = next(iter(once.of(8, stage)))
    assert other_step.ids.shape != wanted[0].ids.shape or not torch.equal(other_step.ids, wanted[0].ids)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"audios": ["nothing.wav"]}, "nothing.wav: no such file"),
        ({"audios": ["0.png"]}, "0.png: not a sound file"),
        (
            {"messages": [message("user", "<|image|>"), message("assistant", "a dog")], "audios": []}
            | {"images": ["0.wav"]},
            "0.wav: not a picture",
        ),
    ],
)
def test_a_file_that_is_not_there_is_told_before_the_first_step(
    place: Path, model: Model, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    made = list(samples(tmp_path).values())[:2]
    write_lines(tmp_path / "bad.jsonl", [made[0], made[1] | change])
    with pytest.raises(InputError, match=r"bad\.jsonl, line 2: ") as caught:
        Batches(config(place / "core", tmp_path / "out", tmp_path / "bad.jsonl", steps=1), model)
    assert told in str(caught.value)


def test_what_no_core_could_look_at_or_hear_is_told_before_the_first_step(
    place: Path, model: Model, tmp_path: Path
) -> None:
    made = samples(tmp_path)
    write_lines(tmp_path / "one.jsonl", [made["caption"]])
    PilImage.new("1", (20_000, 10_000)).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"one\.jsonl, line 1: .*2\.png: too many pixels"):
        Batches(config(place / "core", tmp_path / "out", tmp_path / "one.jsonl", steps=1), model)
    write_lines(tmp_path / "two.jsonl", [made["recognition"]])
    (sound,) = made["recognition"]["audios"]
    soundfile.write(tmp_path / sound, np.zeros((0,)), 16_000)
    with pytest.raises(InputError, match=r"two\.jsonl, line 1: .*: no samples"):
        Batches(config(place / "core", tmp_path / "out", tmp_path / "two.jsonl", steps=1), model)


def test_a_file_that_is_damaged_inside_is_told_with_its_line(
    place: Path, model: Model, tmp_path: Path
) -> None:
    made = samples(tmp_path)
    whole = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(whole[: len(whole) // 2])
    write_lines(tmp_path / "one.jsonl", [made["caption"]])
    run = config(place / "core", tmp_path / "out", tmp_path / "one.jsonl", steps=1)
    with pytest.raises(InputError, match=r"one\.jsonl, line 1: .*2\.png.* Put a whole file in its place"):
        next(Batches(run, model).of(0, run.stages[0]))


def test_a_core_without_a_part_says_so(place: Path, tmp_path: Path) -> None:
    made = samples(tmp_path)
    silent, typed = published_model(), published_model(media=False)
    for kind, core, told in (
        ("speaking", silent, "was loaded without its speech codec"),
        ("recognition", typed, "has no ears: give it text"),
        ("caption", typed, "has no pictures"),
    ):
        write_lines(tmp_path / "one.jsonl", [made[kind]])
        with pytest.raises(InputError, match="line 1: ") as caught:
            Batches(config(place / "core", tmp_path / "out", tmp_path / "one.jsonl", steps=1), core)
        assert told in str(caught.value)

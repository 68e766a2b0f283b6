"""A whole run: it learns, goes on after a kill, and leaves what can be loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from omni_agent import CheckpointError, InputError
from omni_agent.core_model import checkpoints
from omni_agent.core_model.checkpoints import Loading
from omni_agent.core_model.training.published import TrainingConfig, merge_into, train
from omni_agent.core_model.training.published.adapters import add_adapters, load_adapters, save_adapters
from omni_agent.core_model.training.published.config import LoraSettings, OptimiserConfig, StageConfig
from omni_agent.core_model.training.published.learner import Learner
from omni_agent.core_model.training.published.packing import Batch
from omni_agent.core_model.training.published.run import rate_at
from tests.core_model.published_core import published_model
from tests.core_model.training.killing import killed_under_way
from tests.core_model.training.published.small import config, message, samples, small_core, write_lines

STEPS = 24
TINY = {"hidden_size": 32, "num_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32, "num_layers": 1}

# What `small` says, as a file.
TWO = """
model = "core"
out = "two"
report_every = 4

[batch]
length = 448
rows = 2

[average]
decay = 0.9

[[stages]]
name = "typed"
steps = 10
learning_rate = 1e-3
data = [{file = "typed.jsonl"}]

[[stages]]
name = "all"
steps = 14
learning_rate = 2e-3
data = [{file = "all.jsonl"}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a narrow core and samples of every kind."""
    folder = tmp_path_factory.mktemp("place")
    small_core(folder / "core", **TINY)
    made = samples(folder)
    write_lines(folder / "all.jsonl", list(made.values()))
    write_lines(folder / "typed.jsonl", [made["text to image"], made["picture question"], made["caption"]])
    return folder


def small(place: Path, out: Path, **changes: Any) -> TrainingConfig:
    """Two stages, 24 steps in all, of two rows each."""
    stages = [
        {"name": "typed", "steps": 10, "learning_rate": 1e-3, "data": [{"file": place / "typed.jsonl"}]},
        {"name": "all", "steps": 14, "learning_rate": 2e-3, "data": [{"file": place / "all.jsonl"}]},
    ]
    batch = {"length": 448, "rows": 2}
    plain = {"batch": batch, "stages": stages, "average": {"decay": 0.9}, "report_every": 4}
    return config(changes.pop("model", place / "core"), out, steps=1, **plain | changes)


def small_run(out: Path) -> None:
    """The run that is killed: what it needs lies beside its folder."""
    train(small(out.parent, out, save_every=1), report=lambda line: None)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    """A run that nobody disturbed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small_run(place / "alone")
    torch.set_num_threads(threads)
    return place / "alone"


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_five_times_ends_as_one_left_alone(place: Path, alone: Path) -> None:
    killed = place / "killed"
    reached = killed_under_way(small_run, killed, _step)
    assert 3 <= reached[0] < reached[-1] < STEPS, f"killed under way: at {reached}"
    wanted, given = (weights(folder / "model") for folder in (alone, killed))
    assert wanted.keys() == given.keys()
    assert all(torch.equal(wanted[name], given[name]) for name in wanted)
    told = [[line | {"seconds": 0} for line in lines(folder)] for folder in (alone, killed)]
    assert told[0] == told[1]


def test_what_a_run_tells(place: Path, alone: Path) -> None:
    told = lines(alone)
    assert [line["step"] for line in told] == [4, 8, 10, 12, 16, 20, 24]
    assert [line["stage"] for line in told] == ["typed"] * 3 + ["all"] * 4
    assert told[0]["by kind"].keys() == {"text to image", "picture question"}
    assert told[0]["by modality"].keys() == {"text", "image", "padding"}
    seen = {kind for line in told[3:] for kind in line["by kind"]}
    assert {"recognition", "speaking", "speech to image", "spoken answer"} <= seen
    assert told[-1]["loss"] < told[3]["loss"]
    board = EventAccumulator(str(alone / "tensorboard"))
    board.Reload()
    assert {"loss", "learning rate", "kind/recognition", "modality/text"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss")] == [4, 8, 10, 12, 16, 20, 24]
    assert board.Scalars("loss")[-1].value == pytest.approx(told[-1]["loss"], rel=1e-3)


def test_the_transformer_and_the_projection_learn_and_nothing_else(place: Path, alone: Path) -> None:
    before, after = weights(place / "core"), weights(alone / "model")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith("model.audio_model.")}
    assert changed == before.keys() - frozen
    for path in sorted(place.glob("core/*/*")):
        if path.suffix == ".safetensors":
            kept, given = load_file(path), load_file(alone / "model" / path.relative_to(place / "core"))
            assert all(torch.equal(kept[name], given[name]) for name in kept), path


def test_a_finished_run_is_not_run_again(place: Path, alone: Path) -> None:
    before = weights(alone / "model")
    said: list[str] = []
    train(small(place, alone, save_every=1), report=said.append)
    assert said == ["going on at step 24 of 24", f"the checkpoint is in {alone / 'model'}"]
    assert all(torch.equal(before[name], each) for name, each in weights(alone / "model").items())


def test_a_run_is_stopped_where_it_is(place: Path) -> None:
    out = place / "stopped"
    run = small(place, out, save_every=6)
    with pytest.raises(InputError, match="there is no state yet to write a checkpoint of; train first"):
        train(run, stop=True)

    class Enough(Exception):  # noqa: N818
        pass

    def until_the_second_stage(line: str) -> None:
        if json.loads(line)["step"] > 10:
            raise Enough

    with pytest.raises(Enough):
        train(run, report=until_the_second_stage)
    assert not (out / "model").exists()
    said: list[str] = []
    train(run, stop=True, report=said.append)
    assert said[0] == "stopped at step 10 of 24"
    before, after = weights(place / "core"), weights(out / "model")
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"masking": {"by": "sample"}}, "masking.by was 'place' and is 'sample'"),
        ({"average": None}, "average.decay was 0.9 and is None"),
    ],
)
def test_a_state_of_another_run_is_refused(
    place: Path, alone: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match="the state is of another run") as caught:
        train(small(place, alone, **change))
    assert told in str(caught.value)


def test_a_state_of_other_data_is_refused(place: Path, alone: Path) -> None:
    text = (place / "all.jsonl").read_text()
    try:
        (place / "all.jsonl").write_text(text + text.splitlines()[1] + "\n")
        with pytest.raises(InputError, match=r"stages\.1\.data\.0\.samples was 8 and is 9"):
            train(small(place, alone, save_every=1))
        (place / "all.jsonl").write_text(text.replace("a dog", "a cat", 1))
        with pytest.raises(InputError, match=r"\(stages\.1\.data\.0\.content was \d+ and is \d+\)"):
            train(small(place, alone, save_every=1))
    finally:
        (place / "all.jsonl").write_text(text)


def test_a_gradient_that_is_no_number_ends_the_run_and_leaves_the_last_state(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(place, tmp_path, save_every=1)
    step = Learner.forward
    seen: list[int] = []

    def broken(self: Learner, batch: Batch) -> torch.Tensor:
        seen.append(1)
        return step(self, batch) * (float("nan") if len(seen) > 6 else 1)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "forward", broken)
        with pytest.raises(InputError, match="step 4: the norm of the gradient is nan: begin anew"):
            train(run, report=lambda line: None)
    train(run, stop=True, report=lambda line: None)
    assert all(each.isfinite().all() for each in weights(tmp_path / "model").values())


def test_a_damaged_state_is_told(place: Path, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"torn")
    with pytest.raises(InputError, match="the state cannot be read"):
        train(small(place, tmp_path))


def test_how_many_rows_are_computed_at_once_changes_nothing_but_rounding(place: Path, alone: Path) -> None:
    batch = {"length": 448, "rows": 2, "rows_at_once": 2}
    out = place / "together"
    train(small(place, out, batch=batch), report=lambda line: None)
    wanted, given = weights(alone / "model"), weights(out / "model")
    for name in wanted:
        torch.testing.assert_close(given[name], wanted[name], rtol=0, atol=2e-3, msg=name)


def test_layers_that_are_computed_twice_learn_the_same(place: Path, alone: Path) -> None:
    out = place / "twice"
    train(small(place, out, checkpoint_activations=True), report=lambda line: None)
    wanted, given = weights(alone / "model"), weights(out / "model")
    assert wanted.keys() == given.keys()
    for name in wanted:
        torch.testing.assert_close(given[name], wanted[name], rtol=0, atol=2e-3, msg=name)


def test_adapters_load_back_and_are_what_is_merged(place: Path) -> None:
    out = place / "adapted"
    lora = {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj", "down_proj"]}
    train(small(place, out, lora=lora, average=None), report=lambda line: None)
    before, after = weights(place / "core"), weights(out / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        name for name in before if name.endswith(("q_proj.weight", "v_proj.weight", "down_proj.weight"))
    }
    said = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert (said["r"], said["lora_alpha"], said["base_model_name_or_path"]) == (4, 8, str(place / "core"))
    base, merged = checkpoints.load(place / "core"), checkpoints.load(out / "model")
    load_adapters(base.transformer, out / "adapter").eval()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        logits = [
            each.transformer.head(each.transformer(each.transformer.embed(ids))) for each in (base, merged)
        ]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-5)
    plain = checkpoints.load(place / "core").transformer
    with torch.no_grad():
        assert not torch.allclose(plain.head(plain(plain.embed(ids))), logits[0], atol=1e-3), "it learnt"
    assert lines(out)[-1]["loss"] < lines(out)[0]["loss"]
    merge_into(str(place / "core"), out / "adapter", place / "merged")
    again = weights(place / "merged")
    assert all(torch.equal(again[name], after[name]) for name in after)


def test_adapters_of_another_core_or_of_none_are_told(place: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lacks peft's adapter_config\.json and adapter_model"):
        merge_into(str(place / "core"), place / "core", tmp_path / "merged")
    wide = published_model(media=False).transformer
    save_adapters(add_adapters(wide, LoraSettings(), "wide"), tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"holds no adapters of this core: .*size mismatch"):
        merge_into(str(place / "core"), tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_adapters_beside_no_matrix_are_told(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lora\.targets: given query; wanted names of the layers"):
        train(small(place, tmp_path, lora={"targets": ["query"]}))


@pytest.fixture
def another_precision() -> Iterator[None]:
    """accelerate keeps the precision of a process, which a process of its own would choose for itself."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("another_precision")
def test_weights_are_stored_as_they_were(place: Path, tmp_path: Path) -> None:
    half = checkpoints.load(place / "core", Loading(dtype=torch.bfloat16))
    checkpoints.save(half, tmp_path / "half")
    run = small(place, tmp_path / "run", mixed_precision="bf16", model=tmp_path / "half")
    train(run, report=lambda line: None)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert {each.dtype for each in state["weights"]} == {torch.float32}
    assert {each.dtype for each in weights(tmp_path / "run" / "model").values()} == {torch.bfloat16}
    assert lines(tmp_path / "run")[-1]["loss"] < lines(tmp_path / "run")[3]["loss"]
    with pytest.raises(InputError, match="mixed_precision: given 'no' in a process that computes otherwise"):
        train(small(place, tmp_path / "other"))


@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_does(place: Path, alone: Path) -> None:
    out = place / "two"
    (place / "two.toml").write_text(TWO)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    launch += ["--cpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "0", "-m", "omni_agent.cli", "train", str(place / "two.toml")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(launch, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the checkpoint is in") == 1
    wanted, given = weights(alone / "model"), weights(out / "model")
    for name in wanted:
        torch.testing.assert_close(given[name], wanted[name], rtol=0, atol=2e-3, msg=name)
    for one, two in zip(lines(alone), lines(out), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-2)
        assert two["by kind"].keys() == one["by kind"].keys()


def test_a_core_without_ears_and_eyes_learns_to_answer_in_writing(tmp_path: Path) -> None:
    checkpoints.save(published_model(media=False), tmp_path / "core")
    said = [message("user", "What is this?"), message("assistant", "A dog.")]
    file = write_lines(tmp_path / "typed.jsonl", [{"messages": said}])
    batch = {"length": 64, "rows": 2}
    run = config(tmp_path / "core", tmp_path / "run", file, steps=40, batch=batch, report_every=5)
    train(run, report=lambda line: None)
    losses = [line["by kind"]["written answer"] for line in lines(tmp_path / "run")]
    assert losses[-1] < losses[0] / 4


def test_a_core_of_another_layout_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wanted one in the published layout"):
        train(small(place, tmp_path, model="omni-tiny"))


def test_the_rate_warms_up_and_falls_as_a_cosine_does() -> None:
    stage = StageConfig.model_validate(
        {"name": "all", "steps": 1000, "learning_rate": 1e-5, "data": [{"file": "all.jsonl"}]}
    )
    rates = [rate_at(step, stage, OptimiserConfig()) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5 / 30)
    assert max(rates) == rates[29] == rates[30] == 1e-5
    assert rates[515] == pytest.approx(5e-6)
    assert rates[-1] < 1e-9
    assert all(later <= earlier for earlier, later in pairwise(rates[30:]))


def _step(out: Path) -> int:
    file = out / "state.pt"
    return int(torch.load(file, weights_only=True)["step"]) if file.exists() else 0

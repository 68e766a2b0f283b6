"""A run as a TOML file says it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from omni_agent import InputError, MissingExtra
from omni_agent.core_model.training.published import read_config

LEAST = """
model = "core"
out = "run"

[[stages]]
name = "all"
steps = 24000
data = [{file = "all.jsonl"}]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_what_is_not_said_is_the_published_recipe(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, LEAST))
    assert (config.batch.length, config.batch.rows) == (3072, 128)
    optimiser = config.optimiser
    assert (optimiser.betas, optimiser.weight_decay, optimiser.clip) == ((0.9, 0.95), 0.0, 1.0)
    assert (config.stages[0].learning_rate, optimiser.warmup) == (1e-5, 0.03)
    assert (config.masking.by, config.masking.padding, config.loss.over) == ("place", 0.6, "masked")
    assert (config.answers.padding, config.answers.most) == ("chance", 16)
    assert config.prompt_dropout.share == 0
    assert config.average is None
    assert config.lora is None


def test_paths_are_counted_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    config = read_config(written(tmp_path, LEAST))
    assert config.model == str(tmp_path / "core")
    assert config.out == tmp_path / "run"
    assert config.stages[0].data[0].file == tmp_path / "all.jsonl"
    absolute = LEAST.replace("all.jsonl", "/data/all.jsonl").replace('"core"', '"lijiang/Omni-Diffusion"')
    config = read_config(written(tmp_path, absolute))
    assert config.model == "lijiang/Omni-Diffusion"
    assert config.stages[0].data[0].file == Path("/data/all.jsonl")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model = ", "this is no TOML"),
        ("", "model is missing; give it; out is missing; give it; stages is missing; give it"),
        (LEAST.replace("[[", "sped = 1\n[["), "sped is no setting; take it out"),
        (LEAST.replace("24000", "0"), "stages.0.steps: given 0; input should be greater than or equal to 1"),
        (LEAST.replace("24000", '"many"'), "stages.0.steps: given 'many'; input should be a valid integer"),
        (
            LEAST + "[masking]\nfull = 0.7\nnearly_full = 0.7\n",
            "full 0.7 and nearly_full 0.7 are more than 1 together",
        ),
        (
            LEAST + "[batch]\nrows = 3\nrows_at_once = 2\n",
            "batch.rows 3 is no multiple of batch.rows_at_once 2",
        ),
        (
            LEAST + '[masking]\nby = "chance"\n',
            "masking.by: given 'chance'; input should be 'place' or 'sample'",
        ),
    ],
)
def test_faults_say_where_what_was_given_and_what_was_wanted(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_config(written(tmp_path, text))
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "run.toml"))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file cannot be read"):
        read_config(tmp_path / "run.toml")


@pytest.mark.parametrize("absent", ["accelerate", "peft", "tensorboard"])
def test_without_the_extra_the_error_names_it(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "omni_agent.core_model.training.published"
    for name in list(sys.modules):
        if name.startswith((package, "torch.utils.tensorboard")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtra, match=r"omni-agent-diffusion\[training\]"):
        importlib.import_module(package)

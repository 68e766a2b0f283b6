"""README's examples run, its links lead somewhere, and its numbers are the measured ones."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from omni_agent import Core, Image, Speech, Task
from omni_agent.cli import main
from omni_agent.testing import ScriptedCore

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^    (omni-agent .*)$", README, re.MULTILINE)
SCRIPT = {
    Task.TRANSCRIBE: "what is this",
    Task.ANSWER: "a dog",
    Task.DESCRIBE: "a dog on the grass",
    Task.SPEAK: Speech(np.zeros(1600, np.float32), 16_000),
    Task.DRAW: Image(np.full((8, 8, 3), 200, np.uint8)),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files the examples open, to run them in."""
    monkeypatch.chdir(tmp_path)
    Speech(np.zeros(8000, np.float32), 16_000).save(tmp_path / "question.wav")
    Image(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "picture.png")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return tmp_path


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Core]:
    def load(name: str = "omni-tiny") -> Core:
        return ScriptedCore(SCRIPT)

    monkeypatch.setattr(Core, "load", staticmethod(load))
    return load


def run(example: str) -> None:
    # Annotations of a graph's steps are resolved in their module, so the example needs one.
    module = ModuleType("example")
    exec(compile(example, "README.md", "exec"), module.__dict__)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_run(example: str, folder: Path, scripted: object) -> None:
    run(example)


def test_the_graph_of_the_readme_prints_its_steps(
    folder: Path, scripted: object, capsys: pytest.CaptureFixture[str]
) -> None:
    run(EXAMPLES[0])
    assert capsys.readouterr().out.splitlines()[:2] == ["heard what is this", "answer a dog"]
    assert (folder / "reply.wav").exists()


def test_the_speech_of_the_readme_is_written_while_it_grows(folder: Path, scripted: object) -> None:
    [example] = [each for each in EXAMPLES if ".speech()" in each]
    run(example)
    assert Speech.open(folder / "dog.wav").seconds == 0.1


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_run(line: str, folder: Path, scripted: Callable[[str], Core]) -> None:
    assert main(shlex.split(line)[1:], load=scripted) == 0


def test_the_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_scores_are_the_measured_ones() -> None:
    scores = ROOT / "docs" / "omni-tiny-scores.json"
    if not scores.exists():
        assert "Not measured yet." in README
    else:
        assert _script().written(README, json.loads(scores.read_text())) == README


def test_scores_are_written_between_the_marks_and_again() -> None:
    row = {
        "part": "answers", "name": "what", "measure": "right", "value": 0.95, "low": 0.91, "high": 0.97,
        "hits": 190, "total": 200, "wanted": 0.9, "passed": True, "note": "",
    }  # fmt: skip
    scores = {"split": "held_out", "questions": 200, "seed": 0, "seconds": 1.0, "failures": {}, "rows": [row]}
    written = _script().written(README, scores)
    assert "| answers | what | right | 95.0 % | 91 to 97 | 200 | ≥ 90 % |" in written
    assert _script().written(written, scores) == written
    missed = {**scores, "rows": [{**row, "passed": False}]}
    assert "**95.0 %**, missed" in _script().written(written, missed)
    fewer = {**scores, "left_out": ["the recordings are not installed"]}
    assert "- the recordings are not installed\n" in _script().written(written, fewer)


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_scores", ROOT / "docs" / "write_scores.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

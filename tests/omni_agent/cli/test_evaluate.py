"""`omni-agent evaluate` and its options."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from omni_agent import Image, InputError, Speech, Task
from omni_agent.testing import ScriptedCore
from tests.omni_agent.cli.conftest import Command


@pytest.fixture
def pope(tmp_path: Path) -> Path:
    folder = tmp_path / "pope"
    folder.mkdir()
    Image(np.zeros((8, 8, 3), np.uint8)).save(folder / "a.png")
    lines = [
        {"question_id": n, "image": "a.png", "text": f"Is there a {name}?", "label": label}
        for n, (name, label) in enumerate((("dog", "yes"), ("cat", "no")))
    ]
    (folder / "coco_pope_random.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text("good morning\nthe colour of twenty one dogs\n")
    return tmp_path / "texts.txt"


@pytest.fixture
def ears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delitem(sys.modules, "two_ears", raising=False)
    (tmp_path / "two_ears.py").write_text(
        "heard = iter(['Good morning.', 'the color of 21 dogs'] * 2)\n"
        "def listen(samples, rate):\n    assert rate == 16_000\n    return next(heard)\n"
    )
    return "two_ears:listen"


def test_a_suites_files_are_measured(command: Command, pope: Path) -> None:
    ended = command("evaluate", "--suite", "pope", "--data", pope, "--json", "p.json", "--page", "looked/at")
    assert ended.status == 0
    assert "pope: 2 questions" in " ".join(ended.out.split())
    read = json.loads(Path("p.json").read_text())
    assert (read["model"], read["suite"], read["source"]) == ("omni-tiny", "pope", str(pope))
    assert read["questions"] == 2
    assert {row["name"]: row["value"] for row in read["rows"]} == {
        "accuracy": 0.5,
        "precision": 0.5,
        "recall": 1,
        "F1": 0.6667,
        "yes ratio": 1,
    }
    page = Path("looked/at/index.html").read_text()
    assert "Is there a cat?" in page
    assert "read as yes" in page


def test_a_recogniser_of_ones_own_reads_back(command: Command, texts: Path, ears: str) -> None:
    Path("normalizer.json").write_text('{"colour": "color"}')
    options = ("--suite", "speaking", "--data", texts, "--recogniser", ears, "--json", "s.json")
    for spelling, wrong in (((), 1), (("--spelling", "normalizer.json"), 0)):
        assert command("evaluate", *options, *spelling).status == 0
        (row,) = json.loads(Path("s.json").read_text())["rows"]
        assert (row["hits"], row["total"]) == (wrong, 7)


def test_sounds_are_written_down(command: Command, tmp_path: Path) -> None:
    Speech(np.zeros(1600, np.float32), 16_000).save(tmp_path / "a.wav")
    (tmp_path / "sounds.tsv").write_text("a.wav\tWhat is that?\n")
    ended = command("evaluate", "--suite", "recognition", "--data", "sounds.tsv")
    assert ended.status == 0
    assert "33.3 %" in ended.out


def test_rows_are_measured_with_and_without_a_setting(command: Command, core: ScriptedCore) -> None:
    options = ("--rows", "what", "--questions", "2", "--set", "answer.top_k=3", "--json", "s.json")
    beside = ("--beside", "answer.num_steps=2,answer.top_k=1", "--beside", "answer.seed=5")
    assert command("evaluate", *options, *beside).status == 0
    read = json.loads(Path("s.json").read_text())
    assert read["settings"] == {"answer.top_k": "3"}
    assert [row["name"] for row in read["rows"]] == [
        "what",
        "what, answer.num_steps 2, answer.top_k 1",
        "what, answer.seed 5",
    ]
    asked = [(each.settings.top_k, each.settings.num_steps, each.settings.seed) for each in core.requests]
    assert asked == [(3, None, 0)] * 2 + [(1, 2, 0)] * 2 + [(3, None, 5)] * 2
    # the same questions
    assert len({each.content for each in core.requests}) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--suite", "smell", "--data", "."), "given the suite 'smell'; wanted one of world, recognition"),
        (("--suite", "pope"), "given no data for the suite pope"),
        (("--suite", "mme", "--data", "nowhere"), "nowhere: there is no such folder"),
        (("--suite", "mme", "--data", "."), "given no task's folder"),
        (("--suite", "pope", "--data", "."), "given no file of POPE's questions"),
        (("--suite", "recognition", "--data", "."), "given no sounds with their texts"),
        (("--suite", "speaking", "--data", "."), "given no texts"),
        (("--suite", "pope", "--data", ".", "--rows", "what"), "--rows was given for the suite pope"),
        (("--suite", "pope", "--data", ".", "--seed", "0"), "--seed was given for the suite pope"),
        (("--suite", "pope", "--data", ".", "--development"), "--development was given for the suite pope"),
        (("--suite", "mme", "--data", ".", "--spelling", "a.json"), "--spelling was given for the suite mme"),
        (("--suite", "mme", "--data", ".", "--questions", "0"), "given 0 questions"),
        (("--data", "."), "--data was given for the suite world"),
        (("--recogniser", "ears:listen"), "--recogniser was given for the suite world"),
        (("--suite", "speaking", "--data", ".", "--recogniser", "ears"), "wanted module:function"),
        (("--suite", "speaking", "--data", ".", "--recogniser", "no_ears:listen"), "cannot be imported"),
        (("--suite", "speaking", "--data", ".", "--recogniser", "json:listen"), "has no function 'listen'"),
        (
            ("--suite", "speaking", "--data", ".", "--spelling", "no.json"),
            "no.json: no spellings",
        ),
        (("--set", "draw.steps=3"), "given the setting 'steps'"),
        (("--beside", "draw.num_steps=0"), "num_steps was 0"),
        (("--json", "scores.txt"), ".json"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_asked(
    command: Command, core: ScriptedCore, arguments: tuple[str, ...], said: str
) -> None:
    ended = command("evaluate", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("omni-agent: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert core.requests == []


def test_a_damaged_picture_ends_the_evaluation_in_one_line(command: Command, pope: Path) -> None:
    (pope / "a.png").write_bytes(b"no picture")
    ended = command("evaluate", "--suite", "pope", "--data", pope)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "a.png" in ended.err


def test_the_table_is_told_though_a_page_cannot_be_written(command: Command, pope: Path) -> None:
    Path("looked").mkdir()
    Path("looked/index-sounds").write_text("in the way")
    ended = command("evaluate", "--suite", "pope", "--data", pope, "--page", "looked")
    assert (ended.status, "index-sounds: the folder cannot be written" in ended.err) == (2, True)
    assert "accuracy" in ended.out


def test_spellings_are_a_json_object_of_texts(command: Command, texts: Path) -> None:
    Path("s.json").write_text('["colour"]')
    ended = command("evaluate", "--suite", "speaking", "--data", texts, "--spelling", "s.json")
    assert (ended.status, "s.json: wanted a JSON object of spellings" in ended.err) == (2, True)


def test_a_core_that_gives_nothing_is_wrong_and_the_table_says_why(
    command: Command, core: ScriptedCore, pope: Path
) -> None:
    core._script[Task.ANSWER] = InputError("it ended before it began")
    ended = command("evaluate", "--suite", "pope", "--data", pope)
    assert ended.status == 0
    assert "2 times: it ended before it began" in ended.out

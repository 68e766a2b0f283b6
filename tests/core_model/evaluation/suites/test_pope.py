"""POPE's files and scoring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from omni_agent.core import Core, Request, Task
from omni_agent.core_model.evaluation import Table, evaluate_suite
from omni_agent.core_model.evaluation.suites.pope import says_yes
from omni_agent.core_model.world import load_world, paint, sample_scene
from omni_agent.core_model.world.language import is_there
from omni_agent.errors import InputError
from omni_agent.testing import ScriptedCore
from omni_agent.values import Image

BLACK = np.zeros((8, 8, 3), np.uint8)


def write(folder: Path, name: str, lines: list[dict[str, object]]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def line(number: int, label: str, image: str = "a.png") -> dict[str, object]:
    return {"question_id": number, "image": image, "text": f"Is there a {number}?", "label": label}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "val2014").mkdir()
    Image(BLACK).save(tmp_path / "val2014" / "a.png")
    return tmp_path


def values(table: Table) -> dict[str, float]:
    return {f"{row.part}/{row.name}": row.share.value for row in table.rows}


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes, there is a dog.", True),
        ("No, there is none.", False),
        ("There is not a dog in the image. Yes.", False),
        ("I cannot tell. No.", True),
        ("nothing", True),
        ("NO", True),
        ("", True),
    ],
)
def test_an_answer_is_read_as_the_published_script_reads_it(answer: str, yes: bool) -> None:
    assert says_yes(answer) is yes


async def test_the_five_figures_are_those_of_the_published_script(folder: Path) -> None:
    labels = ["yes", "yes", "yes", "no", "no", "no", "no", "yes"]
    answers = ["Yes", "no", "Yes.", "yes", "No, none", "no", "not at all", "there is one"]
    write(folder, "coco_pope_random.json", [line(n, label) for n, label in enumerate(labels)])
    write(folder, "coco_ground_truth_objects.json", [{"dog": 3}])
    async with ScriptedCore({Task.ANSWER: answers}) as core:
        table = await evaluate_suite(core, "pope", folder, concurrency=1)
    # found 3, wrong 1, missed 1, rightly denied 3
    assert values(table) == {
        "coco_pope_random/accuracy": 6 / 8,
        "coco_pope_random/precision": 3 / 4,
        "coco_pope_random/recall": 3 / 4,
        "coco_pope_random/F1": 3 / 4,
        "coco_pope_random/yes ratio": 4 / 8,
    }
    low, high = table.rows[3].share.interval
    assert 0.2 < low < 0.75 < high <= 1
    assert (table.questions, table.suite, table.source) == (8, "pope", str(folder))
    wrong = [case for case in table.cases if not case.right]
    assert [(case.wanted, case.given, case.judged) for case in wrong] == [
        ("yes", "no", "read as no"),
        ("no", "yes", "read as yes"),
    ]


async def test_a_core_that_never_says_yes_has_no_precision(folder: Path) -> None:
    write(folder, "pope.jsonl", [line(1, "yes"), line(2, "no")])
    async with ScriptedCore({Task.ANSWER: "no"}) as core:
        table = await evaluate_suite(core, "pope", folder / "pope.jsonl")
    assert values(table) == {
        "pope/accuracy": 0.5,
        "pope/precision": 0,
        "pope/recall": 0,
        "pope/F1": 0,
        "pope/yes ratio": 0,
    }


async def test_as_many_questions_as_are_wanted_are_asked_of_each_file(folder: Path) -> None:
    for name in ("pope_popular.json", "pope_random.json"):
        write(folder, name, [line(n, "yes") for n in range(5)])
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        table = await evaluate_suite(core, "pope", folder, questions=2, concurrency=1)
        asked = [request.content[1] for request in core.requests]
    assert asked == ["Is there a 0?", "Is there a 1?"] * 2
    assert [row.part for row in table.rows] == ["pope_popular"] * 5 + ["pope_random"] * 5


async def test_omni_tiny_is_asked_about_pictures_of_its_world(tmp_path: Path) -> None:
    rng, world, lines = np.random.default_rng(5), load_world(), []
    for number in range(6):
        scene = sample_scene(rng, "train", "one")
        Image(paint(scene, rng)).save(tmp_path / f"{number}.png")
        shown = scene.combination.objects[0]
        other = world.objects[(shown.index + 30) % len(world.objects)]
        for there, thing in ((1, shown), (0, other)):
            asked = is_there(thing, there)
            lines.append({"image": f"{number}.png", "text": asked.text, "label": asked.answer})
    write(tmp_path, "world_pope.json", lines)
    async with Core.load("omni-tiny") as core:
        table = await evaluate_suite(core, "pope", tmp_path)
    assert values(table)["world_pope/accuracy"] > 0.8


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line(1, "maybe")], "line 1: the label was 'maybe'; wanted 'yes' or 'no'"),
        ([line(1, "yes"), line(2, "no", "b.png")], "line 2: there is no picture 'b.png' in"),
        ([{"image": "a.png", "label": "yes"}], "line 1: 'text' was None; wanted text"),
        ([["yes"]], "line 1: this is list; wanted one JSON object a line"),
        ([], "given no questions"),
    ],
)
async def test_a_line_that_is_none_of_popes_is_named(
    folder: Path, lines: list[dict[str, object]], said: str
) -> None:
    write(folder, "pope.json", lines)
    asked: list[Request] = []
    async with ScriptedCore({Task.ANSWER: lambda request: asked.append(request) or "yes"}) as core:
        with pytest.raises(InputError, match=said):
            await evaluate_suite(core, "pope", folder)
    assert asked == []


async def test_folders_without_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "questions.json").write_text("{}\n")
    async with ScriptedCore({}) as core:
        with pytest.raises(InputError, match="given no file of POPE's questions; wanted one at least"):
            await evaluate_suite(core, "pope", tmp_path)
        with pytest.raises(InputError, match="there is no such file or folder"):
            await evaluate_suite(core, "pope", tmp_path / "nowhere")
        (tmp_path / "pope.json").write_text("not json\n")
        with pytest.raises(InputError, match=r"pope.json, line 1: this is not JSON"):
            await evaluate_suite(core, "pope", tmp_path)
        (tmp_path / "pope.json").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="this is not text in UTF-8"):
            await evaluate_suite(core, "pope", tmp_path)


async def test_a_name_that_two_pictures_have_is_not_guessed(folder: Path) -> None:
    (folder / "train2014").mkdir()
    Image(BLACK).save(folder / "train2014" / "a.png")
    write(folder, "pope.json", [line(1, "yes", "val2014/a.png")])
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        await evaluate_suite(core, "pope", folder)
        write(folder, "pope.json", [line(1, "yes")])
        with pytest.raises(InputError, match=r"may be each of train2014/a.png, val2014/a.png"):
            await evaluate_suite(core, "pope", folder)

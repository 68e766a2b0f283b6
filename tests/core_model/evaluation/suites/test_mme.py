"""MME's folders and scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omni_agent.core import Core, Request, Task
from omni_agent.core_model.evaluation import Table, evaluate_suite
from omni_agent.core_model.evaluation.suites.mme import read_answer
from omni_agent.core_model.world import load_world, paint, sample_scene
from omni_agent.core_model.world.language import is_there
from omni_agent.errors import InputError
from omni_agent.testing import ScriptedCore
from omni_agent.values import Image, Text

BLACK = Image(np.zeros((8, 8, 3), np.uint8))


def write(texts: Path, pictures: Path, name: str, *questions: str, ending: str = ".jpg") -> None:
    for folder in (texts, pictures):
        folder.mkdir(parents=True, exist_ok=True)
    BLACK.save(pictures / f"{name}{ending}")
    (texts / f"{name}.txt").write_text("\n".join(questions) + "\n")


def values(table: Table) -> dict[str, float]:
    return {f"{row.part}/{row.name}": pytest.approx(row.share.value) for row in table.rows}


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Yes", "yes"),
        ("yes, it is", "yes"),
        ("no", "no"),
        ("Not at all", "no"),
        ("know", "no"),  # the first four letters are all that is read
        ("Sure, yes", "other"),
        ("nyes", "yes"),
        ("", "other"),
    ],
)
def test_an_answer_is_read_as_the_published_script_reads_it(answer: str, read: str) -> None:
    assert read_answer(answer) == read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    existence = tmp_path / "existence"
    write(existence, existence, "1", "a?\tYes", "b?\tNo")
    write(existence, existence, "2", "c?\tYes", "d?\tNo")
    write(tmp_path / "OCR" / "questions_answers_YN", tmp_path / "OCR" / "images", "3", "e?\tYes", "f?\tNo")
    write(tmp_path / "code_reasoning", tmp_path / "code_reasoning", "4", "g?\tYes", "h?\tNo", ending=".png")
    write(tmp_path / "my own", tmp_path / "my own", "5", "i?\tYes", "j?\tNo", ending=".PNG")
    results = tmp_path / "eval_tool" / "Your_Results"
    results.mkdir(parents=True)
    (results / "existence.txt").write_text("1.jpg\ta?\tYes\tYes\n")
    return tmp_path


async def test_the_scores_are_those_of_the_published_script(folder: Path) -> None:
    given = dict(zip("abcdefghij", "yes,no,yes,yes,yes,perhaps,no,yes,yes,no".split(","), strict=True))

    def answer(request: Request) -> str:
        question = request.content[1]
        assert isinstance(question, Text)
        return given[question[0]]

    async with ScriptedCore({Task.ANSWER: answer}) as core:
        table = await evaluate_suite(core, "mme", folder)
    assert values(table) == {
        "existence/accuracy": 3 / 4,
        "existence/accuracy+": 1 / 2,
        "existence/score": 125,
        "OCR/accuracy": 1 / 2,
        "OCR/accuracy+": 0,
        "OCR/score": 50,
        "code_reasoning/accuracy": 0,
        "code_reasoning/accuracy+": 0,
        "code_reasoning/score": 0,
        "my own/accuracy": 1,
        "my own/accuracy+": 1,
        "my own/score": 200,
        "sums/perception": 175,
        "sums/cognition": 0,
    }
    notes = {f"{row.part}/{row.name}": row.note for row in table.rows}
    assert notes["OCR/accuracy"] == "1 answers are neither yes nor no, and wrong"
    assert notes["sums/perception"].startswith("of 400, without count, position")
    assert "text_translation" in notes["sums/cognition"]
    assert table.questions == 10
    assert [case.judged for case in table.cases if case.part == "OCR" and not case.right] == ["read as other"]


async def test_points_are_points_in_the_table_and_in_json(folder: Path) -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        table = await evaluate_suite(core, "mme", folder / "existence")
    score = next(row for row in table.rows if row.name == "score")
    assert (score.cells.value, score.cells.interval) == ("50.0", "50.0 to 50.0")
    assert (score.as_dict()["value"], score.as_dict()["measure"], score.as_dict()["hits"]) == (
        50,
        "points",
        None,
    )


async def test_a_pictures_questions_stay_together_where_fewer_are_asked(folder: Path) -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        await evaluate_suite(core, "mme", folder / "existence", questions=3)
        assert [request.content[1] for request in core.requests] == ["a?", "b?"]


async def test_omni_tiny_is_asked_about_pictures_of_its_world(tmp_path: Path) -> None:
    rng, things = np.random.default_rng(6), load_world().objects
    task = tmp_path / "existence"
    task.mkdir()
    for number in range(6):
        scene = sample_scene(rng, "train", "one")
        Image(paint(scene, rng)).save(task / f"{number}.png")
        shown = scene.combination.objects[0]
        asked = (is_there(shown, 1), is_there(things[(shown.index + 30) % len(things)], 0))
        lines = [f"{each.text}\t{each.answer.title()}" for each in asked]
        (task / f"{number}.txt").write_text("\n".join(lines))
    async with Core.load("omni-tiny") as core:
        table = await evaluate_suite(core, "mme", tmp_path)
    assert table.rows[0].share.value > 0.8
    assert table.rows[2].share.value > 140


async def test_bad_folders_are_told_what_is_wanted(tmp_path: Path) -> None:
    async with ScriptedCore({}) as core:
        with pytest.raises(InputError, match="there is no such folder"):
            await evaluate_suite(core, "mme", tmp_path / "nowhere")
        with pytest.raises(
            InputError, match=r"given no task's folder; wanted one at least, such as existence/"
        ):
            await evaluate_suite(core, "mme", tmp_path)
        task = tmp_path / "count"
        write(task, task, "1", "a?\tYes", "b?\tPerhaps")
        with pytest.raises(
            InputError, match=r"1.txt, line 2: this was .* wanted a question, a tab, and Yes or No"
        ):
            await evaluate_suite(core, "mme", tmp_path)
        write(task, task, "1", "a?\tYes")
        with pytest.raises(InputError, match=r"1.txt: given 1 questions; wanted two"):
            await evaluate_suite(core, "mme", tmp_path)
        write(task, task, "1", "a?\tYes", "b?\tNo")
        (task / "2.txt").write_text("a?\tYes\nb?\tNo\n")
        with pytest.raises(InputError, match=r"2.txt: there is no picture 2 in .*count; put it there"):
            await evaluate_suite(core, "mme", tmp_path)
        apart = tmp_path / "scene" / "questions_answers_YN"
        apart.mkdir(parents=True)
        (task / "2.txt").unlink()
        with pytest.raises(InputError, match=r"questions_answers_YN: given no \.txt file"):
            await evaluate_suite(core, "mme", tmp_path)

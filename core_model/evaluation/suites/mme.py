"""MME: two questions with a yes and a no about each picture, in MME's folders and with MME's scoring (Fu et
al. 2023, arXiv 2306.13394; its eval_tool/calculation.py).

A task is a folder of pictures, each with a text file of the same name; or of two folders, `images` and
`questions_answers_YN`, of these. A text file has two lines: a question, a tab, and Yes or No.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.scores import Estimate, Share, drawn_anew
from omni_agent.core_model.evaluation.suites.files import checked, lines_of
from omni_agent.core_model.evaluation.table import Row
from omni_agent.errors import InputError
from omni_agent.values import Image
from omni_agent.values.image import SUFFIXES, check_picture

__all__ = ["COGNITION", "PERCEPTION", "MmePicture", "mme", "read_answer", "read_mme"]

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
SUMS = {"perception": PERCEPTION, "cognition": COGNITION}
PICTURES, QUESTIONS = "images", "questions_answers_YN"
ROW = "accuracy"

Read = Literal["yes", "no", "other"]


@dataclass(frozen=True, kw_only=True)
class MmePicture:
    """A picture and its questions, each with yes or no."""

    picture: Path
    questions: tuple[tuple[str, Read], ...]


async def mme(bench: Bench, tasks: Mapping[str, Sequence[MmePicture]], most: int | None = None) -> list[Row]:
    """MME's figures: of each task the accuracy of its questions, accuracy+ (both of a picture's right) and
    the score, the sum of the two in points (200 at most); and the scores' sums for perception and cognition.

    Args:
        bench: the evaluation under way.
        tasks: the pictures of each, as `read_mme` gives them.
        most: at most so many questions of each task, the first ones; a picture's questions stay together.
    """
    rows: list[Row] = []
    found: dict[str, np.ndarray] = {}
    for name, pictures in tasks.items():
        some = pictures if most is None else pictures[: max(most // 2, 1)]
        counts, others = await _asked(bench, name, some)
        found[name] = counts
        rows += _rows(name, counts, others)
    return rows + [row for title, names in SUMS.items() for row in _sum(title, names, found)]


def read_mme(source: Path) -> dict[str, list[MmePicture]]:
    """The pictures of each task with their questions, the published tasks first, in their order.

    Args:
        source: the folder of the tasks' folders, or one task's folder.

    Raises:
        InputError: no such folder, no task in it, or a file that is none of MME's.
    """
    if not source.is_dir():
        raise InputError(f"{source}: there is no such folder; wanted the folder of MME's tasks")
    folders = [source] if _holds_questions(source) else [path for path in source.iterdir() if path.is_dir()]
    tasks = {path.name: path for path in folders if _holds_questions(path)}
    if not tasks:
        raise InputError(
            f"{source}: given no task's folder; wanted one at least, such as existence/, with pictures and a"
            f" .txt file of two questions for each, or with {PICTURES}/ and {QUESTIONS}/"
        )
    known = [name for name in (*PERCEPTION, *COGNITION) if name in tasks]
    names = [*known, *sorted(set(tasks).difference(known))]
    return {name: _task(tasks[name]) for name in names}


def read_answer(answer: str) -> Read:
    """How MME reads an answer: yes or no where its first four letters hold it, yes first; else other."""
    start = answer.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def _holds_questions(folder: Path) -> bool:
    if (folder / QUESTIONS).is_dir():
        return True
    # eval_tool/Your_Results holds text files too, of answers, and no pictures
    kinds = {path.suffix.lower() for path in folder.iterdir() if path.is_file()}
    return ".txt" in kinds and not kinds.isdisjoint(SUFFIXES)


def _task(folder: Path) -> list[MmePicture]:
    apart = (folder / QUESTIONS).is_dir()
    texts, pictures = (folder / QUESTIONS, folder / PICTURES) if apart else (folder, folder)
    read = [
        MmePicture(picture=_picture(pictures, file), questions=_questions(file))
        for file in sorted(texts.glob("*.txt"))
    ]
    if not read:
        raise InputError(f"{texts}: given no .txt file; wanted one of two questions for each picture")
    return read


def _picture(folder: Path, text: Path) -> Path:
    for suffix in SUFFIXES:
        for ending in (suffix, suffix.upper()):
            path = folder / f"{text.stem}{ending}"
            if path.is_file():
                return checked(path, str(text), check_picture)
    raise InputError(f"{text}: there is no picture {text.stem} in {folder}; put it there")


def _questions(file: Path) -> tuple[tuple[str, Read], ...]:
    questions: list[tuple[str, Read]] = []
    for place, line in lines_of(file):
        question, tab, answer = line.strip().rpartition("\t")
        label = answer.strip().lower()
        if not tab or label not in ("yes", "no"):
            raise InputError(f"{place}: this was {line!r}; wanted a question, a tab, and Yes or No")
        questions.append((question.strip(), "yes" if label == "yes" else "no"))
    if len(questions) != 2:
        raise InputError(f"{file}: given {len(questions)} questions; wanted two, a line each")
    return tuple(questions)


async def _asked(bench: Bench, name: str, pictures: Sequence[MmePicture]) -> tuple[np.ndarray, int]:
    """For each picture how many answers were right, whether both were, and 1; and how many were neither yes
    nor no.
    """

    async def said_of(picture: Path, question: str) -> str:
        return await bench.core.answer(question, await asyncio.to_thread(Image.open, picture))

    async def answered(turn: int, one: MmePicture) -> tuple[int, int]:
        right = others = 0
        for number, (question, label) in enumerate(one.questions):
            answer = await bench.attempt(said_of(one.picture, question))
            read = read_answer(answer or "")
            right += read == label
            others += read == "other"
            bench.gallery.add(
                Case(
                    part=name,
                    row=ROW,
                    turn=2 * turn + number,
                    asked=(one.picture, question),
                    wanted=label,
                    given=answer,
                    judged=f"read as {read}",
                    right=read == label,
                )
            )
        return right, others

    done = await bench.each(name, pictures, answered)
    counts = np.array([(right, right == 2, 1) for right, _ in done], np.int64)
    return counts, sum(others for _, others in done)


def _rows(name: str, counts: np.ndarray, others: int) -> list[Row]:
    right, both, pictures = counts.sum(0).tolist()
    note = f"{others} answers are neither yes nor no, and wrong" if others else ""
    score = Estimate.of(float(_score(counts.sum(0))), _score(drawn_anew(counts)), 2 * pictures)
    return [
        Row(part=name, name=ROW, measure="right", share=Share(hits=right, total=2 * pictures), note=note),
        Row(part=name, name="accuracy+", measure="right", share=Share(hits=both, total=pictures)),
        Row(part=name, name="score", measure="points", share=score),
    ]


def _sum(title: str, names: Sequence[str], found: dict[str, np.ndarray]) -> list[Row]:
    """The sum of the scores of the tasks that were there; none where none was."""
    there = [name for name in names if name in found]
    if not there:
        return []
    missing = [name for name in names if name not in found]
    value = sum(float(_score(found[name].sum(0))) for name in there)
    # Each task is drawn anew by itself: their pictures are not the same.
    drawn = sum(_score(drawn_anew(found[name], seed=n)) for n, name in enumerate(there))
    return [
        Row(
            part="sums",
            name=title,
            measure="points",
            share=Estimate.of(value, np.asarray(drawn), 2 * sum(len(found[name]) for name in there)),
            note=f"of {200 * len(there)}" + (f", without {', '.join(missing)}" if missing else ""),
        )
    ]


def _score(sums: np.ndarray) -> np.ndarray:
    """The score of answers right, pictures wholly right and pictures, in points."""
    right, both, pictures = np.moveaxis(sums, -1, 0)
    return np.asarray(100 * (right / (2 * pictures) + both / pictures))

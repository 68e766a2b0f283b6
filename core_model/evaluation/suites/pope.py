"""POPE: whether a picture shows an object, in POPE's files and with POPE's scoring (Li et al. 2023,
arXiv 2305.10355; github.com/AoiDragon/POPE).

A file holds a JSON object a line: `{"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the
image?", "label": "yes"}`. Its pictures lie somewhere in the same folder.
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
from omni_agent.core_model.evaluation.suites.files import Folder, json_lines, text_field
from omni_agent.core_model.evaluation.table import Row
from omni_agent.errors import InputError
from omni_agent.values import Image
from omni_agent.values.image import check_picture

__all__ = ["PopeQuestion", "pope", "read_pope", "says_yes"]

ROW = "accuracy"


@dataclass(frozen=True, kw_only=True)
class PopeQuestion:
    """One question about one picture."""

    picture: Path
    text: str
    label: Literal["yes", "no"]


async def pope(
    bench: Bench, questions: Mapping[str, Sequence[PopeQuestion]], most: int | None = None
) -> list[Row]:
    """POPE's five figures of each of its files.

    Args:
        bench: the evaluation under way.
        questions: of each file, as `read_pope` gives them.
        most: at most so many questions of each file, the first ones.
    """
    return [row for name, each in questions.items() for row in await _rows(bench, name, each[:most])]


def read_pope(source: Path) -> dict[str, list[PopeQuestion]]:
    """The questions of each file, by its name without the ending.

    Args:
        source: a file of questions, or a folder with some whose names hold "pope"; pictures lie in the
            folder, at whatever depth.

    Raises:
        InputError: no such file or folder, a line that is none of POPE's, or a picture that is not there, is
            none, or is another line's.
    """
    folder = Folder.of(source)
    files = folder.files(source, lambda path: "pope" in path.name.lower(), (".json", ".jsonl"))
    if not files:
        raise InputError(
            f"{source}: given no file of POPE's questions; wanted one at least whose name holds 'pope' and"
            " ends in .json or .jsonl, such as coco_pope_random.json"
        )
    return {file.stem: _questions(folder, file) for file in files}


def says_yes(answer: str) -> bool:
    """How POPE reads an answer: no where its first sentence holds the word No, no or not, else yes."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"} & set(words)


def _questions(folder: Folder, file: Path) -> list[PopeQuestion]:
    questions = []
    for place, line in json_lines(file):
        label = text_field(line, "label", place)
        if label not in ("yes", "no"):
            raise InputError(f"{place}: the label was {label!r}; wanted 'yes' or 'no'")
        questions.append(
            PopeQuestion(
                picture=folder.find(
                    text_field(line, "image", place), place, what="picture", check=check_picture
                ),
                text=text_field(line, "text", place),
                label="yes" if label == "yes" else "no",
            )
        )
    if not questions:
        raise InputError(f"{file}: given no questions; wanted one JSON object a line")
    return questions


async def _rows(bench: Bench, name: str, questions: Sequence[PopeQuestion]) -> list[Row]:
    async def said_of(question: PopeQuestion) -> str:
        picture = await asyncio.to_thread(Image.open, question.picture)
        return await bench.core.answer(question.text, picture)

    async def answered(turn: int, question: PopeQuestion) -> bool:
        answer = await bench.attempt(said_of(question))
        yes = says_yes(answer or "")
        bench.gallery.add(
            Case(
                part=name,
                row=ROW,
                turn=turn,
                asked=(question.picture, question.text),
                wanted=question.label,
                given=answer,
                judged=f"read as {'yes' if yes else 'no'}",
                right=yes == (question.label == "yes"),
            )
        )
        return yes

    said = np.array(await bench.each(name, questions, answered))
    there = np.array([question.label == "yes" for question in questions])
    found = int((said & there).sum())
    counts = np.stack([said & there, said & ~there, ~said & there], 1).astype(np.int64)
    total = len(questions)
    right = Share(hits=int((said == there).sum()), total=total)
    return [
        Row(part=name, name=ROW, measure="right", share=right),
        Row(part=name, name="precision", measure="share", share=Share(hits=found, total=int(said.sum()))),
        Row(part=name, name="recall", measure="share", share=Share(hits=found, total=int(there.sum()))),
        Row(part=name, name="F1", measure="share", share=_f1(counts)),
        Row(part=name, name="yes ratio", measure="share", share=Share(hits=int(said.sum()), total=total)),
    ]


def _f1(counts: np.ndarray) -> Estimate:
    """F1 of what is found, said wrongly and missed by each question."""

    def f1(sums: np.ndarray) -> np.ndarray:
        found, wrong, missed = np.moveaxis(sums, -1, 0)
        return np.asarray(2 * found / np.maximum(2 * found + wrong + missed, 1))

    return Estimate.of(float(f1(counts.sum(0))), f1(drawn_anew(counts)), len(counts))

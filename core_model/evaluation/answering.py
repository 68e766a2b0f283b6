"""Questions about pictures, and sums: typed, or spoken by voices that were never trained on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import numpy as np

from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.scores import Share, agree
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.world import (
    Kind,
    Question,
    QuestionKind,
    Split,
    caption,
    paint,
    sample_question,
    sample_scene,
    sums,
)
from omni_agent.values import Image

__all__ = ["HEARD_VOICES", "describing", "questions_about", "spoken_questions", "sums_typed"]

HEARD_VOICES = ("awb", "ked")


class Asked(NamedTuple):
    """A question about a picture, and the right answer."""

    question: Question
    picture: Image
    voice: str


# Which scenes each row asks about, and which of their questions; each combination is asked equally often.
ROWS: dict[str, tuple[tuple[Kind, QuestionKind], ...]] = {
    "what": (("one", "what"),),
    "count": (("count", "count"),),
    "one or zero": (("one", "one or zero"), ("count", "one or zero"), ("pair", "one or zero")),
    "where": (("one", "where"), ("pair", "where")),
    "left or right": (("pair", "left"), ("pair", "right")),
    "is there": (("one", "is there"), ("count", "is there"), ("pair", "is there")),
}
WANTED = {"what": 0.9, "count": 0.8, "where": 0.95, "left or right": 0.85}
SPOKEN = ("what", "count", "where", "left or right", "is there")
SPOKEN_WANTED = 0.7


def questions_about(name: str) -> Callable[[Bench], Awaitable[list[Row]]]:
    """The part of that name in ROWS: typed questions about pictures."""

    async def part(bench: Bench) -> list[Row]:
        asked = sample(bench.rng(name), name, bench.questions, bench.split)

        async def right(one: Asked) -> bool:
            answer = await bench.attempt(bench.core.answer(one.question.text, one.picture))
            return agree(answer or "", one.question.answer)

        done = await bench.each(name, asked, right)
        return [Row(part="answers", name=name, measure="right", share=_share(done), wanted=WANTED.get(name))]

    return part


async def sums_typed(bench: Bench) -> list[Row]:
    """All 155 sums, which are all trained on."""

    async def right(question: Question) -> bool:
        return agree(await bench.attempt(bench.core.answer(question.text)) or "", question.answer)

    done = await bench.each("sum", sums(), right)
    note = "all 155; all of them trained on"
    return [Row(part="answers", name="sum", measure="right", share=_share(done), wanted=0.9, note=note)]


async def describing(bench: Bench) -> list[Row]:
    """Whole descriptions of pictures of every kind, right in every word."""
    rng = bench.rng("describe")
    scenes = [sample_scene(rng, bench.split) for _ in range(bench.questions)]
    pictures = [(Image(paint(scene, rng)), caption(scene)) for scene in scenes]

    async def right(one: tuple[Image, str]) -> bool:
        return agree(await bench.attempt(bench.core.describe(one[0])) or "", one[1])

    done = await bench.each("describe", pictures, right)
    note = "every word right"
    return [Row(part="answers", name="describe", measure="right", share=_share(done), note=note)]


async def spoken_questions(bench: Bench) -> list[Row]:
    """Questions about pictures asked aloud: answered from the sound, and from what was heard in it."""
    rng = bench.rng("spoken question")
    asked = [
        one for name in SPOKEN for one in sample(rng, name, -(-bench.questions // len(SPOKEN)), bench.split)
    ][: bench.questions]

    async def right(one: Asked) -> tuple[bool, bool]:
        sound = await bench.spoken(one.voice, one.question.text)
        straight = await bench.attempt(bench.core.answer(sound, one.picture))
        written = await bench.attempt(bench.core.transcribe(sound))
        after = await bench.attempt(bench.core.answer(written, one.picture)) if written else None
        return agree(straight or "", one.question.answer), agree(after or "", one.question.answer)

    done = await bench.each("spoken question", asked, right)
    voices = f"voices {' and '.join(HEARD_VOICES)}, never trained on"
    names = ("spoken question", "spoken question, written down first")
    return [
        Row(
            part="spoken questions",
            name=name,
            measure="right",
            share=_share([each[n] for each in done]),
            wanted=SPOKEN_WANTED,
            note=voices,
        )
        for n, name in enumerate(names)
    ]


def sample(rng: np.random.Generator, name: str, count: int, split: Split) -> list[Asked]:
    """So many questions of a row of ROWS, about fresh pictures of a split."""
    asked = []
    for turn in range(count):
        kind, question_kind = ROWS[name][turn % len(ROWS[name])]
        scene = sample_scene(rng, split, kind)
        question = sample_question(rng, scene, question_kind)
        asked.append(Asked(question, Image(paint(scene, rng)), HEARD_VOICES[turn % len(HEARD_VOICES)]))
    return asked


def _share(done: list[bool]) -> Share:
    return Share(hits=sum(done), total=len(done))

"""Questions about pictures, and sums, typed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from omni_agent.core_model.evaluation.bench import WorldBench
from omni_agent.core_model.evaluation.case import Asked, Case
from omni_agent.core_model.evaluation.distinct import distinct
from omni_agent.core_model.evaluation.scores import Share, agree
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.training.voices import CHOOSING_VOICES, MEASURING_VOICES
from omni_agent.core_model.world import (
    Combination,
    Kind,
    Question,
    QuestionKind,
    Scene,
    Split,
    caption,
    paint,
    sample_question,
    sample_scene,
    sums,
)
from omni_agent.values import Image, Text

__all__ = [
    "PictureQuestion",
    "describing",
    "different",
    "judged",
    "questions_about",
    "sample",
    "shared",
    "strange",
    "sums_typed",
    "voices_of",
]


class PictureQuestion(NamedTuple):
    """A question about a picture, the right answer, what the picture shows, and a voice to ask it in."""

    question: Question
    picture: Image
    shows: Combination
    voice: str


def voices_of(split: Split) -> tuple[str, str]:
    """Who asks aloud: of what is held out those voices that only measure, else those to choose by."""
    return MEASURING_VOICES if split == "held_out" else CHOOSING_VOICES


def strange(split: Split) -> str:
    """How little is known of these voices."""
    return "never trained on" if split == "held_out" else "never trained on, of speakers that were"


# Which scenes each row asks about, and which of their questions; each combination is asked equally often.
ROWS: dict[str, tuple[tuple[Kind, QuestionKind], ...]] = {
    "what": (("one", "what"),),
    "count": (("count", "count"),),
    "one or zero": (("one", "one or zero"), ("count", "one or zero"), ("pair", "one or zero")),
    "where": (("one", "where"), ("pair", "where")),
    "left or right": (("pair", "left"), ("pair", "right")),
    "is there": (("one", "is there"), ("count", "is there"), ("pair", "is there")),
}
WANTED = {"what": 0.99, "count": 0.97, "where": 0.99, "left or right": 0.97, "is there": 0.97, "sum": 0.99}
PART = "answers"


def questions_about(name: str) -> Callable[[WorldBench], Awaitable[list[Row]]]:
    """The part of that name in ROWS: typed questions about pictures."""

    async def part(bench: WorldBench) -> list[Row]:
        asked = sample(bench.rng(name), name, bench.questions, bench.split)

        async def right(turn: int, one: PictureQuestion) -> bool:
            answer = await bench.attempt(bench.core.answer(one.question.text, one.picture))
            return judged(bench, name, turn, (one.picture, one.question.text), one.question.answer, answer)

        done = await bench.each(name, asked, right)
        note = different([(one.shows, one.question) for one in asked])
        return [
            Row(part=PART, name=name, measure="right", share=shared(done), wanted=WANTED.get(name), note=note)
        ]

    return part


async def sums_typed(bench: WorldBench) -> list[Row]:
    """All 155 sums, which are all trained on."""

    async def right(turn: int, question: Question) -> bool:
        answer = await bench.attempt(bench.core.answer(question.text))
        return judged(bench, "sum", turn, (question.text,), question.answer, answer)

    done = await bench.each("sum", sums(), right)
    note = "all 155; all of them trained on"
    return [Row(part=PART, name="sum", measure="right", share=shared(done), wanted=WANTED["sum"], note=note)]


async def describing(bench: WorldBench) -> list[Row]:
    """Whole descriptions of pictures of every kind, right in every word."""
    rng = bench.rng("describe")
    scenes = distinct(
        lambda: sample_scene(rng, bench.split), lambda scene: scene.combination, bench.questions
    )
    pictures = [(Image(paint(scene, rng)), caption(scene)) for scene in scenes]

    async def right(turn: int, one: tuple[Image, str]) -> bool:
        picture, words = one
        return judged(
            bench, "describe", turn, (picture,), words, await bench.attempt(bench.core.describe(picture))
        )

    done = await bench.each("describe", pictures, right)
    note = "; ".join(
        ["every word right", *filter(None, [different([scene.combination for scene in scenes])])]
    )
    return [Row(part=PART, name="describe", measure="right", share=shared(done), note=note)]


def sample(rng: np.random.Generator, name: str, count: int, split: Split) -> list[PictureQuestion]:
    """So many questions of a row of ROWS, about fresh pictures of a split; none is asked again about a
    picture that shows the same while there is another.
    """
    kinds = ROWS[name]
    drawn = [
        distinct(
            partial(_drawn, rng, split, kind, question_kind),
            lambda pair: (pair[0].combination, pair[1]),
            len(range(first, count, len(kinds))),
        )
        for first, (kind, question_kind) in enumerate(kinds)
    ]
    asked, voices = [], voices_of(split)
    for turn in range(count):
        scene, question = drawn[turn % len(kinds)][turn // len(kinds)]
        voice = voices[turn // len(kinds) % len(voices)]
        asked.append(PictureQuestion(question, Image(paint(scene, rng)), scene.combination, voice))
    return asked


def _drawn(
    rng: np.random.Generator, split: Split, kind: Kind, question_kind: QuestionKind
) -> tuple[Scene, Question]:
    scene = sample_scene(rng, split, kind)
    return scene, sample_question(rng, scene, question_kind)


def different(asked: Sequence[Hashable]) -> str:
    """A note on how many of these are different; none where all are."""
    count = len(set(asked))
    return "" if count == len(asked) else f"of them {count} different"


def judged(
    bench: WorldBench,
    row: str,
    turn: int,
    asked: tuple[Asked, ...],
    wanted: str,
    answer: Text | None,
    *,
    part: str = PART,
) -> bool:
    """Whether an answer is the wanted one; what was asked is kept to be looked at."""
    right = agree(answer or "", wanted)
    case = Case(part=part, row=row, turn=turn, asked=asked, wanted=wanted, given=answer, right=right)
    bench.gallery.add(case)
    return right


def shared(done: Sequence[bool]) -> Share:
    """How many of them hold."""
    return Share(hits=sum(done), total=len(done))

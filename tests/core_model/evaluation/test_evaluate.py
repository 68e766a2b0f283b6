"""A whole evaluation, of a core that knows nearly everything and of one that knows nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from omni_agent.core import Core, Request, Task
from omni_agent.core_model.evaluation import PictureJudge, Table, evaluate
from omni_agent.core_model.evaluation.scores import Share
from omni_agent.core_model.evaluation.speech_judge import SpeechJudge
from omni_agent.core_model.training.voices import speak_with
from omni_agent.core_model.world import (
    Combination,
    Kind,
    Split,
    caption,
    load_world,
    paint,
    place,
    questions,
    sample_combination,
    sums,
)
from omni_agent.errors import InputError
from omni_agent.testing import ScriptedCore
from omni_agent.values import Image, Speech, Text


class Knowing:
    """Answers as the judges see and hear, speaks with the original voice, paints what is asked for."""

    def __init__(self) -> None:
        self.judge = PictureJudge.load()
        self.ear: SpeechJudge | None = None

    def answer(self, request: Request) -> str:
        question = next(str(self.text(part)) for part in request.content if not isinstance(part, Image))
        pictures = [part for part in request.content if isinstance(part, Image)]
        known = questions(self.seen(pictures[0])) if pictures else sums()
        return next((each.answer for each in known if each.text == question), "nothing")

    def describe(self, request: Request) -> str:
        (picture,) = request.content
        assert isinstance(picture, Image)
        return caption(self.seen(picture))

    def draw(self, request: Request) -> Image:
        text = self.text(request.content[0]).removeprefix("draw ")
        rng = np.random.default_rng(request.settings.seed)
        return Image(paint(place(rng, wanted_by(text)), rng))

    def transcribe(self, request: Request) -> str:
        return self.text(request.content[0])

    def speak(self, request: Request) -> Speech:
        return Speech(*speak_with("rms", self.text(request.content[0])))

    def text(self, part: Text | Speech | Image) -> str:
        if isinstance(part, Text):
            return part
        assert isinstance(part, Speech)
        self.ear = self.ear or SpeechJudge()
        return self.ear.transcribe(part.samples, part.rate)

    def seen(self, picture: Image) -> Combination:
        (seen,) = self.judge.read([picture.array])
        kind: Kind = "pair" if seen.layout == "pair" else "one" if seen.number == 1 else "count"
        return combination(kind, seen.objects, 1 if kind == "pair" else seen.number, seen.background)


def combination(kind: Kind, names: tuple[str, ...], number: int, background: str) -> Combination:
    world = load_world()
    return Combination(
        kind=kind,
        objects=tuple(world.object(name) for name in names),
        number=number,
        background=world.background(background),
    )


def wanted_by(words: str) -> Combination:
    """The combination that a caption describes; a dog on the grass where the words make no sense."""
    world = load_world()
    for place_ in world.backgrounds:
        things = words.removesuffix(f" {place_.phrase}")
        if things == words:
            continue
        names = {form: each.name for each in world.objects for form in (each.name, each.phrase)}
        parts = things.split(" and ")
        if len(parts) == 2 and all(part in names for part in parts):
            return combination("pair", (names[parts[0]], names[parts[1]]), 1, place_.name)
        if things in names:
            return combination("one", (names[things],), 1, place_.name)
        number, _, plural = things.partition(" ")
        for each in world.objects:
            if plural == each.plural and number in world.numbers[2:6]:
                return combination("count", (each.name,), world.numbers.index(number), place_.name)
    return combination("one", ("dog",), 1, "grass")


@pytest.fixture
async def knowing() -> AsyncIterator[ScriptedCore]:
    knows = Knowing()
    script = {
        Task.ANSWER: knows.answer,
        Task.DESCRIBE: knows.describe,
        Task.DRAW: knows.draw,
        Task.TRANSCRIBE: knows.transcribe,
        Task.SPEAK: knows.speak,
    }
    async with ScriptedCore(script) as core:
        yield core


def values(table: Table) -> dict[str, float]:
    return {f"{row.part}/{row.name}": row.share.value for row in table.rows}


async def test_a_core_that_knows_answers_typed_questions_right(knowing: ScriptedCore) -> None:
    table = await evaluate(knowing, "answers", 20, seed=1)
    assert min(values(table).values()) > 0.9
    assert [row.name for row in table.rows][:3] == ["what", "count", "one or zero"]
    assert [row.share.total for row in table.rows] == [20, 20, 20, 20, 20, 20, 155, 20]


async def test_a_core_that_draws_what_is_asked_for_is_recognised(knowing: ScriptedCore) -> None:
    table = await evaluate(knowing, "drawing", 8)
    shares = values(table)
    assert shares.pop("drawing/one: two seeds") > 0
    assert set(shares.values()) == {1.0}


async def test_a_core_that_hears_and_speaks_as_the_judge_does_is_understood(knowing: ScriptedCore) -> None:
    rows = ["hearing", "speaking", "spoken questions", "spoken answers", "drawing spoken"]
    table = await evaluate(knowing, rows, 6)
    shares = values(table)
    assert shares["hearing/number words"] < 0.6
    assert shares["spoken questions/answered in speech"] > 0.4
    assert shares["speaking/all"] < 0.2
    assert shares["hearing/awb"] < 0.4
    assert shares["spoken questions/spoken question"] > 0.4
    said = next(row for row in table.rows if (row.part, row.name) == ("speaking", "all"))
    assert "chance" in said.note
    short = next(row for row in table.rows if row.name == "short answers")
    assert (short.measure, short.share.total) == ("right", 6)
    assert short.share.value > 0.6
    assert "of all 89; of the original voice" in short.note
    assert {case.row for case in table.cases if case.part == "speaking"} == {
        "sentences",
        "answers",
        "short answers",
    }
    parts = {row.name: row.share.total for row in table.rows if row.part == "speaking"}
    assert 0 < parts["never said"] < parts["all"] == parts["sentences"] + parts["answers"]
    numbers = next(row for row in table.rows if row.name == "number words")
    assert isinstance(numbers.share, Share)
    # What the core says is the original voice, so it keeps to what is wanted.
    assert said.wanted == pytest.approx(said.share.value + 0.25)


async def test_each_kind_of_question_is_asked_aloud_beside_the_same_typed() -> None:
    def answer(request: Request) -> str:
        asked = request.content[-1]
        return "yes" if isinstance(asked, Text) else "no"

    async with ScriptedCore({Task.ANSWER: answer}) as core:
        table = await evaluate(core, "spoken by kind", 8)
    assert [(row.part, row.name, row.share.total) for row in table.rows] == [
        ("spoken questions", kind, 8)
        for kind in ("what", "count", "where", "left or right", "is there", "sum")
    ]
    there = table.rows[4]
    typed = float(there.note.split()[3]) / 100
    assert there.share.value == pytest.approx(1 - typed)
    assert there.wanted == pytest.approx(typed - 0.08)
    assert table.rows[0].wanted == 0


async def test_voices_to_choose_by_are_others_than_those_that_measure(knowing: ScriptedCore) -> None:
    splits: tuple[Split, ...] = ("held_out", "development")
    tables = [await evaluate(knowing, "hearing", 2, split=split) for split in splits]
    assert [[row.name for row in table.rows[:3]] for table in tables] == [
        ["awb", "ked", "awb and ked"],
        ["slt_arctic_hts", "kal_diphone", "slt_arctic_hts and kal_diphone"],
    ]


async def test_three_are_the_right_object_in_the_wrong_number() -> None:
    def three(request: Request) -> Image:
        rng = np.random.default_rng(request.settings.seed)
        wanted = wanted_by(str(request.content[0]).removeprefix("draw "))
        crowd = replace(wanted, kind="count", number=3)
        return Image(paint(place(rng, crowd), rng))

    async with ScriptedCore({Task.DRAW: three}) as core:
        shares = values(await evaluate(core, "drawing", 6))
    assert shares["drawing/one: object"] > 0.8
    assert shares["drawing/one: number"] == 0


async def test_a_tokenizer_alone_is_measured_where_it_can_be_had(knowing: ScriptedCore) -> None:
    assert (await evaluate(knowing, "image tokenizer", 4)).rows == ()
    async with Core.load("omni-tiny") as core:
        table = await evaluate(core, "image tokenizer", 8)
    assert [(row.part, row.name, row.share.total) for row in table.rows] == [
        ("image tokenizer", kind, 8) for kind in ("one", "count", "pair")
    ]
    assert min(values(table).values()) >= 0.75


async def test_a_core_that_gives_nothing_is_wrong_and_the_table_says_why() -> None:
    nothing = InputError("omni-tiny ended its text before it began")

    def fail(request: Request) -> str:
        raise nothing

    async with ScriptedCore({Task.ANSWER: fail, Task.DRAW: fail}) as core:
        table = await evaluate(core, ["what", "drawing"], 5)
    assert set(values(table).values()) == {0.0}
    assert table.failures == {str(nothing): 25}


async def test_the_same_seed_asks_the_same_whatever_else_is_measured() -> None:
    asked = []
    for rows in (["count"], ["what", "count"]):
        async with ScriptedCore({Task.ANSWER: lambda request: "two"}) as core:
            await evaluate(core, rows, 6, seed=3)
            asked.append([request.content for request in core.requests[-6:]])
    assert asked[0] == asked[1]


async def test_only_the_held_out_split_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = []

    def watched(rng: np.random.Generator, split: str, *rest: object, **options: object) -> Combination:
        splits.append(split)
        return sample_combination(rng, split, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("omni_agent.core_model.world.scenes.sample_combination", watched)
    async with ScriptedCore({Task.ANSWER: lambda request: "two"}) as core:
        await evaluate(core, ["what", "count", "where", "left or right", "is there"], 4)
    assert splits == ["held_out"] * 20


async def test_unknown_rows_are_refused_with_the_known_ones() -> None:
    async with ScriptedCore({}) as core:
        with pytest.raises(InputError, match="given the rows 'smell'; wanted one of all, answers"):
            await evaluate(core, "smell")

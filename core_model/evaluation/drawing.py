"""Drawing: what the judge of pictures recognises in pictures drawn from prompts, and how seeds differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from omni_agent.core import Settings
from omni_agent.core_model.evaluation.answering import different, voices_of
from omni_agent.core_model.evaluation.bench import WorldBench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.distinct import distinct
from omni_agent.core_model.evaluation.picture_judge import Seen
from omni_agent.core_model.evaluation.scores import Share
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.world import KINDS, Combination, Kind, caption, draw_prompt, sample_combination
from omni_agent.values import Image

__all__ = ["drawing", "drawing_spoken"]

OBJECT_WANTED, NUMBER_WANTED, BACKGROUND_WANTED, DIFFER_WANTED = 0.95, 0.85, 0.97, 0.9
# The second drawing of a prompt has a seed that no first one has.
SECOND = 1_000_000
NOT_DRAWN = Seen(layout="nothing", objects=(), background="", confidence=1.0)
PART = "drawing"

Right: TypeAlias = Callable[[Combination, Seen], bool]


class Drawn(NamedTuple):
    """A picture drawn from a prompt, if one was, and what the judge sees in it."""

    wanted: Combination
    picture: Image | None
    seen: Seen


async def drawing(bench: WorldBench) -> list[Row]:
    """Drawings of each kind from typed prompts, and single objects drawn twice."""
    rng = bench.rng("drawing")
    wanted = {kind: _combinations(rng, bench, kind) for kind in KINDS}
    drawn = {kind: await _draw(bench, f"draw {kind}", wanted[kind]) for kind in KINDS}
    again = await _draw(bench, "draw one again", wanted["one"], first_seed=SECOND)
    every = [each for kind in KINDS for each in drawn[kind]]
    return [
        _row(bench, "one: object", drawn["one"], _objects_right, wanted=OBJECT_WANTED),
        _row(bench, "one: number", drawn["one"], _number_right, wanted=NUMBER_WANTED),
        _row(bench, "count: object", drawn["count"], _objects_right, wanted=OBJECT_WANTED),
        _row(bench, "count: number", drawn["count"], _number_right, wanted=NUMBER_WANTED),
        _row(bench, "pair: both objects", drawn["pair"], _objects_right, wanted=OBJECT_WANTED),
        _row(bench, "all: background", every, _background_right, wanted=BACKGROUND_WANTED),
        _two_seeds(drawn["one"], again),
    ]


async def drawing_spoken(bench: WorldBench) -> list[Row]:
    """Single objects drawn from prompts spoken by voices that were never trained on."""
    wanted = _combinations(bench.rng("drawing spoken"), bench, "one")
    drawn = await _draw(bench, "draw spoken", wanted, spoken=True)
    return [_row(bench, "one, asked aloud: object", drawn, _objects_right)]


def _combinations(rng: np.random.Generator, bench: WorldBench, kind: Kind) -> list[Combination]:
    return distinct(
        lambda: sample_combination(rng, bench.split, kind), lambda combination: combination, bench.questions
    )


async def _draw(
    bench: WorldBench, what: str, wanted: Sequence[Combination], *, first_seed: int = 0, spoken: bool = False
) -> list[Drawn]:
    judge = await bench.picture_judge()
    voices = voices_of(bench.split)

    async def one(turn: int, combination: Combination) -> Drawn:
        text = draw_prompt(combination)
        prompt = await bench.spoken(voices[turn % len(voices)], text) if spoken else text
        picture = await bench.attempt(bench.core.draw(prompt, settings=Settings(seed=first_seed + turn)))
        if picture is None:
            return Drawn(combination, None, NOT_DRAWN)
        (seen,) = await asyncio.to_thread(judge.read, [picture.array])
        return Drawn(combination, picture, seen)

    return await bench.each(what, wanted, one)


def _two_seeds(first: Sequence[Drawn], second: Sequence[Drawn]) -> Row:
    differ = sum(
        one.picture is not None and other.picture is not None and one.picture != other.picture
        for one, other in zip(first, second, strict=True)
    )
    apart = sum(
        one.seen.objects != other.seen.objects or one.seen.background != other.seen.background
        for one, other in zip(first, second, strict=True)
    )
    return Row(
        part=PART,
        name="one: two seeds",
        measure="differ",
        share=Share(hits=differ, total=len(first)),
        wanted=DIFFER_WANTED,
        note=f"pictures differ; the judge reads {apart} of them as something else",
    )


def _objects_right(wanted: Combination, seen: Seen) -> bool:
    """The judge names the wanted objects and no others, however many; of a pair, each on its side."""
    return seen.objects == tuple(shown.name for shown in wanted.objects)


def _number_right(wanted: Combination, seen: Seen) -> bool:
    return seen.layout != "pair" and seen.number == wanted.number


def _background_right(wanted: Combination, seen: Seen) -> bool:
    return seen.background == wanted.background.name


def _row(
    bench: WorldBench, name: str, drawn: Sequence[Drawn], right: Right, *, wanted: float | None = None
) -> Row:
    hits = 0
    for turn, each in enumerate(drawn):
        hit = right(each.wanted, each.seen)
        hits += hit
        prompt = draw_prompt(each.wanted)
        bench.gallery.add(
            Case(
                part=PART,
                row=name,
                turn=turn,
                asked=(prompt,),
                wanted=caption(each.wanted),
                given=each.picture,
                judged=f"the judge sees {_words(each.seen)}",
                right=hit,
            )
        )
    note = different([each.wanted for each in drawn])
    share = Share(hits=hits, total=len(drawn))
    return Row(part=PART, name=name, measure="right", share=share, wanted=wanted, note=note)


def _words(seen: Seen) -> str:
    things = " and ".join(seen.objects) or "nothing"
    return f"{seen.layout}: {things}, {seen.background}" if seen.background else "no picture"

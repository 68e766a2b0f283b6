"""Drawing: what the judge of pictures recognises in pictures drawn from prompts, and how seeds differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from omni_agent.core import Settings
from omni_agent.core_model.evaluation.answering import HEARD_VOICES
from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.picture_judge import Seen
from omni_agent.core_model.evaluation.scores import Share
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.world import KINDS, Combination, draw_prompt, sample_combination
from omni_agent.values import Image

__all__ = ["drawing", "drawing_spoken"]

WANTED = 0.75
# The second drawing of a prompt has a seed that no first one has.
SECOND = 1_000_000
NOT_DRAWN = Seen(layout="nothing", objects=(), background="", confidence=1.0)


class Drawn(NamedTuple):
    """A picture drawn from a prompt, if one was, and what the judge sees in it."""

    wanted: Combination
    picture: Image | None
    seen: Seen


async def drawing(bench: Bench) -> list[Row]:
    """Drawings of each kind from typed prompts, and single objects drawn twice."""
    rng = bench.rng("drawing")
    wanted = {
        kind: [sample_combination(rng, bench.split, kind) for _ in range(bench.questions)] for kind in KINDS
    }
    drawn = {kind: await _draw(bench, f"draw {kind}", wanted[kind]) for kind in KINDS}
    again = await _draw(bench, "draw one again", wanted["one"], first_seed=SECOND)
    every = [each for kind in KINDS for each in drawn[kind]]
    return [
        _row("one: object", drawn["one"], _objects_right, wanted=WANTED),
        _row("count: object", drawn["count"], _objects_right),
        _row("count: number", drawn["count"], _number_right),
        _row("pair: both objects", drawn["pair"], _objects_right),
        _row("all: background", every, _background_right),
        _two_seeds(drawn["one"], again),
    ]


async def drawing_spoken(bench: Bench) -> list[Row]:
    """Single objects drawn from prompts spoken by voices that were never trained on."""
    rng = bench.rng("drawing spoken")
    wanted = [sample_combination(rng, bench.split, "one") for _ in range(bench.questions)]
    drawn = await _draw(bench, "draw spoken", wanted, spoken=True)
    return [_row("one, asked aloud: object", drawn, _objects_right)]


async def _draw(
    bench: Bench, what: str, wanted: Sequence[Combination], *, first_seed: int = 0, spoken: bool = False
) -> list[Drawn]:
    judge = await bench.picture_judge()

    async def one(item: tuple[int, Combination]) -> Drawn:
        turn, combination = item
        text = draw_prompt(combination)
        prompt = await bench.spoken(HEARD_VOICES[turn % len(HEARD_VOICES)], text) if spoken else text
        picture = await bench.attempt(bench.core.draw(prompt, settings=Settings(seed=first_seed + turn)))
        if picture is None:
            return Drawn(combination, None, NOT_DRAWN)
        (seen,) = await asyncio.to_thread(judge.read, [picture.array])
        return Drawn(combination, picture, seen)

    return await bench.each(what, list(enumerate(wanted)), one)


def _two_seeds(first: Sequence[Drawn], second: Sequence[Drawn]) -> Row:
    differ = sum(one.picture != other.picture for one, other in zip(first, second, strict=True))
    apart = sum(
        one.seen.objects != other.seen.objects or one.seen.background != other.seen.background
        for one, other in zip(first, second, strict=True)
    )
    return Row(
        part="drawing",
        name="one: two seeds",
        measure="differ",
        share=Share(hits=differ, total=len(first)),
        note=f"pictures differ; the judge reads {apart} of them as something else",
    )


def _objects_right(wanted: Combination, seen: Seen) -> bool:
    """The judge names the wanted objects and no others; of a pair, each on its side."""
    return seen.objects == tuple(shown.name for shown in wanted.objects)


def _number_right(wanted: Combination, seen: Seen) -> bool:
    return seen.layout != "pair" and seen.number == wanted.number


def _background_right(wanted: Combination, seen: Seen) -> bool:
    return seen.background == wanted.background.name


def _row(
    name: str,
    drawn: Sequence[Drawn],
    right: Callable[[Combination, Seen], bool],
    *,
    wanted: float | None = None,
) -> Row:
    hits = sum(right(each.wanted, each.seen) for each in drawn)
    return Row(
        part="drawing", name=name, measure="right", share=Share(hits=hits, total=len(drawn)), wanted=wanted
    )

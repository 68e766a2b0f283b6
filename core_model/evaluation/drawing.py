"""Drawing: what the judge of pictures recognises in pictures drawn from prompts, and how seeds differ."""

from __future__ import annotations

from collections.abc import Callable

from omni_agent.core import Settings
from omni_agent.core_model.evaluation.answering import HEARD_VOICES
from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.picture_judge import Seen
from omni_agent.core_model.evaluation.scores import Share
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.world import KINDS, Combination, draw_prompt, sample_combination
from omni_agent.values import Image

__all__ = ["drawing", "drawing_spoken"]

FLOOR = 0.75
# The second drawing of a prompt has a seed that no first one has.
SECOND = 1_000_000


async def drawing(bench: Bench) -> list[Row]:
    """Drawings of each kind from typed prompts, and single objects drawn twice."""
    rng = bench.rng("drawing")
    judge = await bench.picture_judge()
    rows: list[Row] = []
    everything: list[tuple[Combination, Seen]] = []
    singles: list[tuple[int, str, Image, Seen]] = []
    for kind in KINDS:
        wanted = [sample_combination(rng, bench.split, kind) for _ in range(bench.questions)]

        async def drawn(item: tuple[int, Combination]) -> Image:
            return await bench.core.draw(draw_prompt(item[1]), settings=Settings(seed=item[0]))

        pictures = await bench.each(f"draw {kind}", list(enumerate(wanted)), drawn)
        pairs = list(zip(wanted, judge.read([picture.array for picture in pictures]), strict=True))
        everything += pairs
        rows.append(_row(f"draw {kind}: object", pairs, _objects_right, FLOOR if kind == "one" else None))
        if kind == "count":
            rows.append(_row("draw count: number", pairs, _number_right))
        if kind == "one":
            singles = [
                (n, draw_prompt(combination), picture, seen)
                for n, ((combination, seen), picture) in enumerate(zip(pairs, pictures, strict=True))
            ]
    rows.append(_row("background", everything, _background_right))

    async def again(item: tuple[int, str, Image, Seen]) -> Image:
        return await bench.core.draw(item[1], settings=Settings(seed=SECOND + item[0]))

    second = await bench.each("draw again", singles, again)
    seen_again = judge.read([picture.array for picture in second])
    differ = [
        (first.array != other.array).any() for (_, _, first, _), other in zip(singles, second, strict=True)
    ]
    apart = sum(
        _reading(seen) != _reading(other) for (*_, seen), other in zip(singles, seen_again, strict=True)
    )
    rows.append(
        Row(
            part="drawing",
            name="two seeds",
            measure="differ",
            share=Share(hits=sum(map(bool, differ)), total=len(differ)),
            note=f"the judge reads {apart} of {len(singles)} differently",
        )
    )
    return rows


async def drawing_spoken(bench: Bench) -> list[Row]:
    """Single objects drawn from prompts spoken by voices that were never trained on."""
    rng = bench.rng("drawing spoken")
    judge = await bench.picture_judge()
    wanted = [sample_combination(rng, bench.split, "one") for _ in range(bench.questions)]

    async def drawn(item: tuple[int, Combination]) -> Image:
        sound = await bench.spoken(HEARD_VOICES[item[0] % len(HEARD_VOICES)], draw_prompt(item[1]))
        return await bench.core.draw(sound, settings=Settings(seed=item[0]))

    pictures = await bench.each("draw spoken", list(enumerate(wanted)), drawn)
    pairs = list(zip(wanted, judge.read([picture.array for picture in pictures]), strict=True))
    return [_row("draw one, spoken: object", pairs, _objects_right)]


def _objects_right(wanted: Combination, seen: Seen) -> bool:
    """The judge names the wanted objects and no others; of a pair, each on its side."""
    return seen.objects == tuple(shown.name for shown in wanted.objects)


def _number_right(wanted: Combination, seen: Seen) -> bool:
    return seen.number == wanted.number and seen.layout != "pair"


def _background_right(wanted: Combination, seen: Seen) -> bool:
    return seen.background == wanted.background.name


def _reading(seen: Seen) -> tuple[str, tuple[str, ...], str]:
    return seen.layout, seen.objects, seen.background


def _row(
    name: str,
    pairs: list[tuple[Combination, Seen]],
    right: Callable[[Combination, Seen], bool],
    floor: float | None = None,
) -> Row:
    hits = sum(right(wanted, seen) for wanted, seen in pairs)
    return Row(
        part="drawing", name=name, measure="right", share=Share(hits=hits, total=len(pairs)), floor=floor
    )

"""What the image tokenizer alone keeps: pictures become tokens and pixels again, and the judge reads those.

No core sees or draws better than its tokenizer lets through, so these rows bound those of the core.
"""

from __future__ import annotations

import asyncio
from functools import partial

from omni_agent.core_model.evaluation.answering import different, shared
from omni_agent.core_model.evaluation.bench import WorldBench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.distinct import distinct
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.local_core import LocalCore
from omni_agent.core_model.world import KINDS, Kind, Scene, caption, paint, sample_scene
from omni_agent.values import Image

__all__ = ["through_tokenizer"]

PART = "image tokenizer"
WANTED = {"one": 0.99, "count": 0.95, "pair": 0.95}


async def through_tokenizer(bench: WorldBench) -> list[Row]:
    """Pictures of each kind after the tokenizer alone, and as a comparison as they were; none of a core that
    is elsewhere, whose tokenizer cannot be had.
    """
    core = bench.core
    if not isinstance(core, LocalCore):
        return []
    judge = await bench.picture_judge()
    rows = []
    for kind in KINDS:
        rng = bench.rng(f"tokenizer {kind}")
        scenes = distinct(
            partial(sample_scene, rng, bench.split, kind),
            lambda scene: scene.combination,
            bench.questions,
        )
        painted = [(scene, Image(paint(scene, rng))) for scene in scenes]

        async def recognised(turn: int, one: tuple[Scene, Image], kind: Kind = kind) -> tuple[bool, bool]:
            scene, before = one
            after = await core.decoded(await core.tokenized(before))
            read = await asyncio.to_thread(judge.read, [before.array, after.array])
            shown = scene.combination
            names = tuple(thing.name for thing in shown.objects)
            as_shown = [
                seen.objects == names
                and (seen.layout == "pair") == (shown.kind == "pair")
                and (shown.kind == "pair" or seen.number == shown.number)
                for seen in read
            ]
            case = Case(
                part=PART,
                row=kind,
                turn=turn,
                asked=(before,),
                wanted=caption(scene),
                given=after,
                judged=f"the judge sees {read[1].layout}: {' and '.join(read[1].objects)}",
                right=as_shown[1],
            )
            bench.gallery.add(case)
            return as_shown[0], as_shown[1]

        done = await bench.each(f"tokenizer {kind}", painted, recognised)
        before = sum(each[0] for each in done)
        notes = [
            f"objects and number; of the pictures themselves {100 * before / len(done):.1f} %",
            different([scene.combination for scene in scenes]),
        ]
        rows.append(
            Row(
                part=PART,
                name=kind,
                measure="right",
                share=shared([each[1] for each in done]),
                wanted=WANTED[kind],
                note="; ".join(filter(None, notes)),
            )
        )
    return rows

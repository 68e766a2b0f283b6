"""Draws pages of what omni-tiny makes of random prompts on what was held out, for its model card.

Nothing is chosen: the prompts follow from the page's number, and every drawing is shown, right or wrong.
Those in which the judge of pictures does not see what was asked for have a red frame.

    python docs/draw_pages.py 3
"""

from __future__ import annotations

import asyncio
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image as Pixels
from PIL import ImageDraw

from omni_agent import Core, Settings
from omni_agent.core_model.evaluation import PictureJudge
from omni_agent.core_model.world import Combination, draw_prompt, sample_combination

PAGES = Path(__file__).parent / "omni-tiny-drawings"
COLUMNS, ROWS = 6, 4
CELL, SHOWN, LINES = 168, 128, 30


async def page(core: Core, judge: PictureJudge, number: int) -> Pixels.Image:
    """One page of drawings with their prompts."""
    rng = np.random.default_rng(number)
    sheet = Pixels.new("RGB", (COLUMNS * CELL, ROWS * (SHOWN + LINES + 14)), "white")
    write = ImageDraw.Draw(sheet)
    for place in range(COLUMNS * ROWS):
        wanted = sample_combination(rng, "held_out")
        prompt = draw_prompt(wanted)
        drawn = await core.draw(prompt, settings=Settings(seed=1000 * number + place))
        left = place % COLUMNS * CELL + (CELL - SHOWN) // 2
        top = place // COLUMNS * (SHOWN + LINES + 14) + 8
        if not _right(judge, wanted, drawn.array):
            write.rectangle((left - 4, top - 4, left + SHOWN + 3, top + SHOWN + 3), fill="red")
        large = Pixels.fromarray(drawn.array).resize((SHOWN, SHOWN), Pixels.Resampling.NEAREST)
        sheet.paste(large, (left, top))
        for line, words in enumerate(textwrap.wrap(prompt.removeprefix("draw "), 24)):
            write.text((left, top + SHOWN + 5 + 12 * line), words, fill="black")
    return sheet


def _right(judge: PictureJudge, wanted: Combination, pixels: np.ndarray) -> bool:
    (seen,) = judge.read([pixels])
    return (
        seen.objects == tuple(thing.name for thing in wanted.objects)
        and (seen.layout == "pair") == (wanted.kind == "pair")
        and (wanted.kind == "pair" or seen.number == wanted.number)
        and seen.background == wanted.background.name
    )


async def _write(pages: int) -> None:
    PAGES.mkdir(exist_ok=True)
    judge = PictureJudge.load()
    async with Core.load("omni-tiny") as core:
        for number in range(1, pages + 1):
            (await page(core, judge, number)).save(PAGES / f"{number}.png", optimize=True)


if __name__ == "__main__":
    asyncio.run(_write(int(sys.argv[1])))

"""A story, drawn and narrated page by page.

python -m omni_agent.recipes.picture_book FOLDER "a dog on the grass" "three apples in the snow" ...
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from omni_agent import Core, Graph, Image, Speech, StepFinished, Text

__all__ = ["Page", "book", "page"]


@dataclass(frozen=True)
class Page:
    """A sentence of the story, its picture and its sound."""

    sentence: Text
    picture: Image
    speech: Speech


page = Graph("page", inputs={"sentence": Text})


@page.step
async def picture(sentence: Text, core: Core) -> Image:
    """The sentence, drawn."""
    return await core.draw(f"draw {sentence}")


@page.step
async def speech(sentence: Text, core: Core) -> Speech:
    """The sentence, read aloud, while it is drawn."""
    return await core.speak(sentence)


@page.step
def bound(sentence: Text, picture: Image, speech: Speech) -> Page:
    """All of it together."""
    return Page(sentence, picture, speech)


book = Graph("picture book", inputs={"story": list[Text]})
book.step(page, as_="pages", map={"sentence": "story"}, width=2)


async def main(folder: Path, story: list[str]) -> None:
    """Make a book and save its pages."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with Core.load("omni-tiny") as core, book.start(core, story=story) as run:
        async for event in run:
            if isinstance(event, StepFinished):
                print("/".join(map(str, event.path)))
        pages: list[Page] = (await run.result())["pages"]
    for number, each in enumerate(pages, start=1):
        each.picture.save(folder / f"page-{number}.png")
        each.speech.save(folder / f"page-{number}.wav")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} FOLDER SENTENCE ...")
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))

"""What is to be seen in many pictures, four at a time; a file that is no picture is left out and told.

python -m omni_agent.recipes.album_describer picture.png ...
"""

from __future__ import annotations

import asyncio
import sys

from omni_agent import Core, Graph, Image, StepSkipped

__all__ = ["album", "captions", "counted"]

album = Graph("album describer", inputs={"files": list[str]})


@album.step(map={"file": "files"}, width=4, on_error="skip", output=True)
async def captions(file: str, core: Core) -> tuple[str, str]:
    """A file, and what it shows."""
    picture = await asyncio.to_thread(Image.open, file)
    return file, await core.describe(picture)


@album.step(output=True)
def counted(captions: list[tuple[str, str]], files: list[str]) -> str:
    """How many of the files were pictures."""
    return f"{len(captions)} of {len(files)} described"


async def main(files: list[str]) -> None:
    """Describe files, and tell which of them could not be."""
    async with Core.load("omni-tiny") as core, album.start(core, files=files) as run:
        async for event in run:
            if isinstance(event, StepSkipped) and event.error is not None:
                print(event.error.__cause__, file=sys.stderr)
        result = await run.result()
    for file, caption in result["captions"]:
        print(f"{file}: {caption}")
    print(result[counted])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} PICTURE ...")
    asyncio.run(main(sys.argv[1:]))

"""A game: the core draws a secret, and somebody guesses what it is; the core looks at its picture and says.

python -m omni_agent.recipes.guess_what "a dog" picture.png
"""

from __future__ import annotations

import asyncio
import sys

from omni_agent import Core, Graph, Image, InputAwaited, StepFinished, Text

__all__ = ["game", "picture", "round_", "verdict"]

round_ = Graph("round", inputs={"picture": Image}, late={"guess": Text})


@round_.step
async def verdict(guess: Text, picture: Image, core: Core) -> Text:
    """Whether the guess is to be seen: "yes" or "no"."""
    return await core.answer(f"is there {guess}", picture)


game = Graph("guess what", inputs={"secret": Text})


@game.step(output=True)
async def picture(secret: Text, core: Core) -> Image:
    """The secret, drawn."""
    return await core.draw(f"draw {secret}")


game.loop(
    round_,
    as_="rounds",
    carry={},
    until=lambda verdict: verdict == "yes",
    max_rounds=20,
    on_bound="last",
    output=True,
)


async def main(secret: str, path: str) -> None:
    """Play in the terminal, and show the picture in the end."""
    async with Core.load("omni-tiny") as core, game.start(core, secret=secret) as run:
        async for event in run:
            if isinstance(event, InputAwaited):
                guess = await asyncio.to_thread(input, "what do I see? ")
                await run.send(event.path, guess)
            elif isinstance(event, StepFinished) and event.step == "verdict":
                print(event.value)
        (await run.result())[picture].save(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} SECRET PICTURE.png")
    asyncio.run(main(*sys.argv[1:]))

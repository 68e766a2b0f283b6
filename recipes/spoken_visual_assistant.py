"""A spoken question about a picture, answered in words and in sound.

python -m omni_agent.recipes.spoken_visual_assistant question.wav picture.png reply.wav
"""

from __future__ import annotations

import asyncio
import sys

from omni_agent import Core, Graph, Image, Speech, StepFinished, Text

__all__ = ["answer", "assistant", "heard", "spoken"]

assistant = Graph("spoken visual assistant", inputs={"question": Speech, "picture": Image})


@assistant.step(output=True)
async def heard(question: Speech, core: Core) -> Text:
    """What was asked."""
    return await core.transcribe(question)


@assistant.step(output=True)
async def answer(heard: Text, picture: Image, core: Core) -> Text:
    """What is to be seen."""
    return await core.answer(heard, picture)


@assistant.step(output=True)
async def spoken(answer: Text, core: Core) -> Speech:
    """The answer, read aloud."""
    return await core.speak(answer)


async def main(question_path: str, picture_path: str, reply_path: str) -> None:
    """Ask about files, watch the steps, and save the reply."""
    question, picture = Speech.open(question_path), Image.open(picture_path)
    async with (
        Core.load("omni-tiny") as core,
        assistant.start(core, question=question, picture=picture) as run,
    ):
        async for event in run:
            if isinstance(event, StepFinished):
                print(event.step, event.value)
        (await run.result())[spoken].save(reply_path)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} QUESTION.wav PICTURE.png REPLY.wav")
    asyncio.run(main(*sys.argv[1:]))

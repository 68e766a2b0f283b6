"""Graphs on the real omni-tiny: every form of control, and nothing left at its engine when a run is left."""

from __future__ import annotations

import asyncio

import pytest

from omni_agent import CanvasChanged, Core, InputAwaited, StepFinished, Text
from omni_agent.recipes.guess_what import game
from omni_agent.recipes.picture_book import book
from tests.omni_agent.graph.forms import everything


async def idle(core: Core) -> None:
    """Wait until the engine has nothing to do; a request stops within one model call."""
    async with asyncio.timeout(30):
        while (status := core.status()).queued or status.active:
            await asyncio.sleep(0.005)


@pytest.mark.timeout(600)
async def test_recipes_and_every_form_run_and_can_be_left_on_the_engine() -> None:
    async with Core.load("omni-tiny") as core:
        # left at some moments, by its block and from outside
        for changes in (1, 5, 20):
            async with everything().start(core, words=[Text("what is two plus three"), Text("a dog")]) as run:
                async for event in run:
                    if isinstance(event, CanvasChanged):
                        changes -= 1
                        if not changes:
                            break
            await idle(core)
        task = asyncio.create_task(book.run(core, story=["a dog", "a cat"]))
        while not core.status().active:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await idle(core)
        assert core.status().cancelled >= 4

        # and run to the end
        async with game.start(core, secret="a dog") as run:
            guesses = iter(["a cat", "a dog", "a dog"])
            sure = []
            async for event in run:
                if isinstance(event, InputAwaited):
                    await run.send(event.path, next(guesses))
                if isinstance(event, StepFinished) and event.step == "verdict":
                    sure.append(event.confidence)
            result = await run.result()
        assert result["rounds"] == "yes"
        assert all(confidence is not None and 0 < confidence <= 1 for confidence in sure)
        (page,) = (await book.run(core, story=["a dog"]))["pages"]
        assert page.picture.is_decoded
        assert page.speech.seconds > 0
        await idle(core)

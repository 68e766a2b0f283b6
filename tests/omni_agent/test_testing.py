"""The scripted core follows its script, and behaves as a core does."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from omni_agent import (
    Core,
    CoreClosed,
    Graph,
    Image,
    InputError,
    Modality,
    NotDecoded,
    OmniError,
    Request,
    Speech,
    StepError,
    Task,
    Text,
    Tokens,
)
from omni_agent.testing import ScriptedCore

PICTURE = Image(np.zeros((2, 2, 3), np.uint8))
SOUND = Speech(np.zeros(8, np.float32), 8000)


async def test_a_script_gives_values_lists_functions_and_errors() -> None:
    async def slowly(request: Request) -> str:
        await asyncio.sleep(0)
        return f"about {len(request.content)}"

    core = ScriptedCore(
        {
            Task.TRANSCRIBE: "always",
            Task.ANSWER: ["first", ValueError("second"), slowly],
            Task.DESCRIBE: lambda request: Text("seen"),
        }
    )
    async with core:
        assert [await core.transcribe(SOUND) for _ in range(3)] == ["always"] * 3
        assert await core.answer("q") == "first"
        with pytest.raises(ValueError, match="second"):
            await core.answer("q")
        assert await core.answer("q", PICTURE) == "about 2"
        with pytest.raises(OmniError, match="nothing left for answer"):
            await core.answer("q")
        assert type(await core.describe(PICTURE)) is Text
        with pytest.raises(OmniError, match="nothing for draw: add it"):
            await core.draw("q")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_core_that_is_not_entered_says_how(when: str) -> None:
    core = ScriptedCore({Task.ANSWER: "yes"})
    if when == "after":
        async with core:
            pass
    with pytest.raises(CoreClosed, match="async with"):
        await core.answer("q")


async def test_closing_a_core_cancels_its_requests() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:
        asked = asyncio.create_task(core.answer("q"))
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert core.running == 0
    await core.aclose()


async def test_a_step_that_forgets_to_decode_is_found_out() -> None:
    graph = Graph("g")

    @graph.step
    async def width(core: Core) -> int:
        return (await core.draw("a cat")).width

    async with ScriptedCore({Task.DRAW: PICTURE}) as core:
        with pytest.raises(StepError, match=r"await core\.decoded\(image\)") as caught:
            await graph.run(core)
    assert isinstance(caught.value.__cause__, NotDecoded)


async def test_only_its_own_tokens_are_decoded() -> None:
    async with ScriptedCore({}) as core:
        with pytest.raises(InputError, match="does not come from this core"):
            await core.decoded(Image.from_tokens(Tokens(ids=(1,), tokenizer="t")))
        assert await core.decoded(PICTURE) is PICTURE
        assert await core.decoded(Text("a")) == "a"


async def test_its_places_fill_from_the_left_with_the_steps_that_filled_them() -> None:
    request = Request(task=Task.ANSWER, content=(Text("hello"),), blank=Modality.TEXT)
    async with ScriptedCore({Task.ANSWER: "a dog"}, num_steps=3) as core:
        async for change in core.generate(request):
            steps = [place.step for place in change.places]
            assert len(steps) == change.length
            assert sum(step is not None for step in steps) == change.committed
            assert all(step is None or step <= change.step for step in steps)

"""A durable run on the real omni-tiny: what another process goes on with ends in the same picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omni_agent import CanvasChanged, Core, Graph, Image, RunOptions, RunStore, Text
from omni_agent.core import Settings

graph = Graph("drawing", inputs={"words": Text})


@graph.step
async def heard(words: Text, core: Core) -> Text:
    return await core.transcribe(await core.speak(words))


@graph.step
async def drawn(words: Text, heard: Text, core: Core) -> Image:
    return await core.draw(words, settings=Settings(num_steps=16))


@pytest.mark.timeout(600)
async def test_a_canvas_that_was_left_half_full_is_filled_to_the_same_picture(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db", snapshot_every=0)
    words = Text("draw a dog on the grass")
    async with Core.load("omni-tiny") as core:
        options = RunOptions(store=store, run_id="undisturbed", seed=11)
        undisturbed = await graph.run(core, words=words, options=options)

    options = RunOptions(store=store, run_id="left", seed=11)
    async with Core.load("omni-tiny") as core, graph.start(core, words=words, options=options) as run:
        async for event in run:
            if isinstance(event, CanvasChanged) and event.step == "drawn" and event.change.step >= 6:
                break

    steps = []
    async with Core.load("omni-tiny") as core, graph.start(core, words=words, options=options) as run:
        async for event in run:
            if isinstance(event, CanvasChanged):
                steps.append((event.step, event.change.step))
        result = await run.result()
    assert {step for step, _ in steps} == {"drawn"}  # what was heard comes from the store
    assert min(number for _, number in steps) > 4
    assert result[drawn].tokens == undisturbed[drawn].tokens
    assert np.array_equal(result[drawn].array, undisturbed[drawn].array)

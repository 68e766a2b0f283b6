"""The types of graphs and their results, as a type checker sees them."""

from __future__ import annotations

import functools
from typing import Any, assert_type

from omni_agent import Core, Event, Graph, Image, Result, Run, RunOptions, Speech, Text
from omni_agent.testing import ScriptedCore

graph = Graph("g", inputs={"question": Speech, "hint": Text | None}, resources=[dict])


@graph.step
async def heard(question: Speech, core: Core) -> Text:
    return await core.transcribe(question)


@graph.step(output=True, as_="drawings", reads={"text": "heard"})
async def drawn(text: Text, core: Core) -> list[Image]:
    return [await core.draw(text)]


@graph.step
def count(drawn: list[Image]) -> int:
    return len(drawn)


@graph.step
def nothing(count: int) -> None: ...


async def main(core: Core, question: Speech) -> None:
    # a step stays the function it is
    assert_type(await heard(question, core), Text)
    assert_type(count([]), int)
    await heard("question", core)  # type: ignore[arg-type]

    result = await graph.run(core, question=question, options=RunOptions(limit=2))
    assert_type(result, Result)
    assert_type(result[heard], Text)
    assert_type(result[drawn], list[Image])
    assert_type(result[count], int)
    assert_type(result[nothing], None)
    assert_type(result["heard"], Any)
    assert_type(result[functools.partial(count, drawn=[])], int)
    result[3]  # type: ignore[call-overload]

    run = graph.start(core, question=question)
    assert_type(run, Run)
    async with run as entered:
        assert_type(entered, Run)
        async for event in entered:
            assert_type(event, Event)
        assert_type(await entered.result(), Result)

    await graph.run(core, options={"limit": 2})  # type: ignore[arg-type]
    RunOptions(2)  # type: ignore[call-arg, arg-type]
    ScriptedCore({})

"""The types of graphs and their results, as a type checker sees them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any, assert_type

from omni_agent import (
    Core,
    Drawing,
    Event,
    Graph,
    Image,
    InputAwaited,
    Result,
    Run,
    RunInfo,
    RunOptions,
    RunStore,
    Speech,
    StepContext,
    StepFinished,
    Stream,
    StreamChunk,
    Text,
    Unsure,
)
from omni_agent.testing import ScriptedCore, Sure

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

    # runs that are stored
    store = RunStore("runs.db", lease=10)
    RunOptions(store=store, run_id="run", seed=3, rerun_changed=True)
    RunOptions(store="runs.db", run_id="run")  # type: ignore[arg-type]
    async with store as opened:
        assert_type(opened, RunStore)
    assert_type(await store.list(graph="g", limit=3), list[RunInfo])
    assert_type(await store.fork("run", "other", after=("pages", 2)), RunInfo)
    assert_type((await store.collect()).bytes, int)
    ScriptedCore({})


# control

control = Graph("control", inputs={"pages": list[Image]}, late={"typed": Text})


@control.step(map={"page": "pages"}, width=4, on_error="skip", retries=2, backoff=0.5, timeout=5)
async def described(page: Image, core: Core) -> Text:
    return await core.describe(page)


@control.step(when=lambda described: bool(described), unsure=Unsure(below=0.6, retry=1, then="asked"))
async def answer(described: list[Text], core: Core, context: StepContext) -> Text:
    assert_type(context.key, str)
    assert_type(context.path, tuple[str | int, ...])
    return await core.answer(described[0])


@control.step
def asked(answer: Text, typed: Text) -> Text:
    return typed


@control.step(join=" ".join, output=True)
async def words(answer: Text) -> AsyncIterator[Text]:
    yield answer


@control.step
async def loud(words: Stream[Text]) -> list[str]:
    assert_type(await words.collect(), list[Text])
    return [word.upper() async for word in words]


control.first_of("reply", loud, "answer", output=True)
control.loop(
    asked,
    as_="game",
    reads={"typed": "answer"},
    carry={"answer": "asked"},
    until=lambda asked: bool(asked),
    max_rounds=20,
    on_bound="last",
)
assert_type(control.step(graph, as_="inside", output="drawings", reads={"question": "typed"}), Graph)
assert_type(control.draw(), Drawing)
assert_type(control.draw().svg, str)
control.step(asked, on_error="ignore")  # type: ignore[call-overload]
control.step(asked, retires=2)  # type: ignore[call-overload]
control.step(asked, output="inner")  # type: ignore[call-overload]
control.loop(asked, carry={}, until=lambda: True)  # type: ignore[call-arg]


async def watched(core: Core) -> None:
    async with control.start(core, pages=[]) as run:
        async for event in run:
            match event:
                case InputAwaited(path=path):
                    await run.send(path, Text("a"))
                case StepFinished(confidence=confidence):
                    assert_type(confidence, float | None)
                case StreamChunk(index=index):
                    assert_type(index, int)
        result = await run.result()
        assert_type(result[words], Any)
        assert_type(result["described"], Any)
        assert_type(control.draw(run), Drawing)
        await run.send(3, "x")  # type: ignore[arg-type]
    assert_type(await loud(Stream([Text("a")])), list[str])
    assert_type(Stream([1, 2]), Stream[int])
    Sure("a", 0.5)
    Unsure(0.5)  # type: ignore[call-arg]

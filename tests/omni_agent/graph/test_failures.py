"""Failing steps: which error, with what in it, and what becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from omni_agent import (
    Core,
    Graph,
    Image,
    InputError,
    OmniError,
    RunOptions,
    RunTimedOut,
    StepCancelled,
    StepError,
    StepFailed,
    StepTimedOut,
    Task,
    Text,
    Tokens,
)
from omni_agent.testing import ScriptedCore

PICTURE = Image(np.zeros((2, 2, 3), np.uint8))
FOREIGN = Tokens(ids=(1,), tokenizer="another")


async def test_a_step_error_names_the_step_its_inputs_and_its_cause() -> None:
    graph = Graph("g", inputs={"question": Text, "count": int})
    cause = ValueError("no idea")

    @graph.step
    async def answer(question: Text, count: int) -> Text:
        raise cause

    with pytest.raises(StepError) as caught:
        await graph.run(question="why " * 50, count=3)
    error = caught.value
    assert (error.step, error.path, error.others, error.__cause__) == ("answer", ("answer",), (), cause)
    assert error.inputs["count"] == "3"
    assert len(error.inputs["question"]) <= 60
    assert str(error).startswith(
        "step 'answer' failed with ValueError: no idea (it was given question='why why"
    )


async def test_a_failing_step_cancels_the_others_and_waits_for_them() -> None:
    graph = Graph("g")
    cleaned = []

    @graph.step
    async def broken() -> int:
        await asyncio.sleep(0.01)
        raise ValueError

    @graph.step
    async def slow() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("slow")
        return 1

    @graph.step
    async def never(broken: int, slow: int) -> int:
        cleaned.append("never")
        return 1

    async with graph.start() as run:
        told = [event async for event in run]
    assert cleaned == ["slow"]
    assert [event.path for event in told if isinstance(event, StepCancelled)] == [("slow",)]
    assert not [event for event in told if event.path == ("never",)]


async def test_steps_that_fail_at_the_same_time_are_all_told() -> None:
    graph = Graph("g")
    barrier = asyncio.Barrier(3)

    async def broken() -> int:
        await barrier.wait()
        raise ValueError(asyncio.current_task().get_name().split()[1])  # type: ignore[union-attr]

    for name in "abc":
        graph.step(broken, as_=name)
    with pytest.raises(StepError) as caught:
        await graph.run()
    assert {caught.value.step, *(other.step for other in caught.value.others)} == {"a", "b", "c"}
    assert str(caught.value).count("at the same time") == 2


async def test_a_step_that_fails_while_it_is_cancelled_is_among_the_others() -> None:
    graph = Graph("g")

    @graph.step
    async def broken() -> int:
        raise ValueError("first")

    @graph.step
    async def messy() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError("while cleaning up")

    with pytest.raises(StepError, match="first") as caught:
        await graph.run()
    assert [other.step for other in caught.value.others] == ["messy"]


async def test_a_step_that_ignores_being_cancelled_starts_nobody() -> None:
    graph = Graph("g")
    ran = []

    @graph.step
    async def broken() -> int:
        raise ValueError

    @graph.step
    async def stubborn() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
        return 1

    @graph.step
    async def after(stubborn: int) -> int:
        ran.append("after")
        return 1

    with pytest.raises(StepError) as caught:
        await graph.run()
    assert caught.value.step == "broken"
    assert ran == []


async def test_an_error_of_the_core_is_the_cause() -> None:
    graph = Graph("g", inputs={"picture": str})

    @graph.step
    async def answer(core: Core) -> Text:
        return await core.answer("q")

    @graph.step
    async def opened(picture: str) -> Image:
        return Image.open(picture)

    async with ScriptedCore({Task.ANSWER: OmniError("out of order")}) as core:
        with pytest.raises(StepError, match="out of order"):
            await graph.run(core, picture="none.png", options=RunOptions(given={"opened": PICTURE}))
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        with pytest.raises(StepError, match=r"none\.png: no such file") as caught:
            await graph.run(core, picture="none.png")
    assert isinstance(caught.value.__cause__, InputError)


async def test_ten_runs_at_once_fail_alone() -> None:
    graph = Graph("g", inputs={"question": Text})

    @graph.step
    async def answer(question: Text, core: Core) -> Text:
        return await core.answer(question)

    def line(request: Any) -> str:
        if request.content[0] == "q3":
            raise ValueError("cannot read q3")
        return f"to {request.content[0]}"

    async with ScriptedCore({Task.ANSWER: line}, pause=0.001) as core:
        runs = [asyncio.create_task(graph.run(core, question=f"q{n}")) for n in range(10)]
        await asyncio.sleep(0)
        runs[7].cancel()
        results = await asyncio.gather(*runs, return_exceptions=True)
    assert [type(each).__name__ for each in results] == [
        *["Result"] * 3,
        "StepError",
        *["Result"] * 3,
        "CancelledError",
        *["Result"] * 2,
    ]
    assert results[9]["answer"] == "to q9"  # type: ignore[index]


async def test_a_timeout_inside_a_step_is_a_timeout() -> None:
    graph = Graph("g")

    @graph.step
    async def slow() -> int:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
        return 1

    with pytest.raises(TimeoutError) as caught:
        await graph.run()
    assert isinstance(caught.value, StepTimedOut)
    assert caught.value.step == "slow"


async def test_a_run_that_takes_too_long_is_cancelled_and_says_so() -> None:
    graph = Graph("g")
    cleaned = []

    @graph.step
    async def slow(core: Core) -> Text:
        try:
            return await core.answer("q")
        finally:
            cleaned.append("slow")

    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:
        with pytest.raises(RunTimedOut, match=r"graph 'g' took longer than its 0\.02 s") as caught:
            await graph.run(core, options=RunOptions(timeout=0.02))
        await asyncio.sleep(0)
        assert len(core.cancelled) == 1
    assert isinstance(caught.value, TimeoutError)
    assert cleaned == ["slow"]


async def test_a_step_that_fails_while_the_run_times_out_does_not_hide_the_timeout() -> None:
    graph = Graph("g")

    @graph.step
    async def messy() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError("while cleaning up")

    async with graph.start(options=RunOptions(timeout=0.01)) as run:
        told = [event async for event in run]
        with pytest.raises(RunTimedOut):
            await run.result()
    assert [event.error.step for event in told if isinstance(event, StepFailed)] == ["messy"]  # type: ignore[attr-defined]


async def test_a_step_whose_awaited_task_was_cancelled_fails_instead_of_hanging() -> None:
    graph = Graph("g")

    @graph.step
    async def waiting() -> int:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await task
        return 1

    @graph.step
    async def after(waiting: int) -> int:
        return waiting

    async with asyncio.timeout(5):
        with pytest.raises(StepError, match="CancelledError") as caught:
            await graph.run()
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


async def test_what_a_test_framework_raises_fails_the_step_too() -> None:
    graph = Graph("g")

    @graph.step
    async def failing() -> int:
        pytest.fail("by hand")

    with pytest.raises(StepError, match="by hand"):
        await graph.run()


async def test_a_value_that_cannot_be_shown_does_not_hide_the_error() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("do not look")

    graph = Graph("g", inputs={"shy": Shy})

    @graph.step
    async def broken(shy: Shy) -> int:
        raise ValueError("the real one")

    with pytest.raises(StepError, match="the real one") as caught:
        await graph.run(shy=Shy())
    assert caught.value.inputs["shy"].startswith("<Shy")


async def test_media_that_cannot_be_decoded_fails_its_step() -> None:
    graph = Graph("g")

    @graph.step
    async def drawn(core: Core) -> Image:
        return Image.from_tokens(FOREIGN)

    async with ScriptedCore({}) as core:
        with pytest.raises(StepError, match="does not come from this core") as caught:
            await graph.run(core)
    assert caught.value.step == "drawn"


@pytest.mark.parametrize("form", ["async", "sync", "yields", "mapped", "inside"])
async def test_a_step_that_raises_generator_exit_fails_like_any_other(form: str) -> None:
    graph = Graph("g", inputs={"ns": list[int]})

    async def broken(ns: list[int]) -> int:
        raise GeneratorExit("by hand")

    def broken_too(ns: list[int]) -> int:
        raise GeneratorExit("by hand")

    async def yielding(ns: list[int]) -> AsyncIterator[int]:
        yield 1
        raise GeneratorExit("by hand")

    async def item(n: int) -> int:
        raise GeneratorExit("by hand")

    inner = Graph("inner", inputs={"ns": list[int]})
    inner.step(broken)
    functions: dict[str, Any] = {"async": broken, "sync": broken_too, "yields": yielding, "inside": inner}
    if form == "mapped":
        graph.step(item, as_="failing", map={"n": "ns"})
    else:
        graph.step(functions[form], as_="failing", **({} if form == "inside" else {"timeout": 5}))
    async with asyncio.timeout(5), graph.start(ns=[1]) as run:
        told = [event async for event in run]
        with pytest.raises(StepError, match="failed with GeneratorExit: by hand") as caught:
            await run.result()
    assert isinstance(caught.value.__cause__, GeneratorExit)
    assert not [event for event in told if isinstance(event, StepCancelled)]


def test_a_step_that_is_thrown_away_with_its_event_loop_is_no_failure() -> None:
    graph = Graph("g")

    @graph.step
    async def slow() -> int:
        await asyncio.sleep(60)
        return 1

    async def begun() -> None:
        run = graph.start()
        await run.__aenter__()
        await anext(run)
        await anext(run)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begun())
    (step,) = [task for task in asyncio.all_tasks(loop) if task.get_name().startswith("step")]
    step.get_coro().close()  # type: ignore[union-attr]  # what awaits or tells anything here raises
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()

"""Leaving a run, from inside and from outside: everything it started stops, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from omni_agent import Core, Graph, RunCancelled, RunFailed, StepCancelled, StepError, StepStarted, Task, Text
from omni_agent.testing import ScriptedCore


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


def asking() -> Graph:
    graph = Graph("g")

    @graph.step
    async def answer(core: Core) -> Text:
        return await core.answer("q")

    @graph.step
    async def described(core: Core) -> Text:
        return await core.answer("r")

    @graph.step
    async def both(answer: Text, described: Text) -> Text:
        return answer

    return graph


async def test_leaving_a_run_cancels_its_steps_and_their_requests() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:
        async with asking().start(core) as run:
            async for event in run:
                if isinstance(event, StepStarted) and event.step == "described":
                    break
            await asyncio.sleep(0.01)
            assert core.running == 2
        await asyncio.sleep(0)
        assert core.running == 0
        assert len(core.cancelled) == 2
        rest = [event async for event in run]
        stopped = {event.step for event in rest if isinstance(event, StepCancelled)}
        assert stopped == {"answer", "described"}
        assert isinstance(rest[-1], RunCancelled)
        with pytest.raises(asyncio.CancelledError):
            await run.result()


async def test_leaving_a_run_at_once_is_told_too() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        async with asking().start(core) as run:
            pass
        assert [type(event) for event in [event async for event in run]] == [RunCancelled]
        assert core.requests == []


async def test_an_error_in_the_body_leaves_the_run_and_goes_on() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:

        async def body() -> None:
            async with asking().start(core):
                await asyncio.sleep(0.01)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await body()
        await asyncio.sleep(0)
        assert (core.running, len(core.cancelled)) == (0, 2)


@pytest.mark.parametrize("form", ["waits", "returns", "goes on", "yields", "item", "left out"])
async def test_a_step_that_cancels_its_own_task_fails_alone(form: str) -> None:
    graph = Graph("g", inputs={"ns": list[int]})

    def cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def waits(ns: list[int]) -> int:
        cancel()
        await asyncio.sleep(0)
        raise AssertionError

    async def returns(ns: list[int]) -> int:
        cancel()
        return 1

    async def goes_on(ns: list[int]) -> int:
        cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return 1

    async def yields(ns: list[int]) -> AsyncIterator[int]:
        yield 1
        await waits(ns)

    async def item(n: int) -> int:
        return await waits([n]) if n else 1

    functions: dict[str, Any] = {"waits": waits, "returns": returns, "goes on": goes_on, "yields": yields}
    if form in functions:
        graph.step(functions[form], as_="own")
    else:
        graph.step(item, as_="own", map={"n": "ns"}, on_error="skip" if form == "left out" else "raise")

    @graph.step
    async def after(own: Any) -> Any:
        return own

    async with asyncio.timeout(5), graph.start(ns=[0, 1, 0]) as run:
        if form in ("returns", "goes on"):
            assert (await run.result())[after] == 1
        elif form == "left out":
            assert (await run.result())[after] == [1, 1]
        else:
            with pytest.raises(StepError, match="CancelledError") as caught:
                await run.result()
            assert caught.value.step == "own"


async def test_a_step_whose_task_is_cancelled_by_others_fails() -> None:
    graph = Graph("g")

    @graph.step
    async def slow() -> int:
        await asyncio.sleep(60)
        return 1

    @graph.step
    async def after(slow: int) -> int:
        return slow

    async with asyncio.timeout(5), graph.start() as run:
        async for event in run:
            if type(event).__name__ == "StepStarted":
                (task,) = [each for each in asyncio.all_tasks() if each.get_name().startswith("step slow")]
                task.cancel()
        with pytest.raises(StepError, match="'slow' failed with CancelledError"):
            await run.result()


@pytest.mark.parametrize("moments", range(12))
async def test_cancellation_from_outside_stays_plain_at_any_moment(moments: int) -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        task = asyncio.create_task(asking().run(core))
        for _ in range(moments):
            await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert task.cancelled()
        assert core.running == 0


async def test_a_timeout_around_a_run_stays_a_plain_timeout() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.02):
                await asking().run(core)
        assert type(caught.value) is TimeoutError


async def test_a_task_group_around_a_run_cancels_it() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ZeroDivisionError

    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:

        async def body() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(asking().run(core))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await body()
        assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]
        await asyncio.sleep(0)
        assert core.running == 0


async def test_cancelling_again_does_not_cut_the_cleaning_up() -> None:
    graph = Graph("g")
    cleaned = []

    @graph.step
    async def slow() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append("slow")
        return 1

    task = asyncio.create_task(graph.run())
    await asyncio.sleep(0.01)
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0.005)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["slow"]


async def test_a_run_that_failed_before_it_was_left_stays_failed() -> None:
    graph = Graph("g")

    @graph.step
    async def broken() -> int:
        raise ValueError

    @graph.step
    async def slow() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
        return 1

    async with graph.start() as run:
        await asyncio.sleep(0.01)
    assert isinstance([event async for event in run][-1], RunFailed)
    with pytest.raises(StepError):
        await run.result()


async def test_cancelling_one_who_waits_for_the_result_does_not_cancel_the_run() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}, pause=0.01) as core, asking().start(core) as run:
        waiting = asyncio.create_task(run.result())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await run.result())["both"] == "yes"


def test_a_loop_that_closes_takes_its_runs_along() -> None:
    cleaned = []
    graph = Graph("g")

    @graph.step
    async def slow() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append("slow")
        return 1

    async def main() -> None:
        run = graph.start()
        await run.__aenter__()  # and never left
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert cleaned == ["slow"]


def test_an_interrupt_from_the_keyboard_goes_through() -> None:
    graph = Graph("g")

    @graph.step
    async def interrupted() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(graph.run())  # type: ignore[arg-type]

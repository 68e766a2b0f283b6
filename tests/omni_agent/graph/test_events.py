"""What a run tells, in which order, and that a slow reader never slows it."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import weakref
from typing import Any

import pytest

from omni_agent import (
    CanvasChanged,
    Core,
    Custom,
    Event,
    Graph,
    Modality,
    Request,
    Run,
    RunFailed,
    RunFinished,
    RunStarted,
    StepError,
    StepFailed,
    StepFinished,
    StepStarted,
    Task,
    Text,
    emit,
)
from omni_agent.testing import ScriptedCore


def asking() -> Graph:
    graph = Graph("g", inputs={"question": Text})

    @graph.step
    async def answer(question: Text, core: Core) -> Text:
        return await core.answer(question)

    @graph.step
    def loud(answer: Text) -> Text:
        emit({"half": "way"})
        return Text(answer.upper())

    return graph


async def events(run: Run) -> list[Event]:
    return [event async for event in run]


async def test_a_run_tells_what_happens_in_order() -> None:
    core = ScriptedCore({Task.ANSWER: "yes"}, num_steps=2)
    async with core, asking().start(core, question="q") as run:
        told = await events(run)
        result = await run.result()
    assert [(type(event).__name__, event.path) for event in told] == [
        ("RunStarted", ()),
        ("StepStarted", ("answer",)),
        ("CanvasChanged", ("answer",)),
        ("CanvasChanged", ("answer",)),
        ("StepFinished", ("answer",)),
        ("StepStarted", ("loud",)),
        ("Custom", ("loud",)),
        ("StepFinished", ("loud",)),
        ("RunFinished", ()),
    ]
    assert [event.sequence for event in told] == list(range(9))
    first, last = told[0], told[-1]
    assert isinstance(first, RunStarted)
    assert (first.graph, first.steps) == ("g", ("answer", "loud"))
    changes = [event.change for event in told if isinstance(event, CanvasChanged)]
    assert [change.preview for change in changes] == ["y░░", "yes"]
    assert [event.data for event in told if isinstance(event, Custom)] == [{"half": "way"}]
    assert isinstance(last, RunFinished)
    assert last.outputs == dict(result) == {"loud": "YES"}
    assert all(event.seconds >= 0 for event in told if isinstance(event, StepFinished))
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.sequence = 3  # type: ignore[misc]


async def test_a_slow_reader_misses_canvas_changes_and_nothing_else() -> None:
    graph = Graph("g")

    @graph.step
    async def answer(core: Core) -> Text:
        for number in range(100):
            emit(number)
        return await core.answer("q")

    async with ScriptedCore({Task.ANSWER: "yes"}, num_steps=500) as core, graph.start(core) as run:
        await run.result()  # reads nothing until all is over
        told = await events(run)
    changes = [event for event in told if isinstance(event, CanvasChanged)]
    assert [event.change.step for event in changes] == [500]
    assert [event.data for event in told if isinstance(event, Custom)] == list(range(100))
    sequence = [event.sequence for event in told]
    assert sequence == sorted(set(sequence))
    assert sequence[-1] > len(sequence)


async def test_changes_of_several_canvases_do_not_push_each_other_out() -> None:
    graph = Graph("g")

    @graph.step
    async def answers(core: Core) -> list[Text]:
        return list(await asyncio.gather(*(core.answer(f"q{n}") for n in range(5))))

    async with ScriptedCore({Task.ANSWER: "yes"}, num_steps=20) as core, graph.start(core) as run:
        await run.result()
        told = await events(run)
    assert sorted(event.change.request for event in told if isinstance(event, CanvasChanged)) == [
        1,
        2,
        3,
        4,
        5,
    ]


async def test_a_reader_that_stops_goes_on_where_it_stopped() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core, asking().start(core, question="q") as run:
        first = []
        async for event in run:
            first.append(event)
            if isinstance(event, StepStarted):
                break
        await run.result()
        rest = await events(run)
        assert await events(run) == []
    assert [type(event) for event in first] == [RunStarted, StepStarted]
    assert isinstance(rest[-1], RunFinished)
    assert first[-1].sequence < rest[0].sequence


async def test_events_can_be_read_after_the_run_was_left() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        async with asking().start(core, question="q") as run:
            await run.result()
        assert isinstance((await events(run))[-1], RunFinished)


async def test_a_reader_that_times_out_loses_no_event() -> None:
    graph = Graph("g")
    gate = asyncio.Event()

    @graph.step
    async def slow() -> int:
        await gate.wait()
        return 1

    async with graph.start() as run:
        assert isinstance(await anext(run), RunStarted)
        assert isinstance(await anext(run), StepStarted)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(run)
        gate.set()
        assert [type(event) for event in await events(run)] == [StepFinished, RunFinished]


async def test_two_readers_at_the_same_time_are_an_error() -> None:
    graph = Graph("g")
    gate = asyncio.Event()

    @graph.step
    async def slow() -> int:
        await gate.wait()
        return 1

    async with graph.start() as run:
        first = asyncio.create_task(events(run))
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="another reader waits for this run's events"):
            await anext(run)
        gate.set()
        assert [type(event) for event in await first] == [RunStarted, StepStarted, StepFinished, RunFinished]
        assert await events(run) == []


async def test_iteration_ends_with_a_failure_and_does_not_raise_it() -> None:
    graph = Graph("g")

    @graph.step
    async def broken() -> int:
        raise ValueError("no")

    async with graph.start() as run:
        told = await events(run)
        with pytest.raises(StepError) as caught:
            await run.result()
    failed, ended = told[-2:]
    assert isinstance(failed, StepFailed)
    assert isinstance(ended, RunFailed)
    assert failed.error is ended.error is caught.value


async def test_emit_and_changes_reach_the_run_from_a_steps_own_tasks_and_threads() -> None:
    graph = Graph("g")

    @graph.step
    async def several() -> int:
        async def child(n: int) -> None:
            emit(n)

        await asyncio.gather(child(1), child(2), asyncio.to_thread(emit, 3))
        return 1

    async with graph.start() as run:
        told = await events(run)
    assert sorted(event.data for event in told if isinstance(event, Custom)) == [1, 2, 3]


async def test_what_a_step_leaves_behind_is_silent_after_it_finished() -> None:
    graph = Graph("g")
    left: list[asyncio.Task[None]] = []

    @graph.step
    async def first() -> int:
        async def late() -> None:
            await asyncio.sleep(0.01)
            emit("too late")

        left.append(asyncio.create_task(late()))
        return 1

    @graph.step
    async def second(first: int) -> int:
        await left[0]
        return 2

    async with graph.start() as run:
        assert not [event for event in await events(run) if isinstance(event, Custom)]


async def test_the_newest_change_is_told_even_if_the_step_never_looks() -> None:
    graph = Graph("g")
    request = Request(task=Task.ANSWER, content=(Text("q"),), blank=Modality.TEXT)

    @graph.step
    async def answer(core: Core) -> Text:
        async with core.generate(request) as generation:
            value = await generation
        assert isinstance(value, Text)
        return value

    async with ScriptedCore({Task.ANSWER: "yes"}, num_steps=3) as core, graph.start(core) as run:
        told = await events(run)
    assert [event.change.step for event in told if isinstance(event, CanvasChanged)][-1] == 3


def test_emit_does_nothing_outside_of_a_run() -> None:
    emit("nobody hears it")


async def test_an_unwatched_run_keeps_no_values_alive_for_readers() -> None:
    class Big:
        pass

    graph = Graph("g")
    seen: list[weakref.ref[Any]] = []

    @graph.step
    async def big() -> Big:
        value = Big()
        seen.append(weakref.ref(value))
        return value

    @graph.step
    async def used(big: Big) -> int:
        return 1

    @graph.step
    async def last(used: int) -> bool:
        gc.collect()
        return seen[0]() is None

    assert (await graph.run())[last]

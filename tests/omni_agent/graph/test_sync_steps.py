"""Sync steps run in threads of their own, and are never abandoned."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextvars import ContextVar

import pytest

from omni_agent import Graph, StepCancelled, StepError, cancelled, emit
from omni_agent.graph import thread


async def test_a_sync_step_does_not_block_the_loop() -> None:
    graph = Graph("g")
    gate = threading.Event()

    @graph.step
    def waiting() -> str:
        assert gate.wait(5)
        return threading.current_thread().name

    @graph.step
    async def opening() -> None:
        gate.set()

    assert (await graph.run())[waiting].startswith("g")


async def test_many_sync_steps_run_at_once() -> None:
    graph = Graph("g")
    barrier = threading.Barrier(40, timeout=5)

    def meet() -> None:
        barrier.wait()

    for number in range(40):
        graph.step(meet, as_=f"s{number}")
    await graph.run()


async def test_leaving_a_run_waits_for_its_sync_step() -> None:
    graph = Graph("g")
    happened = []

    @graph.step
    def slow() -> int:
        time.sleep(0.1)
        happened.append("done")
        return 1

    async with graph.start() as run:
        await asyncio.sleep(0.02)
        assert happened == []
    assert happened == ["done"]
    assert [event.path for event in [e async for e in run] if isinstance(event, StepCancelled)] == [("slow",)]


async def test_cancelling_from_outside_twice_still_waits_for_the_thread() -> None:
    graph = Graph("g")
    happened = []

    @graph.step
    def slow() -> int:
        time.sleep(0.1)
        happened.append("done")
        return 1

    task = asyncio.create_task(graph.run())
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert happened == ["done"]


async def test_a_long_sync_step_can_ask_whether_it_was_cancelled() -> None:
    graph = Graph("g")
    started, ended = threading.Event(), threading.Event()

    @graph.step
    def long() -> int:
        started.set()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if cancelled():
                raise RuntimeError("stopped early")
            time.sleep(0.002)
        ended.set()
        return 1

    async with graph.start():
        await asyncio.to_thread(started.wait)
    assert not ended.is_set()
    assert not cancelled()


async def test_waiting_long_for_a_thread_is_mentioned_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert thread.PATIENCE == 5
    monkeypatch.setattr(thread, "PATIENCE", 0.02)
    graph = Graph("g")

    @graph.step
    def slow() -> int:
        time.sleep(0.2)
        return 1

    with caplog.at_level(logging.WARNING, logger="omni_agent.graph"):
        async with graph.start():
            await asyncio.sleep(0.01)
    assert len(caplog.records) == 1
    assert "step 'slow' was cancelled" in caplog.text
    assert "omni_agent.cancelled()" in caplog.text


@pytest.mark.parametrize("error", [ValueError, StopAsyncIteration, asyncio.CancelledError, KeyError])
async def test_whatever_a_sync_step_raises_fails_it(error: type[BaseException]) -> None:
    graph = Graph("g")

    @graph.step
    def broken() -> int:
        raise error("no")

    async with asyncio.timeout(5):
        with pytest.raises(StepError) as caught:
            await graph.run()
    assert type(caught.value.__cause__) is error


async def test_a_sync_step_that_raises_stop_iteration_fails_instead_of_hanging() -> None:
    graph = Graph("g")

    @graph.step
    def broken() -> int:
        return next(iter([]))

    async with asyncio.timeout(5):
        with pytest.raises(StepError, match="StopIteration"):
            await graph.run()


async def test_context_variables_and_emit_reach_the_thread() -> None:
    color: ContextVar[str] = ContextVar("color")
    graph = Graph("g")

    @graph.step
    def seen() -> str:
        emit("from a thread")
        return color.get()

    color.set("red")
    async with graph.start() as run:
        names = [type(event).__name__ async for event in run]
        assert (await run.result())[seen] == "red"
    assert names == ["RunStarted", "StepStarted", "Custom", "StepFinished", "RunFinished"]


async def test_threads_end_with_the_run() -> None:
    graph = Graph("threads of mine")

    @graph.step
    def quick() -> int:
        return 1

    await graph.run()
    await asyncio.sleep(0.05)
    assert not [each for each in threading.enumerate() if each.name.startswith("threads of mine")]

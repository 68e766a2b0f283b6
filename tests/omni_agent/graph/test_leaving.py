"""Every form of control, left at any moment: no task and no request stays behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from omni_agent import Core, Graph, Modality, Request, RunOptions, StepError, Stream, Task, Text
from omni_agent.testing import ScriptedCore, Sure
from tests.omni_agent.graph.forms import everything
from tests.omni_agent.graph.told import told

WORDS = [Text(word) for word in ("a", "b", "c", "d")]


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


def core() -> ScriptedCore:
    return ScriptedCore({Task.ANSWER: lambda request: Sure("x", 0.4)}, num_steps=2)


async def test_every_form_runs_to_its_end() -> None:
    async with core() as scripted:
        assert (await everything().run(scripted, words=WORDS))["sync"] == 25


@pytest.mark.parametrize("limit", [1, 2, 3, None])
async def test_a_limit_never_locks_any_form(limit: int | None) -> None:
    async with asyncio.timeout(20), core() as scripted:
        result = await everything().run(scripted, words=WORDS, options=RunOptions(limit=limit))
        assert result["sync"] == 25


@pytest.mark.parametrize("moments", [*range(30), *range(30, 400, 13)])
async def test_cancelling_from_outside_leaves_nothing(moments: int) -> None:
    async with core() as scripted:
        task = asyncio.create_task(everything().run(scripted, words=WORDS))
        for _ in range(moments):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.sleep(0)
        assert scripted.running == 0


@pytest.mark.parametrize("events", [1, 3, 7, 12, 20, 40, 60])
async def test_leaving_a_watched_run_leaves_nothing(events: int) -> None:
    async with core() as scripted:
        async with everything().start(scripted, words=WORDS) as run:
            for _ in range(events):
                await anext(run)
        lines = await told(run)
        await asyncio.sleep(0)
        assert scripted.running == 0
        assert lines[-1] in ("RunCancelled", "RunFinished")


async def test_each_path_that_started_ends_once_even_when_the_run_is_left() -> None:
    ends = ("StepFinished", "StepFailed", "StepCancelled")
    async with core() as scripted:
        for events in range(2, 60, 5):
            async with everything().start(scripted, words=WORDS) as run:
                lines = []
                for _ in range(events):
                    event = await anext(run)
                    lines.append(f"{type(event).__name__} {'/'.join(map(str, event.path))}")
            lines += await told(run)
            started = {line.split(" ")[1] for line in lines if line.startswith("StepStarted")}
            ended = [line.split(" ")[1] for line in lines if line.startswith(ends) and " " in line]
            assert started <= set(ended)
            assert all(ended.count(path) == 1 for path in started)


async def test_a_failure_anywhere_leaves_nothing() -> None:
    for failing in range(1, 30, 4):
        count = 0

        def line(request: Request, failing: int = failing) -> Any:
            nonlocal count
            count += 1
            if count >= failing:
                raise ValueError("no")
            return Sure("x", 0.4)

        async with ScriptedCore({Task.ANSWER: line}, num_steps=2) as scripted:
            with pytest.raises(StepError):
                await everything().run(scripted, words=WORDS)
            await asyncio.sleep(0)
            assert scripted.running == 0


async def test_a_request_that_a_step_forgets_does_not_outlive_the_step() -> None:
    graph = Graph("g")
    request = Request(task=Task.ANSWER, content=(Text("q"),), blank=Modality.TEXT)

    @graph.step
    async def forgetful(core: Core) -> int:
        core.generate(request)
        return 1

    @graph.step
    async def after(forgetful: int, core: ScriptedCore) -> int:
        await asyncio.sleep(0.01)
        return core.running

    graph = Graph("g", resources=[ScriptedCore])
    graph.step(forgetful)
    graph.step(after)
    async with ScriptedCore({Task.ANSWER: "x"}, pause=60) as scripted:
        assert (await graph.run(scripted))[after] == 0
        assert len(scripted.cancelled) == 1


# memory


class Big:
    """What can be watched being dropped."""


async def test_values_of_every_form_are_dropped_after_their_last_reader() -> None:
    graph = Graph("g")
    seen: list[weakref.ref[Big]] = []

    def big() -> Big:
        value = Big()
        seen.append(weakref.ref(value))
        return value

    @graph.step
    async def bigs() -> list[Big]:
        return [big() for _ in range(3)]

    @graph.step(map={"one": "bigs"})
    async def again(one: Big) -> Big:
        return big()

    @graph.step
    async def chunks(again: list[Big]) -> AsyncIterator[Big]:
        for _ in again:
            yield big()

    @graph.step
    async def read(chunks: Stream[Big]) -> int:
        return len(await chunks.collect())

    @graph.step(when=lambda read: read < 0)
    async def skipped(chunks: list[Big], read: int) -> int:
        raise AssertionError

    @graph.step
    async def last(read: int, skipped: int = 0) -> int:
        await asyncio.sleep(0)
        gc.collect()
        return sum(reference() is not None for reference in seen)

    assert (await graph.run())[last] == 0
    assert len(seen) == 9


async def test_a_long_loop_keeps_only_its_last_round() -> None:
    graph = Graph("g", inputs={"n": int})
    seen: list[weakref.ref[Big]] = []
    most = 0

    round_ = Graph("round", inputs={"n": int})

    @round_.step
    async def big(n: int) -> Big:
        nonlocal most
        value = Big()
        seen.append(weakref.ref(value))
        most = max(most, sum(reference() is not None for reference in seen))
        return value

    @round_.step
    async def next_n(big: Big, n: int) -> int:
        return n + 1

    graph.loop(round_, as_="loop", carry={"n": "next_n"}, until=lambda next_n: next_n == 50, max_rounds=50)
    assert (await graph.run(n=0))["loop"] == 50
    assert most <= 2


# processes


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_no_task_and_no_request(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio, signal
            from functools import partial
            from omni_agent import Task
            from omni_agent.testing import ScriptedCore
            from tests.omni_agent.graph.forms import everything

            signal.signal(signal.SIGINT, signal.default_int_handler)  # even if the parent ignores it
            scripted = ScriptedCore({Task.ANSWER: "x"}, pause=60)

            async def main():
                async with scripted:
                    async with everything().start(scripted, words=["a", "b"]) as run:
                        asyncio.get_running_loop().call_later(0.3, partial(print, "started", flush=True))
                        await run.result()

            try:
                asyncio.run(main())
            except KeyboardInterrupt:
                print("stopped", scripted.running, len(scripted.cancelled) > 0, flush=True)
            """
        )
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n", process.communicate()
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert out == "stopped 0 True\n", errors
    assert "Task was destroyed" not in errors
    assert "never retrieved" not in errors
    assert time.monotonic() - begun < 30

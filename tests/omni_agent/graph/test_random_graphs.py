"""Random graphs of all forms, with random failures, come to what the plain evaluation comes to."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from omni_agent import Result, RunOptions, StepError
from tests.omni_agent.graph.random_graphs import SKIP, built, drawn, evaluated
from tests.omni_agent.graph.told import told

ENDS = ("StepFinished", "StepFailed", "StepCancelled", "StepSkipped")


@settings(max_examples=200, deadline=None)
@given(st.data())
async def test_a_run_comes_to_what_the_plain_evaluation_comes_to(data: st.DataObject) -> None:
    specs = drawn(data)
    inputs = {"i0": data.draw(st.integers(0, 96)), "i1": data.draw(st.integers(0, 96))}
    values, failed = evaluated(specs, inputs)
    calls: Counter[str] = Counter()
    graph = built(specs, calls)
    options = RunOptions(limit=data.draw(st.sampled_from([None, 1, 2, 3])))
    before = asyncio.all_tasks()
    async with asyncio.timeout(20), graph.start(options=options, **inputs) as run:
        lines = await told(run)
        if failed:
            event("fails")
            with pytest.raises(StepError) as caught:
                await run.result()
            assert {caught.value.path, *(other.path for other in caught.value.others)} <= failed.keys()
        else:
            event("succeeds")
            result = await run.result()
            kept = {spec.name for spec in specs if spec.kind != "graph"}
            assert {name: result[name] for name in kept if name in result} == {
                name: values[name] for name in kept if values[name] is not SKIP
            }
    assert asyncio.all_tasks() <= before
    if not failed:
        for spec in specs:
            if spec.kind in ("step", "list", "stream", "total"):
                ran = values[spec.name] is not SKIP
                assert calls[spec.name] >= (spec.fails + 1 if ran else 0)
    # each path that started came to one end
    started = {line.split(" ")[1] for line in lines if line.startswith("StepStarted")}
    ended = Counter(line.split(" ")[1] for line in lines if line.startswith(ENDS))
    assert all(ended[path] == 1 for path in started)
    assert max(ended.values(), default=1) == 1
    assert lines[-1] == ("RunFailed" if failed else "RunFinished")


@settings(max_examples=40, deadline=None)
@given(st.data())
async def test_a_run_that_is_left_at_a_random_moment_leaves_nothing(data: st.DataObject) -> None:
    specs = drawn(data)
    graph = built(specs, Counter())
    # drawn before anything runs: hypothesis may give an example up in the midst of a draw
    value, moment = data.draw(st.integers(0, 96)), data.draw(st.integers(0, 40))
    before = asyncio.all_tasks()
    task = asyncio.create_task(graph.run(i0=value, i1=3))
    for _ in range(moment):
        await asyncio.sleep(0)
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, Result | StepError | asyncio.CancelledError)
    assert asyncio.all_tasks() <= before

"""Random graphs in a store, with failures, deaths and resumes, come to what the plain evaluation comes to."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import monotonic

from hypothesis import event, given, settings
from hypothesis import strategies as st

from omni_agent import Graph, Result, RunOptions, RunStore, StepError, StoreError
from tests.omni_agent.graph.random_graphs import SKIP, Spec, built, drawn, evaluated

MOST_DEATHS = 6
LONGEST = 0.12
"""Seconds that a process lives at most, before it dies; a run takes some 0.05 to 0.2."""


def without_failures(specs: tuple[Spec, ...]) -> tuple[Spec, ...]:
    """The same, where no step fails for a while only: a run that goes on calls it again until it does not."""
    return tuple(replace(spec, fails=0, inner=without_failures(spec.inner)) for spec in specs)


async def died(graph: Graph, options: RunOptions, inputs: dict[str, int], after: float) -> Result | None:
    """Carry out a run for so many seconds, and leave it as a process does that dies.

    Nothing is said to the store: what was being written is lost, the lease is not given back.
    """
    run = graph.start(options=options, **inputs)
    async with run:
        until = monotonic() + after
        while monotonic() < until:
            await asyncio.sleep(0)
            if run._execution.log.is_closed:
                return await run.result()
        keeper = run._execution.keeper
        held = getattr(keeper, "_held", None)
        if held is None:
            return None
        # from now on no write is begun, and none that waits is carried out
        dead = StoreError("this process is dead")
        held._lose(dead)
        for _, future in held._waiting:
            if not future.done():
                future.set_exception(dead)
        held._waiting.clear()
    return None


@settings(max_examples=80, deadline=None)
@given(st.data())
async def test_a_run_that_dies_and_goes_on_comes_to_what_the_plain_evaluation_comes_to(
    data: st.DataObject,
) -> None:
    specs = drawn(data)
    inputs = {"i0": data.draw(st.integers(0, 96)), "i1": data.draw(st.integers(0, 96))}
    values, failed = evaluated(without_failures(specs), inputs)
    calls: Counter[str] = Counter()
    graph = built(specs, calls)
    stored: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder) / "runs.db", lease=0.1)
        options = RunOptions(store=store, run_id="run", limit=data.draw(st.sampled_from([None, 1, 3])))
        result: Result | None = None
        failure: StepError | None = None
        async with asyncio.timeout(60), store:
            for after in data.draw(st.lists(st.floats(0, LONGEST), min_size=2, max_size=MOST_DEATHS)):
                try:
                    result = await died(graph, options, inputs, after)
                except StepError:
                    event("fails, and goes on")
                except StoreError:
                    event("dies at its end, and goes on")
                else:
                    event("ends" if result else "dies, and goes on")
                stored = await check_stored(store, stored)
                await expired(store)
            for _ in range(40):  # what fails for a while does not fail for ever
                try:
                    result, failure = await graph.run(options=options, **inputs), None
                    break
                except StepError as error:
                    failure = error
                    stored = await check_stored(store, stored)
        if failed:
            event("fails for good")
            assert failure is not None
            assert {failure.path, *(other.path for other in failure.others)} <= failed.keys()
        else:
            event("succeeds")
            assert failure is None, failure
            assert result is not None
            kept = {spec.name for spec in specs if spec.kind != "graph"}
            assert {name: result[name] for name in kept if name in result} == {
                name: values[name] for name in kept if values[name] is not SKIP
            }


async def check_stored(store: RunStore, before: dict[str, object]) -> dict[str, object]:
    """What is stored of the steps; nothing of what was before is gone or another."""
    if not await store.list():
        assert not before
        return {}
    document = await store.document("run")
    now = {str(step["path"]): (step["outcome"], step["value"]) for step in document["steps"]}
    assert before.items() <= now.items()
    return now


async def expired(store: RunStore) -> None:
    """Wait until nobody holds the run any more."""
    while any(info.holder for info in await store.list()):
        await asyncio.sleep(0.02)

"""What graphs cost: a step beside LangGraph's and pydantic-graph's, how soon followers start, and more.

    python benchmarks/graph.py [--steps 200] [--rounds 15] [--json FILE]

All steps do nothing, so what is measured is what stands around them. Ratios are of medians taken in turns in
one process. Needs the extra `dev`, which brings the other two.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import operator
import platform
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypedDict

from graph_store import store_growth
from langgraph.graph import END, START, StateGraph
from pydantic_graph import GraphBuilder, StepContext, reduce_list_append

from omni_agent import Graph

Run = Callable[[], Awaitable[object]]

OVERHEAD_WANTED = 0.5
FOLLOWER_WANTED = 0.005
CANCEL_WANTED = 0.05
STORE_WANTED = 1.2


def main() -> None:
    """Measure, print a table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="of the graphs that are compared")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is run")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"{machine}; {given.steps} steps, {given.rounds} rounds")
    figures = asyncio.run(measured(given.steps, given.rounds))
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


async def measured(steps: int, rounds: int) -> dict[str, Any]:
    """All figures, printed on the way."""
    figures: dict[str, Any] = {}
    ratios = []
    for shape, peers in (("chain", CHAINS), ("side by side", FANS)):
        spent = await per_step({name: make(steps) for name, make in peers.items()}, steps, rounds)
        better = min(value for name, value in spent.items() if name != "omni-agent")
        ratios.append(spent["omni-agent"] / better)
        for name, seconds in spent.items():
            print(
                f"{shape:<14}{name:<16}{seconds * 1e6:>10.1f} us a step{spent['omni-agent'] / seconds:>10.2f}"
            )
        figures[f"seconds_per_step_{shape.replace(' ', '_')}"] = spent
    figures["overhead_vs_best_peer"] = max(ratios)
    figures["follower_delay_s"] = await follower_delay(rounds)
    figures["cancel_100_steps_s"] = await cancelling(100, rounds)
    figures["side_by_side_1000_s"] = await once(fan(1_000))
    figures["chain_10000_s"] = await once(chain(10_000))
    figures["chain_10000_growth_mib"] = await growth()
    told("overhead beside the better peer", figures["overhead_vs_best_peer"], "", OVERHEAD_WANTED)
    told(
        "a follower's start after its source", figures["follower_delay_s"] * 1e3, "ms", FOLLOWER_WANTED * 1e3
    )
    told("cancelling 100 running steps", figures["cancel_100_steps_s"] * 1e3, "ms", CANCEL_WANTED * 1e3)
    told("1,000 steps side by side", figures["side_by_side_1000_s"] * 1e3, "ms")
    told("10,000 steps in a chain", figures["chain_10000_s"] * 1e3, "ms")
    told("memory that a chain of 10,000 adds to one of 1,000", figures["chain_10000_growth_mib"], "MiB")
    grown = await store_growth()
    figures["store_growth_mib"], figures["store_growth_langgraph_mib"] = (
        grown["omni-agent"],
        grown["LangGraph"],
    )
    told("a store's growth by a picture of 1 MiB in 20 steps", grown["omni-agent"], "MiB", STORE_WANTED)
    told("the same with LangGraph's checkpointer", grown["LangGraph"], "MiB")
    return figures


def told(what: str, value: float, unit: str, wanted: float | None = None) -> None:
    """One line of the table."""
    limit = "" if wanted is None else f"   wanted at most {wanted:g} {unit}".rstrip()
    print(f"{what:<52}{value:>10.2f} {unit:<4}{limit}")


async def per_step(runs: dict[str, Run], steps: int, rounds: int) -> dict[str, float]:
    """The median time of each, taken in turns, so that a busy moment of the machine meets all of them."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        await run()
    for _ in range(rounds):
        for name, run in runs.items():
            spent[name].append(await once(run))
    return {name: statistics.median(each) / steps for name, each in spent.items()}


async def once(run: Run) -> float:
    """Seconds that one run takes."""
    gc.collect()
    begun = time.perf_counter()
    await run()
    return time.perf_counter() - begun


def chain(count: int) -> Run:
    """One step after the other."""
    graph = Graph("chain", inputs={"s0": int})

    async def after(n: int) -> int:
        return n + 1

    for number in range(count):
        graph.step(after, as_=f"s{number + 1}", reads={"n": f"s{number}"})
    graph.check()
    return lambda: graph.run(s0=0)


def fan(count: int) -> Run:
    """Steps side by side, and one that reads all of them."""
    graph = Graph("fan", inputs={"n": int})

    async def one(n: int) -> int:
        return n

    for number in range(count):
        graph.step(one, as_=f"s{number}")
    graph.check()
    return lambda: graph.run(n=1)


async def follower_delay(rounds: int) -> float:
    """Beside a step of 1 s, one of 0.1 s: how long after this one its follower starts. The worst of all."""
    ended = started = 0.0
    graph = Graph("branches")

    @graph.step
    async def slow() -> int:
        await asyncio.sleep(1)
        return 1

    @graph.step
    async def quick() -> int:
        nonlocal ended
        await asyncio.sleep(0.1)
        ended = time.perf_counter()
        return 1

    @graph.step
    async def follower(quick: int) -> float:
        nonlocal started
        started = time.perf_counter()
        return started

    delays = []
    for _ in range(min(rounds, 5)):
        await graph.run()
        delays.append(started - ended)
    return max(delays)


async def cancelling(count: int, rounds: int) -> float:
    """How long it takes to leave a run with so many steps under way: the median."""
    running = 0
    all_run = asyncio.Event()
    graph = Graph("sleepers")

    async def sleeper() -> int:
        nonlocal running
        running += 1
        if running == count:
            all_run.set()
        try:
            await asyncio.sleep(60)
        finally:
            running -= 1
        return 1

    for number in range(count):
        graph.step(sleeper, as_=f"s{number}")
    spent = []
    for _ in range(rounds):
        async with graph.start():
            await all_run.wait()
            all_run.clear()
            begun = time.perf_counter()
        spent.append(time.perf_counter() - begun)
        assert running == 0
    return statistics.median(spent)


async def growth() -> float:
    """How much more memory a chain of 10,000 steps needs at its height than one of 1,000, in MiB."""
    short, long = chain(1_000), chain(10_000)
    peaks = []
    for run in (short, long):
        await run()  # what is worked out once for a graph is not of the run
        gc.collect()
        tracemalloc.start()
        await run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return (peaks[1] - peaks[0]) / 2**20


class _Number(TypedDict):
    n: int


class _Sum(TypedDict):
    n: Annotated[int, operator.add]


def langgraph_chain(count: int) -> Run:
    """The same in LangGraph."""

    async def after(state: _Number) -> dict[str, int]:
        return {"n": state["n"] + 1}

    builder = StateGraph(_Number)
    for number in range(count):
        builder.add_node(f"s{number}", after)
        builder.add_edge(f"s{number - 1}" if number else START, f"s{number}")
    builder.add_edge(f"s{count - 1}", END)
    app = builder.compile()
    return lambda: app.ainvoke({"n": 0}, {"recursion_limit": count + 10})


def langgraph_fan(count: int) -> Run:
    """The same in LangGraph."""

    async def one(state: _Sum) -> dict[str, int]:
        return {"n": 1}

    builder = StateGraph(_Sum)
    for number in range(count):
        builder.add_node(f"s{number}", one)
        builder.add_edge(START, f"s{number}")
        builder.add_edge(f"s{number}", END)
    app = builder.compile()
    return lambda: app.ainvoke({"n": 0})


def pydantic_chain(count: int) -> Run:
    """The same in pydantic-graph."""

    async def after(context: StepContext[None, None, int]) -> int:
        return int(context.inputs) + 1

    builder = GraphBuilder(input_type=int, output_type=int)
    steps = [builder.step(after, node_id=f"s{number}") for number in range(count)]
    builder.add(builder.edge_from(builder.start_node).to(steps[0]))
    for first, second in pairwise(steps):
        builder.add(builder.edge_from(first).to(second))
    builder.add(builder.edge_from(steps[-1]).to(builder.end_node))
    graph = builder.build()
    return lambda: graph.run(inputs=0)


def pydantic_fan(count: int) -> Run:
    """The same in pydantic-graph."""

    async def one(context: StepContext[None, None, int]) -> int:
        return int(context.inputs)

    builder = GraphBuilder(input_type=int, output_type=list[int])
    steps = [builder.step(one, node_id=f"s{number}") for number in range(count)]
    join = builder.join(reduce_list_append, initial_factory=list)
    builder.add(builder.edge_from(builder.start_node).to(*steps))
    builder.add(*(builder.edge_from(step).to(join) for step in steps))
    builder.add(builder.edge_from(join).to(builder.end_node))
    graph = builder.build()
    return lambda: graph.run(inputs=1)


CHAINS = {"omni-agent": chain, "LangGraph": langgraph_chain, "pydantic-graph": pydantic_chain}
FANS = {"omni-agent": fan, "LangGraph": langgraph_fan, "pydantic-graph": pydantic_fan}


if __name__ == "__main__":
    main()

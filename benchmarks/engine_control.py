"""How well the engine is controlled: cancels, deadlines, fairness, and quality by number of steps.

    python benchmarks/engine_control.py [--parts cancel deadlines fairness quality] [--json FILE]

On omni-tiny, as it comes. *Cancel*: a request waits for a place while drawings have all of them, one or
sixteen; from the cancel of one to the first step of the other. *Deadlines*: a hundred mixed requests, each
due as a draw of chance says, met as a share of those that a plan of one call each, the earliest deadline
first, meets at costs measured just before and after; as they come, some of them with less time than one call
takes, and all at once; beside it, what the plan itself meets of its own where the costs of each kind are two
percent off; `--hundreds 3` of each. *Fairness*: the last one's wait of eight at once, against eight one after
the other. *Quality*: rows of the evaluation, held out, by number of steps (`--questions 50` a row).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from omni_agent.core import Core, Generation, Modality, Request, Settings, Task
from omni_agent.core_model.evaluation import evaluate
from omni_agent.core_model.local_core import LocalCore
from omni_agent.errors import DeadlineExceeded
from omni_agent.values import Image, Text

RUNS = 5
PARTS = ("cancel", "deadlines", "fairness", "quality")
UNSURE = 0.02
"""How far what a kind takes may be from what was measured: a standard deviation."""

LOADS = {
    "over half as long again": (2 / 3, 0.0),
    "over as long as they take": (1.0, 0.0),
    "the same, a quarter impatient": (1.0, 0.25),
    "all at once": (float("inf"), 0.0),
}
"""When a hundred come: what they take with one step each, as a share of the time that they come in, and how
many of them are due before one call of theirs ends.
"""

STEPS = {"drawing": (1, 2, 4, 8, 16, 32, 64), "answers": (1, 2, 3, 5, 10)}


async def main() -> None:
    """Measure, print tables, and write them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--questions", type=int, default=50, help="a row, for quality")
    parser.add_argument("--hundreds", type=int, default=3, help="of each load, for deadlines")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    machine = f"{platform.machine()}, {given.threads} threads, torch {torch.__version__}"
    print(machine)
    result: dict[str, Any] = {"machine": machine}
    for part in given.parts:
        print(f"\n{part}")
        if part == "quality":
            async with Core.load("omni-tiny") as core:
                result[part] = await quality(core, given.questions)
        elif part == "deadlines":
            result[part] = await deadlines(given.hundreds)
        else:
            result[part] = await {"cancel": cancel, "fairness": fairness}[part]()
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


def drawing(**settings: Any) -> Request:
    """A long request."""
    asked = Settings(num_steps=64, **settings)
    return Request(
        task=Task.DRAW, content=(Text("draw a cat on the grass"),), blank=Modality.IMAGE, settings=asked
    )


def question(**settings: Any) -> Request:
    """A short one."""
    return Request(
        task=Task.ANSWER,
        content=(Text("what is two plus three"),),
        blank=Modality.TEXT,
        settings=Settings(**settings),
    )


async def cancel() -> dict[str, dict[str, float]]:
    """Milliseconds from a cancel to the end of the cancelled, and to the next one's first step."""
    return {f"{places} in flight": await cancel_among(places) for places in (1, 16)}


async def cancel_among(places: int) -> dict[str, float]:
    """The same with so many long requests in flight, which have all the places."""
    told, freed = [], []
    core = LocalCore.load("omni-tiny")
    core._in_flight = places
    async with core:
        for run in range(4 * RUNS):
            others = [core.generate(drawing(seed=100 + other)) for other in range(places - 1)]
            long, next_one = core.generate(drawing(seed=run)), core.generate(question(seed=run))
            async for change in long:
                if change.step == 3 + run:
                    break
            begun = time.perf_counter()
            long.cancel()
            try:
                await long
            except asyncio.CancelledError:
                told.append(1000 * (time.perf_counter() - begun))
            async for _ in next_one:
                freed.append(1000 * (time.perf_counter() - begun))
                break
            await next_one
            for other in others:
                other.cancel()
        status = core.status()
    call = 1000 * status.busy_seconds / status.calls
    rows = {
        "the cancelled one has ended": statistics.median(told),
        "the next one's first step, median": statistics.median(freed),
        "the next one's first step, slowest": max(freed),
        "a model call, for comparison": call,
    }
    print(f"  {places} in flight")
    for name, milliseconds in rows.items():
        print(f"    {name:<40}{milliseconds:>9.2f} ms")
    return rows


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request with a deadline, and when it comes; seconds from the beginning."""

    kind: str
    comes: float
    patience: float


async def deadlines(hundreds: int) -> dict[str, Any]:
    """The share of deadlines met, of those a plan of one call each meets."""
    result: dict[str, Any] = {}
    async with Core.load("omni-tiny") as core:
        kinds = {"answer": question(), "draw": drawing(), "speak": speaking(), "describe": describing()}
        for request in kinds.values():
            await core.generate(request)
        for name, (load, impatient) in LOADS.items():
            rounds, refused = [], []
            for seed in range(hundreds):
                before = await costs_of(core, kinds)
                asked = hundred(before, load, impatient, random.Random(seed))
                met, told, steps, wanted = await run_hundred(core, asked, kinds)
                refused += told
                after = await costs_of(core, kinds)
                costs = {kind: (before[kind] + after[kind]) / 2 for kind in kinds}
                could = one_call_plan(asked, costs)
                own = statistics.mean(len(could & plan) for plan in plans_nearby(asked, costs, seed))
                rounds.append((len(met & could), len(could), len(met), steps, wanted, own))
                drift = sum(after.values()) / sum(before.values())
                print(f"    {seed}: {len(met & could)} of {len(could)}; costs after by before {drift:.2f}")
                result[f"costs, {name}, {seed}"] = {"before": before, "after": after}
            both, could_be, met_all, steps, wanted, own = (sum(each) for each in zip(*rounds, strict=True))
            result[name] = {
                "asked": 100 * hundreds,
                "plan": could_be,
                "met_of_plan": both,
                "met": met_all,
                "share": both / could_be,
                "met_by_plan": met_all / could_be,
                "plan_of_its_own": own / could_be,
                "steps": steps / max(wanted, 1),
                "refused": len(refused),
                "refused_after": statistics.median(refused) if refused else None,
            }
            print(
                f"  {name}: the plan meets {could_be} of {100 * hundreds}; of those {both} met"
                f" ({both / could_be:.1%}); {met_all} met in all ({met_all / could_be:.1%}),"
                f" with {steps / max(wanted, 1):.0%} of the steps they asked for; with costs"
                f" {UNSURE:.0%} off the plan meets {own / could_be:.1%} of its own"
            )
            if refused:
                print(
                    f"    {len(refused)} were told DeadlineExceeded,"
                    f" the median after {statistics.median(refused):.0%} of their time"
                )
    return result


def speaking() -> Request:
    """A sentence said."""
    return Request(task=Task.SPEAK, content=(Text("a dog on the grass"),), blank=Modality.SPEECH)


def describing() -> Request:
    """A picture described."""
    picture = _noise()
    return Request(task=Task.DESCRIBE, content=(picture,), blank=Modality.TEXT)


async def costs_of(core: Core, kinds: dict[str, Request]) -> dict[str, float]:
    """Seconds of a request of one step, decoded: medians of some runs, the kinds in turn."""
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(RUNS):
        for kind in kinds:
            request = kinds[kind]
            short = replace(request, settings=replace(request.settings, num_steps=1, deadline=60.0))
            begun = time.perf_counter()
            await core.generate(short)
            spent[kind].append(time.perf_counter() - begun)
    return {kind: statistics.median(times) for kind, times in spent.items()}


def hundred(costs: dict[str, float], load: float, impatient: float, chance: random.Random) -> list[Asked]:
    """A hundred requests, with from half to three times what one call takes, and a share of the queue's.

    Args:
        costs: of each kind with one step, in seconds.
        load: what all take so, as a share of the time in which they come.
        impatient: the share of those that have a fifth to four fifths of what one call takes, and no more.
        chance: what they are, and when.
    """
    queue = 50 * statistics.mean(costs.values())
    kinds = [chance.choice(list(costs)) for _ in range(100)]
    spread = sum(costs[kind] for kind in kinds) / load
    return [
        Asked(
            kind=kind,
            comes=chance.uniform(0, spread),
            patience=(
                costs[kind] * chance.uniform(0.2, 0.8)
                if chance.random() < impatient
                else costs[kind] * chance.uniform(0.5, 3) + chance.uniform(0, queue)
            ),
        )
        for kind in kinds
    ]


def one_call_plan(asked: Sequence[Asked], costs: dict[str, float]) -> set[int]:
    """Who is in time with one call each, the earliest deadline first among those who are there."""
    left, now, met = dict(enumerate(asked)), 0.0, set()
    while left:
        here = [index for index, each in left.items() if each.comes <= now]
        if not here:
            now = min(each.comes for each in left.values())
            continue
        index = min(here, key=lambda index: left[index].comes + left[index].patience)
        each = left.pop(index)
        if now + costs[each.kind] <= each.comes + each.patience:
            now += costs[each.kind]
            met.add(index)
    return met


def plans_nearby(asked: Sequence[Asked], costs: dict[str, float], seed: int) -> list[set[int]]:
    """What the plan meets where what each kind takes is as far off as `UNSURE` says."""
    chance = random.Random(seed)
    return [
        one_call_plan(asked, {kind: cost * chance.gauss(1, UNSURE) for kind, cost in costs.items()})
        for _ in range(20)
    ]


async def run_hundred(
    core: Core, asked: Sequence[Asked], kinds: dict[str, Request]
) -> tuple[set[int], list[float], int, int]:
    """Who was in time, after what part of their time the others were told, and how many steps those in time
    had and had asked for.
    """
    met: set[int] = set()
    refused: list[float] = []
    generations: list[Generation] = []

    async def one(index: int, each: Asked) -> None:
        if each.comes:
            await asyncio.sleep(each.comes)
        request = kinds[each.kind]
        changed = replace(request.settings, deadline=each.patience, seed=index)
        begun = time.perf_counter()
        generation = core.generate(replace(request, settings=changed))
        try:
            await generation
        except DeadlineExceeded:
            refused.append((time.perf_counter() - begun) / each.patience)
            return
        if time.perf_counter() - begun <= each.patience:
            met.add(index)
            generations.append(generation)

    await asyncio.gather(*(one(index, each) for index, each in enumerate(asked)))
    schedules = [generation.schedule for generation in generations]
    return (
        met,
        refused,
        sum(len(schedule.run) for schedule in schedules if schedule),
        sum(len(schedule.asked) for schedule in schedules if schedule),
    )


async def fairness() -> dict[str, dict[str, float]]:
    """Seconds until the last of eight has its value: at once, and one after the other; interleaved."""
    result = {}
    async with Core.load("omni-tiny") as core:
        for name, make in (("answers", question), ("drawings", drawing)):
            waits: dict[str, list[float]] = {"together": [], "in turn": []}
            firsts = []
            for _ in range(RUNS):
                ends = await timed_together(core, [make(seed=seed) for seed in range(8)])
                waits["together"].append(max(ends))
                firsts.append(min(ends))
                begun = time.perf_counter()
                for seed in range(8):
                    await core.generate(make(seed=seed))
                waits["in turn"].append(time.perf_counter() - begun)
            medians = {each: statistics.median(times) for each, times in waits.items()}
            result[name] = {
                **medians,
                "ratio": medians["in turn"] / medians["together"],
                "first of those together": statistics.median(firsts),
            }
            print(
                f"  eight {name:<10} at once, the last {medians['together']:.3f} s; one after the other"
                f" {medians['in turn']:.3f} s ({result[name]['ratio']:.2f}x); the first of those at once"
                f" {result[name]['first of those together']:.3f} s"
            )
    return result


async def timed_together(core: Core, requests: Sequence[Request]) -> list[float]:
    """When each had its value, in seconds from the beginning."""
    begun = time.perf_counter()

    async def one(request: Request) -> float:
        await core.generate(request)
        return time.perf_counter() - begun

    return list(await asyncio.gather(*map(one, requests)))


class _WithSteps:
    """A core whose requests have so many steps."""

    def __init__(self, core: Core, num_steps: int) -> None:
        self._core = core
        self._num_steps = num_steps

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb: Callable[..., Any] = getattr(self._core, name)
        if name not in ("answer", "describe", "draw"):
            return verb

        def asked(*content: Any, settings: Settings | None = None) -> Any:
            return verb(*content, settings=replace(settings or Settings(), num_steps=self._num_steps))

        return asked


async def quality(core: Core, questions: int) -> dict[str, dict[int, dict[str, float]]]:
    """What is right, by number of steps, judged as the evaluation judges it."""
    result: dict[str, dict[int, dict[str, float]]] = {}
    for rows, names in (("drawing", ["drawing"]), ("answers", ["what", "count", "where", "describe"])):
        result[rows] = {}
        for num_steps in STEPS[rows]:
            begun = time.perf_counter()
            limited: Any = _WithSteps(core, num_steps)
            table = await evaluate(limited, names, questions)
            spent = time.perf_counter() - begun
            result[rows][num_steps] = {
                row.name: row.share.value for row in table.rows if row.measure == "right"
            }
            shown = "  ".join(
                f"{name} {100 * value:.0f} %" for name, value in result[rows][num_steps].items()
            )
            print(f"  {rows:<8} {num_steps:>3} steps  {shown}  ({spent:.0f} s)", flush=True)
    return result


def _noise() -> Image:
    chance = torch.Generator().manual_seed(0)
    return Image(torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=chance).numpy())


if __name__ == "__main__":
    asyncio.run(main())

"""Random graphs with every form of control, and what they come to, worked out one step after the other.

`drawn` draws specifications, `built` makes a graph of them, `evaluated` is the plain evaluation: it shares no
code with the graph but the arithmetic of the steps.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from omni_agent import Graph, Stream

__all__ = ["SKIP", "Spec", "built", "drawn", "evaluated"]

Path = tuple[str | int, ...]
SKIP = object()
INPUTS = ("i0", "i1")


@dataclass(frozen=True)
class Spec:
    """One step: what it reads, how it is run, and how often it fails."""

    name: str
    kind: str
    """step, list, map, choice, graph, loop, stream or total."""
    reads: tuple[str, ...]
    salt: int = 0
    has_default: bool = False
    """Whether the first thing it reads may be skipped."""
    when: str | None = None
    """Runs only if this number is even."""
    fails: int = 0
    retries: int = 0
    on_error: str = "raise"
    on_bound: str = "raise"
    is_sync: bool = False
    pauses: int = 0
    inner: tuple[Spec, ...] = ()

    @property
    def gives_list(self) -> bool:
        return self.kind in ("list", "map", "stream")


def arithmetic(salt: int, numbers: Sequence[Any]) -> int:
    """What a step makes of what it read."""
    flat = [sum(each) if isinstance(each, list) else each for each in numbers]
    return (salt + sum((place + 1) * number for place, number in enumerate(flat))) % 97


def several(number: int) -> list[int]:
    """The list that a step makes of a number."""
    return [number + each for each in range(number % 4)]


def in_a_round(salt: int, n: int) -> int:
    """What a round makes of the last one."""
    return (2 * n + salt) % 31


class ExpectedError(Exception):
    """A step fails because it is to."""


# drawing


def drawn(data: st.DataObject, depth: int = 1, most: int = 7) -> tuple[Spec, ...]:
    """Specifications of a graph's steps, in an order in which they could run."""
    specs: list[Spec] = []
    count = data.draw(st.integers(1, most))
    kinds = ["step", "step", "step", "list", "map", "choice", "loop", "stream", "total"]
    kinds += ["graph"] if depth else []
    for number in range(count):
        numbers = [*INPUTS, *(spec.name for spec in specs if not spec.gives_list)]
        lists = [spec.name for spec in specs if spec.gives_list]
        streams = [spec.name for spec in specs if spec.kind == "stream"]
        steps = [spec.name for spec in specs if not spec.gives_list]
        kind = data.draw(st.sampled_from(kinds))
        if (
            (kind == "map" and not lists)
            or (kind == "total" and not streams)
            or (kind == "choice" and not steps)
        ):
            kind = "step"
        source = {"map": lists, "total": streams, "choice": steps}.get(kind, numbers)
        width = 3 if kind in ("step", "choice") else 1
        reads = data.draw(st.lists(st.sampled_from(source), min_size=1, max_size=width, unique=True))
        if kind in ("step", "map") and (others := [each for each in [*numbers, *lists] if each not in reads]):
            reads += data.draw(st.lists(st.sampled_from(others), max_size=2, unique=True))
        fails = data.draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2])) if kind in ("step", "list") else 0
        specs.append(
            Spec(
                name=f"s{number}",
                kind=kind,
                reads=tuple(reads),
                salt=data.draw(st.integers(0, 96)),
                has_default=kind == "step" and data.draw(st.booleans()),
                when=data.draw(st.sampled_from([None, None, *numbers])) if kind != "choice" else None,
                fails=fails,
                retries=data.draw(st.integers(0, 2)) if fails else 0,
                on_error=data.draw(st.sampled_from(["raise", "skip"])),
                on_bound=data.draw(st.sampled_from(["raise", "last"])),
                is_sync=kind in ("step", "list", "map") and data.draw(st.integers(0, 9)) == 0,
                pauses=data.draw(st.integers(0, 3)),
                inner=drawn(data, depth - 1, 4) if kind == "graph" else (),
            )
        )
    return tuple(specs)


# the plain evaluation


def evaluated(
    specs: Sequence[Spec], inputs: dict[str, int], path: Path = ()
) -> tuple[dict[str, Any], dict[Path, str]]:
    """The value of each step, `SKIP` for those that are skipped, and the paths of steps that fail.

    Steps that a failed one leads to have no value.
    """
    values: dict[str, Any] = dict(inputs)
    failed: dict[Path, str] = {}
    for spec in specs:
        if not set(spec.reads) <= values.keys() or (spec.when is not None and spec.when not in values):
            continue
        value = _value(spec, values, (*path, spec.name), failed)
        if value is not None:
            values[spec.name] = value
    return values, failed


def _value(spec: Spec, values: dict[str, Any], path: Path, failed: dict[Path, str]) -> Any:
    if spec.kind == "choice":
        return next((values[name] for name in spec.reads if values[name] is not SKIP), SKIP)
    if spec.when is not None and (values[spec.when] is SKIP or values[spec.when] % 2):
        return SKIP
    given = [values[name] for name in spec.reads]
    if spec.has_default and given[0] is SKIP:
        given[0] = 5
    if any(each is SKIP for each in given):
        return SKIP
    if spec.fails > spec.retries:
        failed[path] = spec.name
        return None
    if spec.kind == "map":
        bad = [place for place, item in enumerate(given[0]) if item % 11 == 0]
        if bad and spec.on_error == "raise":
            failed.update({(*path, place): spec.name for place in bad})
            return None
        items = [item for item in given[0] if item % 11]
        return [arithmetic(spec.salt, [item, *given[1:]]) for item in items]
    if spec.kind == "graph":
        number = arithmetic(spec.salt, given[:1])
        inner, inner_failed = evaluated(spec.inner, {"i0": given[0], "i1": number % 1 + given[0]}, path)
        failed.update(inner_failed)
        last = spec.inner[-1].name
        if inner_failed:
            return None
        value = inner[last]
        return sum(value) % 97 if isinstance(value, list) else value
    if spec.kind == "loop":
        n = given[0]
        for _ in range(4):
            n = in_a_round(spec.salt, n)
            if n % 5 == 0:
                return n
        if spec.on_bound == "last":
            return n
        failed[path if spec.when is None else (*path[:-1], f"{spec.name}_loop")] = spec.name
        return None
    number = arithmetic(spec.salt, given)
    return several(number) if spec.gives_list else number


# the graph


def built(specs: Sequence[Spec], calls: Counter[str], name: str = "random") -> Graph:
    """A graph of the specifications. How often each function was called is counted."""
    graph = Graph(name, inputs=dict.fromkeys(INPUTS, int))
    for spec in specs:
        control: dict[str, Any] = {}
        if spec.when is not None:
            control["when"] = _condition(spec.when)
        if spec.retries:
            control |= {"retries": spec.retries, "backoff": 0.0001}
        if spec.kind == "map":
            control |= {"map": {spec.reads[0]: spec.reads[0]}, "on_error": spec.on_error, "width": 2}
        if spec.kind == "choice":
            graph.first_of(spec.name, *spec.reads, output=True)
        elif spec.kind == "graph":
            last = spec.inner[-1]
            inner = built(spec.inner, calls, f"inside {spec.name}")
            if last.gives_list:
                inner.step(_function(Spec("sum_of", "step", (last.name,)), calls), as_="sum_of")
            graph.step(
                inner,
                as_=spec.name,
                reads=dict.fromkeys(INPUTS, spec.reads[0]),
                output="sum_of" if last.gives_list else last.name,
                **control,
            )
            graph.step(
                _function(Spec(f"{spec.name}_kept", "step", (spec.name,)), calls), as_=f"{spec.name}_kept"
            )
        elif spec.kind == "loop":
            graph.loop(
                _round(spec, calls),
                as_=f"{spec.name}" if spec.when is None else f"{spec.name}_loop",
                reads={"n": spec.reads[0]} if spec.when is None else {"n": f"{spec.name}_gate"},
                carry={"n": "around"},
                until=lambda around: around % 5 == 0,
                max_rounds=4,
                on_bound=spec.on_bound,  # type: ignore[arg-type]
                output=True,
            )
            if spec.when is not None:
                gate = Spec(f"{spec.name}_gate", "gate", spec.reads)
                graph.step(_function(gate, calls), as_=gate.name, **control)
                graph.first_of(spec.name, f"{spec.name}_loop", output=True)
        else:
            graph.step(_function(spec, calls), as_=spec.name, output=True, **control)
    return graph


def _condition(name: str) -> Any:
    def even(**numbers: int) -> bool:
        return numbers[name] % 2 == 0

    even.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)]
    )
    return even


def _round(spec: Spec, calls: Counter[str]) -> Any:
    async def around(n: int) -> int:
        calls[spec.name] += 1
        await asyncio.sleep(0)
        return in_a_round(spec.salt, n)

    return around


def _function(spec: Spec, calls: Counter[str]) -> Any:
    attempts = 0

    def work(given: dict[str, Any]) -> int:
        nonlocal attempts
        calls[spec.name] += 1
        if spec.kind in ("step", "list"):
            attempts += 1
            if attempts <= spec.fails:
                raise ExpectedError
        numbers = [given.get(name, 5) for name in spec.reads]
        if spec.kind == "gate":
            return int(numbers[0])
        if spec.kind == "map" and numbers[0] % 11 == 0:
            raise ExpectedError
        if spec.name == "sum_of":
            return sum(numbers[0]) % 97
        return arithmetic(spec.salt, numbers)

    async def step(**given: Any) -> Any:
        for _ in range(spec.pauses):
            await asyncio.sleep(0)
        number = work(given)
        return several(number) if spec.kind == "list" else number

    def sync(**given: Any) -> Any:
        number = work(given)
        return several(number) if spec.kind == "list" else number

    async def stream(**given: Any) -> AsyncIterator[int]:
        for each in several(work(given)):
            for _ in range(spec.pauses):
                await asyncio.sleep(0)
            yield each

    async def total(**given: Any) -> int:
        return work({name: await chunks.collect() for name, chunks in given.items()})

    function: Any = {"stream": stream, "total": total}.get(spec.kind, sync if spec.is_sync else step)
    returns = AsyncIterator[int] if spec.kind == "stream" else list[int] if spec.kind == "list" else int
    function.__signature__ = inspect.Signature(
        [_parameter(spec, place, name) for place, name in enumerate(spec.reads)], return_annotation=returns
    )
    return function


def _parameter(spec: Spec, place: int, name: str) -> inspect.Parameter:
    hint: Any = int | list[int] if spec.kind != "map" or place else int
    hint = Stream[int] if spec.kind == "total" else hint
    default = 5 if spec.has_default and place == 0 else inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)

"""What a stored run must find unchanged in its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from omni_agent import Graph, Text, Unsure
from omni_agent.graph.fingerprint import fingerprint, stale


async def one(x: int) -> int:
    return x


async def two(one: int) -> int:
    return one


def printed(graph: Graph) -> dict[str, str]:
    return fingerprint(graph.plan())


def plain(
    function: Callable[..., Any] = one, inputs: Any = None, version: str = "", **control: Any
) -> dict[str, str]:
    graph = Graph("g", inputs=inputs or {"x": int}, version=version)
    graph.step(function, as_="one", **control)
    graph.step(two, output=True)
    return printed(graph)


async def of_text(x: Text) -> int:
    return len(x)


async def with_default(x: int = 3) -> int:
    return x


async def renamed(y: int) -> int:
    return y


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        (lambda: plain(with_default), {"one"}),
        (lambda: plain(renamed, reads={"y": "x"}), {"one"}),
        (lambda: plain(of_text, inputs={"x": Text}), {":inputs"}),
        (lambda: plain(inputs={"x": int, "y": int}), {":inputs"}),
        (lambda: plain(version="2"), {":version"}),
        (lambda: plain(output=True), {"one"}),
        (lambda: plain(retries=1), {"one"}),
        (lambda: plain(timeout=1), {"one"}),
        (lambda: plain(when=lambda x: x > 1), {"one"}),
        (lambda: plain(unsure=Unsure(below=0.5)), {"one"}),
    ],
    ids=range(10),
)
def test_what_is_part_of_a_fingerprint(changed: Callable[[], dict[str, str]], keys: set[str]) -> None:
    before, after = plain(), changed()
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == keys


def test_the_text_of_a_function_is_no_part_of_it() -> None:
    async def otherwise(x: int) -> int:
        return x + 100

    assert plain() == plain(otherwise)
    assert plain(when=lambda x: x > 1) == plain(when=lambda x: x > 2)


def test_a_version_of_a_step_is_part_of_it() -> None:
    def versioned(version: int) -> dict[str, str]:
        graph = Graph("g", inputs={"x": int})
        graph.step(one, version=version)
        return printed(graph)

    assert versioned(1) != versioned(2)


def test_the_graphs_inside_are_part_of_it() -> None:
    def nested(**control: Any) -> dict[str, str]:
        inner = Graph("inner", inputs={"x": int})
        inner.step(one, **control)
        graph = Graph("g", inputs={"x": int})
        graph.step(inner, as_="inside")
        graph.loop(
            inner, as_="rounds", carry={"x": "one"}, until=lambda one: one > 3, max_rounds=3, on_bound="last"
        )
        return printed(graph)

    before, after = nested(), nested(retries=2)
    assert {key for key in before if before[key] != after[key]} == {"inside", "rounds"}


def test_what_reads_a_step_that_changed_is_stale_with_it() -> None:
    graph = Graph("g", inputs={"x": int})
    graph.step(one)
    graph.step(two)
    graph.step(one, as_="beside")
    graph.step(two, as_="three", reads={"one": "two"})
    plan = graph.plan()
    assert stale(plan, {"one"}) == {"one", "two", "three"}
    assert stale(plan, {"two"}) == {"two", "three"}
    assert stale(plan, {"beside", "gone"}) == {"beside", "gone"}
    assert stale(plan, {":inputs"}) == stale(plan, {":version"}) == {"one", "two", "three", "beside"}

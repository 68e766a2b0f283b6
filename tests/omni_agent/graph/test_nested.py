"""Graphs as steps of other graphs."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from omni_agent import (
    Core,
    Fault,
    Graph,
    GraphError,
    Image,
    RunOptions,
    StepError,
    StepWasSkipped,
    Task,
    Text,
)
from omni_agent.testing import ScriptedCore
from tests.omni_agent.graph.told import told

PICTURE = Image(np.zeros((2, 2, 3), np.uint8))


def faults(graph: Graph) -> tuple[Fault, ...]:
    with pytest.raises(GraphError) as caught:
        graph.check()
    return caught.value.faults


def page() -> Graph:
    graph = Graph("page", inputs={"text": Text})

    @graph.step
    async def title(text: Text) -> Text:
        return Text(text.title())

    @graph.step
    async def drawn(title: Text, core: Core) -> Image:
        return await core.draw(title)

    @graph.step
    async def described(drawn: Image, core: Core) -> Text:
        return await core.describe(drawn)

    return graph


SCRIPT = {Task.DRAW: PICTURE, Task.DESCRIBE: "a cat", Task.ANSWER: "yes"}


async def test_a_graph_is_a_step_with_paths_of_its_own() -> None:
    book = Graph("book", inputs={"story": Text})
    book.step(page(), as_="cover", reads={"text": "story"})

    @book.step
    def bound(cover: Text) -> Text:
        return Text(f"bound: {cover}")

    async with ScriptedCore(SCRIPT, num_steps=1) as core, book.start(core, story="cats") as run:
        assert await told(run) == [
            "RunStarted",
            "StepStarted cover",
            "StepStarted cover/title",
            "StepFinished cover/title",
            "StepStarted cover/drawn",
            "CanvasChanged cover/drawn",
            "StepFinished cover/drawn",
            "StepStarted cover/described",
            "CanvasChanged cover/described",
            "StepFinished cover/described",
            "StepFinished cover",
            "StepStarted bound",
            "StepFinished bound",
            "RunFinished",
        ]
        assert (await run.result())[bound] == "bound: a cat"


async def test_output_picks_a_step_inside() -> None:
    book = Graph("book", inputs={"text": Text})
    book.step(page(), as_="picture", output="drawn")
    async with ScriptedCore(SCRIPT) as core:
        result = await book.run(core, text="cats")
    assert isinstance(result["picture"], Image)
    assert result["picture"].is_decoded


async def test_a_graph_runs_for_each_item() -> None:
    book = Graph("book", inputs={"pages": list[Text]})
    book.step(page(), as_="book", map={"text": "pages"}, width=2)
    async with ScriptedCore(SCRIPT) as core, book.start(core, pages=["a", "b", "c"]) as run:
        lines = await told(run)
        assert (await run.result())["book"] == ["a cat"] * 3
    assert "StepFinished book/2/drawn" in lines


async def test_a_failure_inside_has_its_whole_path_and_cancels_all_around_it() -> None:
    inner = Graph("inner")
    cancelled = []

    @inner.step
    async def broken() -> int:
        await asyncio.sleep(0.01)
        raise ValueError("inside")

    @inner.step
    async def beside() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append("beside")
        return 1

    outer = Graph("outer")
    outer.step(inner, as_="part", output="broken")

    @outer.step
    async def far() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append("far")
        return 1

    async with outer.start() as run:
        lines = await told(run)
        with pytest.raises(StepError) as caught:
            await run.result()
    assert (caught.value.step, caught.value.path) == ("broken", ("part", "broken"))
    assert cancelled == ["beside", "far"]
    assert lines[-5:] == [
        "StepFailed part/broken",
        "StepCancelled part/beside",
        "StepFailed part",
        "StepCancelled far",
        "RunFailed",
    ]


async def test_what_fails_inside_while_it_is_cancelled_is_among_the_others() -> None:
    inner = Graph("inner")

    @inner.step
    async def messy() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError("while cleaning up")

    outer = Graph("outer")
    outer.step(inner, as_="part")

    @outer.step
    async def broken() -> int:
        await asyncio.sleep(0.01)
        raise ValueError("first")

    with pytest.raises(StepError, match="first") as caught:
        await outer.run()
    assert [other.path for other in caught.value.others] == [("part", "messy")]


async def test_only_functions_count_for_the_limit_so_that_graphs_in_graphs_do_not_wait_for_each_other() -> (
    None
):
    graph: Graph = Graph("leaf", inputs={"n": int})

    @graph.step
    async def one(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    for depth in range(5):
        outer = Graph(f"depth {depth}", inputs={"ns": list[int]} if depth % 2 else {"n": int})
        if depth % 2:
            outer.step(graph, as_="inner", map={"n": "ns"})

            @outer.step
            def total(inner: list[int]) -> int:
                return sum(inner)

        else:
            outer.step(graph, as_="first")
            outer.step(graph, as_="second", reads={"n": "first"})
        wrapped = Graph(f"wrapped {depth}", inputs={"n": int})
        if depth % 2:

            @wrapped.step
            def ns(n: int) -> list[int]:
                return [n, n]

            wrapped.step(outer, as_="outer")
        else:
            wrapped.step(outer, as_="outer")
        graph = wrapped
    async with asyncio.timeout(20):
        limited = await graph.run(n=0, options=RunOptions(limit=1))
    assert dict(limited) == dict(await graph.run(n=0))


async def test_a_skipped_output_inside_skips_the_step() -> None:
    inner = Graph("inner", inputs={"n": int})

    @inner.step(when=lambda n: n > 0)
    def positive(n: int) -> int:
        return n

    outer = Graph("outer", inputs={"n": int, "ns": list[int]})
    outer.step(inner, as_="part", output=True)
    outer.step(inner, as_="parts", map={"n": "ns"}, output=True)
    result = await outer.run(n=0, ns=[1, 0, 2])
    with pytest.raises(StepWasSkipped):
        result["part"]
    assert result["parts"] == [1, 2]


async def test_resources_reach_the_graphs_inside() -> None:
    class Shop:
        price = 3

    inner = Graph("inner", resources=[Shop])

    @inner.step
    def price(shop: Shop) -> int:
        return shop.price

    outer = Graph("outer")
    outer.step(inner, as_="part")
    assert (await outer.run(Shop()))["part"] == 3
    with pytest.raises(ValueError, match="run without Shop, which step 'price' takes"):
        await outer.run()


async def test_a_timeout_of_a_graph_inside() -> None:
    inner = Graph("inner")

    @inner.step
    async def slow() -> int:
        await asyncio.sleep(60)
        return 1

    outer = Graph("outer")
    outer.step(inner, as_="part", timeout=0.02)
    with pytest.raises(TimeoutError) as caught:
        await outer.run()
    assert isinstance(caught.value, StepError)
    assert caught.value.path == ("part",)


def test_faults_inside_are_told_with_the_step_that_holds_them() -> None:
    inner = Graph("inner", inputs={"text": Text})

    @inner.step
    def drawn(txet: Text) -> Image: ...

    outer = Graph("outer", inputs={"text": Text, "n": int})
    outer.step(inner, as_="part")

    @outer.step
    def after(part: Image, m: int) -> None: ...

    found = [(each.subject, each.mend) for each in faults(outer)]
    assert found == [
        ("step 'part', step 'drawn', parameter 'txet'", "Did you mean 'text'?"),
        (
            "step 'after', parameter 'm'",
            "Add inputs={'m': ...} or a step, or bind it with functools.partial.",
        ),
    ]


def test_a_graph_inside_is_typed_by_its_inputs_and_its_output() -> None:
    outer = Graph("outer", inputs={"text": Image})
    outer.step(page(), as_="part")

    @outer.step
    def after(part: Image) -> None: ...

    assert [(each.subject, each.given, each.wanted) for each in faults(outer)] == [
        ("step 'part', parameter 'text'", "input 'text' is Image", "Text"),
        ("step 'after', parameter 'part'", "step 'part' returns Text", "Image"),
    ]


def test_bad_uses_of_graphs_are_faults() -> None:
    two = Graph("two")
    two.step(lambda: 1, as_="a")

    def one() -> int: ...

    many = Graph("many")
    many.step(one, as_="a")
    many.step(one, as_="b")
    outer = Graph("outer")
    outer.step(many, as_="which")
    outer.step(many, as_="none", output="c")
    outer.step(many, as_="retried", output="a", retries=2)
    outer.step(one, output="a")  # type: ignore[call-overload]
    outer.step(outer, as_="itself")
    found = [(each.subject, each.given) for each in faults(outer)]
    assert found == [
        ("step 'which', output", "graph 'many' keeps 'a', 'b'"),
        ("step 'none', output", "graph 'many' has no step 'c'"),
        ("step 'retried', retries", "it runs a graph"),
        ("step 'one', output", "it calls a function"),
        ("step 'itself', the graph", "it is a step of itself"),
    ]


async def test_a_graph_that_changes_later_is_checked_again() -> None:
    inner = Graph("inner")

    @inner.step
    def one() -> int:
        return 1

    outer = Graph("outer")
    outer.step(inner, as_="part", output="one")
    assert (await outer.run())["part"] == 1

    around = Graph("around")
    around.step(outer, as_="whole")
    around.check()

    @inner.step(output=True)
    def bad(nothing: int) -> int: ...

    assert [each.subject for each in faults(outer)] == ["step 'part', step 'bad', parameter 'nothing'"]
    assert [each.subject for each in faults(around)] == [
        "step 'whole', step 'part', step 'bad', parameter 'nothing'"
    ]

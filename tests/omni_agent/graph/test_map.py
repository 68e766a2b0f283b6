"""Steps that run once for each item of a list."""

from __future__ import annotations

import asyncio
import threading

import pytest

from omni_agent import Fault, Graph, GraphError, InputError, RunOptions, StepError, StepSkipped, Text
from tests.omni_agent.graph.told import told


def faults(graph: Graph) -> tuple[Fault, ...]:
    with pytest.raises(GraphError) as caught:
        graph.check()
    return caught.value.faults


async def test_followers_see_the_list_in_order() -> None:
    graph = Graph("g", inputs={"numbers": list[int], "factor": int})

    @graph.step(map={"number": "numbers"})
    async def scaled(number: int, factor: int) -> int:
        await asyncio.sleep(0.001 * (5 - number))
        return number * factor

    @graph.step
    def total(scaled: list[int]) -> list[int]:
        return [sum(scaled), *scaled]

    assert (await graph.run(numbers=[1, 2, 3, 4], factor=10))[total] == [100, 10, 20, 30, 40]
    assert (await graph.run(numbers=[], factor=10))[total] == [0]


async def test_the_events_of_a_map_in_order() -> None:
    graph = Graph("g", inputs={"words": list[Text]})

    @graph.step(map={"word": "words"}, width=1)
    async def loud(word: Text) -> Text:
        return Text(word.upper())

    async with graph.start(words=["a", "b"]) as run:
        assert await told(run) == [
            "RunStarted",
            "StepStarted loud",
            "StepStarted loud/0",
            "StepFinished loud/0",
            "StepStarted loud/1",
            "StepFinished loud/1",
            "StepFinished loud",
            "RunFinished",
        ]


@pytest.mark.parametrize(("width", "limit", "most"), [(3, None, 3), (None, None, 10), (5, 2, 2), (2, 5, 2)])
async def test_a_width_holds_and_the_limit_of_the_run_too(
    width: int | None, limit: int | None, most: int
) -> None:
    graph = Graph("g", inputs={"numbers": list[int]})
    running, seen = 0, 0

    async def work(number: int) -> int:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        await asyncio.sleep(0.001)
        running -= 1
        return number

    if width is None:
        graph.step(work, map={"number": "numbers"})
    else:
        graph.step(work, map={"number": "numbers"}, width=width)
    result = await graph.run(numbers=list(range(10)), options=RunOptions(limit=limit))
    assert result[work] == list(range(10))
    assert seen == most


async def test_items_go_on_as_soon_as_there_is_room() -> None:
    graph = Graph("g", inputs={"numbers": list[int]})
    gate = asyncio.Event()

    @graph.step(map={"number": "numbers"}, width=2)
    async def work(number: int) -> int:
        if number == 0:
            await gate.wait()  # until all others are done, two at a time
        if number == 5:
            gate.set()
        return number

    async with asyncio.timeout(5):
        await graph.run(numbers=list(range(6)))


async def test_an_item_that_fails_fails_the_step_and_cancels_the_others() -> None:
    graph = Graph("g", inputs={"numbers": list[int]})
    cancelled = []

    @graph.step(map={"number": "numbers"})
    async def work(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    with pytest.raises(StepError, match="'work/1' failed with ValueError: one") as caught:
        await graph.run(numbers=[0, 1, 2])
    assert caught.value.path == ("work", 1)
    assert caught.value.inputs == {"number": "1"}
    assert cancelled == [0, 2]


async def test_items_that_fail_can_be_left_out() -> None:
    graph = Graph("g", inputs={"numbers": list[int]})

    @graph.step(map={"number": "numbers"}, on_error="skip")
    async def inverse(number: int) -> float:
        return 1 / number

    async with graph.start(numbers=[1, 0, 2]) as run:
        events = [event async for event in run]
        assert (await run.result())[inverse] == [1, 0.5]
    (skipped,) = [event for event in events if isinstance(event, StepSkipped)]
    assert skipped.path == ("inverse", 1)
    assert skipped.reason == "it failed"
    assert isinstance(skipped.error, StepError)
    assert isinstance(skipped.error.__cause__, ZeroDivisionError)


async def test_several_lists_go_side_by_side() -> None:
    graph = Graph("g", inputs={"words": list[str], "numbers": tuple[int, ...]})

    @graph.step(map={"word": "words", "number": "numbers"})
    def times(word: str, number: int) -> str:
        return word * number

    assert (await graph.run(words=["a", "b"], numbers=(1, 2)))[times] == ["a", "bb"]
    with pytest.raises(StepError, match="word has 1, number has 2; wanted the same") as caught:
        await graph.run(words=["a"], numbers=(1, 2))
    assert isinstance(caught.value.__cause__, InputError)


async def test_plain_strings_of_a_list_become_text() -> None:
    graph = Graph("g")

    @graph.step
    def words() -> list[str]:
        return ["a"]

    @graph.step(map={"word": "words"})
    def kind(word: Text) -> str:
        return type(word).__name__

    assert (await graph.run())[kind] == ["Text"]


async def test_sync_items_run_side_by_side_in_threads() -> None:
    graph = Graph("g", inputs={"numbers": list[int]})
    barrier = threading.Barrier(8, timeout=5)

    @graph.step(map={"number": "numbers"}, width=8)
    def meet(number: int) -> int:
        barrier.wait()
        return number

    assert (await graph.run(numbers=list(range(8))))[meet] == list(range(8))


async def test_a_map_of_a_map() -> None:
    graph = Graph("g", inputs={"numbers": list[int]})

    @graph.step(map={"number": "numbers"})
    def upto(number: int) -> list[int]:
        return list(range(number))

    @graph.step(map={"row": "upto"})
    def total(row: list[int]) -> int:
        return sum(row)

    assert (await graph.run(numbers=[1, 3, 5]))[total] == [0, 3, 10]


async def test_a_skipped_list_skips_the_step_as_a_whole() -> None:
    graph = Graph("g", inputs={"go": bool})

    @graph.step(when=lambda go: go)
    def numbers() -> list[int]:
        return [1]

    @graph.step(map={"number": "numbers"})
    def same(number: int = 0) -> int:  # its default would be that of an item, not of the list
        return number

    async with graph.start(go=False) as run:
        lines = await told(run)
    assert lines[1:3] == ["StepSkipped numbers", "StepSkipped same"]


def test_bad_maps_are_faults() -> None:
    graph = Graph(
        "g", inputs={"n": int, "many": list[int], "word": str, "words": list[str], "table": dict[str, int]}
    )

    def one(n: int) -> int:
        return n

    graph.step(one, as_="a", map={"n": "n"})
    graph.step(one, as_="b", map={"n": "word"})
    graph.step(one, as_="c", map={"n": "words"})
    graph.step(one, as_="d", map={"n": "table"})
    graph.step(one, as_="e", map={"m": "many"})
    graph.step(one, as_="f", map={"n": "meny"})
    graph.step(one, as_="g", map={"n": "many"}, width=0)
    graph.step(one, as_="h", width=2, on_error="skip")
    graph.step(one, as_="i", map={"n": "many"}, on_error="ignore")  # type: ignore[arg-type]
    graph.step(one, as_="j", map=["n"])  # type: ignore[arg-type]
    found = [(each.subject, each.given, each.wanted) for each in faults(graph)]
    assert ("step 'a', parameter 'n'", "input 'n' is int", "list[int], to be mapped") in found
    assert ("step 'b', parameter 'n'", "input 'word' is str", "list[int], to be mapped") in found
    assert ("step 'c', parameter 'n'", "input 'words' is list[str]", "int") in found
    assert ("step 'd', parameter 'n'", "input 'table' is dict[str, int]", "list[int], to be mapped") in found
    assert ("step 'e', map={'m': ...}", "its function has no such parameter", "one of 'n'") in found
    assert ("step 'g', width", "it is 0", "an integer of 1 or more") in found
    assert ("step 'h', width", "it has no map", "map={'parameter': 'list'} beside it") in found
    assert ("step 'h', on_error", "it has no map", "map={'parameter': 'list'} beside it") in found
    assert ("step 'i', on_error", "it is 'ignore'", "one of 'raise', 'skip'") in found
    assert ("step 'j', map", "it is ['n']", "a mapping of parameters to lists") in found
    assert len(found) == 11

"""Steps that yield, and who reads their chunks while they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pytest

from omni_agent import (
    Core,
    Fault,
    Graph,
    GraphError,
    Modality,
    Request,
    RunOptions,
    Speech,
    StepError,
    Stream,
    StreamChunk,
    Task,
    Text,
    WrongReturn,
)
from omni_agent.testing import ScriptedCore
from tests.omni_agent.graph.told import told


def faults(graph: Graph) -> tuple[Fault, ...]:
    with pytest.raises(GraphError) as caught:
        graph.check()
    return caught.value.faults


async def test_a_follower_reads_chunks_while_they_come() -> None:
    graph = Graph("g")
    heard = asyncio.Event()

    @graph.step
    async def words() -> AsyncIterator[Text]:
        yield Text("one")
        await heard.wait()  # goes on only once the follower has the first
        yield Text("two")

    @graph.step
    async def spoken(words: Stream[Text]) -> list[Text]:
        said = []
        async for word in words:
            heard.set()
            said.append(word)
        return said

    async with asyncio.timeout(5):
        assert (await graph.run())[spoken] == ["one", "two"]


async def test_the_events_of_a_stream_in_order() -> None:
    graph = Graph("g")

    @graph.step
    async def words() -> AsyncIterator[str]:
        yield "one"
        yield "two"

    @graph.step
    def counted(words: list[str]) -> int:
        return len(words)

    async with graph.start() as run:
        assert await told(run) == [
            "RunStarted",
            "StepStarted words",
            "StreamChunk words",
            "StreamChunk words",
            "StepFinished words",
            "StepStarted counted",
            "StepFinished counted",
            "RunFinished",
        ]
        assert (await run.result())[counted] == 2


async def test_a_stream_is_replayed_from_its_start_however_late_it_is_read() -> None:
    graph = Graph("g")
    gate = asyncio.Event()

    @graph.step
    async def numbers() -> AsyncGenerator[int, None]:
        for n in range(5):
            yield n
        gate.set()

    @graph.step
    async def later(numbers: Stream[int]) -> list[list[int]]:
        await gate.wait()
        return [await numbers.collect(), [n async for n in numbers]]

    assert (await graph.run())[later] == [list(range(5))] * 2


async def test_join_makes_one_value_for_plain_followers() -> None:
    graph = Graph("g")

    @graph.step(join=" ".join, output=True)
    async def words() -> AsyncIterator[Text]:
        yield Text("a")
        yield Text("b")

    @graph.step(output=True)
    def length(words: Text) -> int:
        return len(words)

    @graph.step(output=True)
    async def count(words: Stream[Text]) -> int:
        return len(await words.collect())

    assert dict(await graph.run()) == {"words": "a b", "length": 3, "count": 2}


async def test_what_is_joined_is_held_against_the_functions_annotation() -> None:
    def total(numbers: list[int]) -> int:
        return str(sum(numbers))  # type: ignore[return-value]

    graph = Graph("g")

    @graph.step(join=total)
    async def numbers() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(StepError, match="was joined to '1'") as caught:
        await graph.run()
    assert (caught.value.part, caught.value.inputs) == ("join", {"chunks": "[1]"})

    @graph.step
    def word(numbers: str) -> str: ...

    assert [each.given for each in faults(graph)] == ["step 'numbers' returns int"]


async def test_a_join_that_raises_says_so_and_what_it_was_given() -> None:
    graph = Graph("g")

    @graph.step(join=lambda chunks: chunks[5])
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    with pytest.raises(StepError) as caught:
        await graph.run()
    assert str(caught.value) == (
        "step 'numbers' failed in its `join` with IndexError: list index out of range (which was given"
        " chunks=[1, 2])"
    )

    async def later(chunks: list[int]) -> int:
        return sum(chunks)

    graph = Graph("g")
    graph.step(numbers, join=lambda chunks: later(chunks))
    with pytest.raises(StepError, match="in its `join` with TypeError: it returned a coroutine"):
        await graph.run()


async def test_followers_see_the_type_that_a_join_returns() -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    graph = Graph("g", inputs={"ns": list[int]})

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def upto(n: int) -> AsyncIterator[int]:
        for each in range(n):
            yield each

    async def words() -> AsyncIterator[Text]:
        yield Text("a")
        yield Text("b")

    graph.step(numbers, as_="typed", join=total)
    graph.step(words, as_="untyped", join=" ".join)  # says nothing of its type: whoever reads it may
    graph.step(upto, as_="mapped", map={"n": "ns"}, join=total)

    @graph.step
    def seen(typed: int, untyped: Text, mapped: list[int]) -> list[str]:
        return [type(each).__name__ for each in (typed, untyped, *mapped)]

    assert (await graph.run(ns=[2, 3]))[seen] == ["int", "Text", "int", "int"]
    types = {line.split("|")[1] for line in graph.draw().mermaid.splitlines() if "|" in line}
    assert {"int", "Any", "list[int]"} <= {each.strip('"') for each in types}

    @graph.step
    def wrong(typed: str, mapped: int) -> None: ...

    assert [(each.given, each.wanted) for each in faults(graph)] == [
        ("step 'typed' returns int", "str"),
        ("step 'mapped' returns list[int]", "int"),
    ]


def test_what_cannot_join_a_list_is_a_fault() -> None:
    async def later(chunks: list[str]) -> str: ...

    async def yielding(chunks: list[str]) -> AsyncIterator[str]:
        yield ""

    def generating(chunks: list[str]) -> Iterator[str]:
        yield ""

    def two(one: list[str], other: list[str]) -> str: ...

    def nothing() -> str: ...

    def named(*, chunks: list[str]) -> str: ...

    def of_numbers(chunks: list[int]) -> int: ...

    async def words() -> AsyncIterator[str]:
        yield "a"

    joins: list[Any] = [later, yielding, generating, two, nothing, named, of_numbers]
    graph = Graph("g")
    for join in joins:
        graph.step(words, as_=join.__name__, join=join)
    assert [(each.subject, each.given) for each in faults(graph)] == [
        ("step 'later', join", "it is async, or yields"),
        ("step 'yielding', join", "it is async, or yields"),
        ("step 'generating', join", "it is async, or yields"),
        ("step 'two', join", "it takes 'one', 'other'"),
        ("step 'nothing', join", "it takes nothing"),
        ("step 'named', join", "it takes 'chunks', 'chunks' by name only"),
        ("step 'of_numbers', join, parameter 'chunks'", "it is given list[str]"),
    ]


def test_what_can_join_a_list_is_none() -> None:
    T = TypeVar("T")

    def first(chunks: Sequence[T]) -> T:
        return chunks[0]

    def iterated(chunks: Iterable[str]) -> str:
        return "".join(chunks)

    def optional(chunks: list[str], between: str = " ") -> str:
        return between.join(chunks)

    async def words() -> AsyncIterator[Text]:
        yield Text("a")

    joins: list[Any] = [
        " ".join,
        len,
        list,
        tuple,
        set,
        max,
        first,
        optional,
        partial(optional, between="-"),
        lambda *chunks: chunks,
        partial(sum, start=""),
    ]
    graph = Graph("g")
    for number, join in enumerate(joins):
        graph.step(words, as_=f"s{number}", join=join)
    graph.step(words, as_="iterated", join=iterated)
    graph.check()


async def test_chunks_are_wrapped_and_held_against_the_annotation() -> None:
    graph = Graph("g")

    @graph.step
    async def words() -> AsyncIterator[Text]:
        yield "plain"  # type: ignore[misc]
        yield 3  # type: ignore[misc]

    async with graph.start() as run:
        events = [event async for event in run]
        with pytest.raises(StepError, match=r"it yielded 3 \(int\); wanted Text") as caught:
            await run.result()
    assert isinstance(caught.value.__cause__, WrongReturn)
    assert [type(event.chunk) for event in events if isinstance(event, StreamChunk)] == [Text]


@pytest.mark.parametrize("how", ["ends", "fails", "is cancelled", "yields what it may not", "takes too long"])
async def test_a_generator_is_closed_however_it_ends(how: str) -> None:
    graph = Graph("g")
    closed = []

    @graph.step(timeout=0.02 if how == "takes too long" else 60)
    async def words() -> AsyncIterator[str]:
        try:
            yield "a"
            if how == "fails":
                raise ValueError
            if how == "yields what it may not":
                yield 3  # type: ignore[misc]
            if how != "ends":
                await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            closed.append(how)

    async with graph.start() as run:
        if how == "is cancelled":
            async for event in run:
                if isinstance(event, StreamChunk):
                    break
        else:
            await told(run)
    assert closed == [how]


async def test_a_step_is_not_retried_once_a_chunk_was_read() -> None:
    graph = Graph("g", inputs={"read": bool})
    attempts = 0
    gate = asyncio.Event()

    @graph.step(retries=3, backoff=0.001)
    async def words(read: bool) -> AsyncIterator[str]:
        nonlocal attempts
        attempts += 1
        yield f"attempt {attempts}"
        if read:
            await gate.wait()
        if attempts < 3:
            raise ValueError
        gate.set()

    @graph.step
    async def reader(words: Stream[str], read: bool) -> list[str]:
        if not read:
            await gate.wait()
        said = []
        async for word in words:
            said.append(word)
            gate.set()
        return said

    assert (await graph.run(read=False))[reader] == ["attempt 3"]
    attempts = 0
    gate.clear()
    with pytest.raises(StepError, match="words"):
        await graph.run(read=True)
    assert attempts == 1


async def test_an_unread_attempt_leaves_no_chunks_behind() -> None:
    graph = Graph("g")
    attempts = 0

    @graph.step(retries=1, backoff=0.001)
    async def words() -> AsyncIterator[int]:
        nonlocal attempts
        attempts += 1
        yield attempts
        if attempts == 1:
            raise ValueError

    assert (await graph.run())["words"] == [2]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_streams_under_a_limit_do_not_wait_for_each_other(limit: int) -> None:
    graph = Graph("g")
    tries = 0

    @graph.step(retries=2, backoff=0.005)
    async def numbers() -> AsyncIterator[int]:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.002)
        if tries < 3:
            raise ValueError
        for n in range(3):
            yield n
            await asyncio.sleep(0)

    async def doubled(numbers: Stream[int]) -> AsyncIterator[int]:
        async for n in numbers:
            yield 2 * n

    async def total(numbers: Stream[int]) -> int:
        return sum([n async for n in numbers])

    for number in range(4):
        graph.step(doubled, as_=f"d{number}")
        graph.step(total, as_=f"t{number}", reads={"numbers": f"d{number}"})
    async with asyncio.timeout(5):
        result = await graph.run(options=RunOptions(limit=limit))
    assert dict(result) == {f"t{number}": 6 for number in range(4)}


async def test_a_skipped_or_given_step_has_a_stream_too() -> None:
    graph = Graph("g", inputs={"go": bool})

    @graph.step(when=lambda go: go)
    async def words() -> AsyncIterator[str]:
        yield "a"

    @graph.step
    async def read(words: Stream[str]) -> list[str]:
        return await words.collect()

    assert dict(await graph.run(go=False)) == {}
    assert (await graph.run(options=RunOptions(given={"words": ["x", "y"]})))[read] == ["x", "y"]


async def test_a_stream_goes_into_a_graph_inside() -> None:
    inner = Graph("inner", inputs={"words": Stream[str]})

    @inner.step
    async def loud(words: Stream[str]) -> list[str]:
        return [word.upper() async for word in words]

    outer = Graph("outer")

    @outer.step
    async def words() -> AsyncIterator[str]:
        yield "a"

    outer.step(inner, as_="part")
    assert (await outer.run())["part"] == ["A"]


async def test_a_generator_that_is_mapped_gives_lists() -> None:
    graph = Graph("g", inputs={"ns": list[int]})

    @graph.step(map={"n": "ns"})
    async def upto(n: int) -> AsyncIterator[int]:
        for each in range(n):
            yield each

    running = most = 0

    @graph.step(map={"n": "ns"})
    async def counted(n: int) -> AsyncIterator[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        yield n
        running -= 1

    @graph.step
    def rows(upto: list[list[int]]) -> list[list[int]]:
        return upto

    result = await graph.run(ns=[1, 3], options=RunOptions(limit=1))
    assert result[rows] == [[0], [0, 1, 2]]
    assert result["counted"] == [[1], [3]]
    assert most == 1


async def test_a_function_of_a_stream_is_called_alone() -> None:
    async def total(numbers: Stream[int]) -> int:
        return sum([n async for n in numbers])

    stream = Stream([1, 2, 3])
    assert await total(stream) == 6
    assert await total(stream) == 6
    assert repr(stream) == "<Stream of 3 chunks>"
    assert repr(Stream([1])) == "<Stream of 1 chunk>"


async def test_speech_begins_before_the_last_word_of_an_answer_is_decided() -> None:
    graph = Graph("g", inputs={"question": Text})
    sounded = asyncio.Event()

    @graph.step(join=" ".join)
    async def words(question: Text, core: Core) -> AsyncIterator[Text]:
        said = 0
        request = Request(task=Task.ANSWER, content=(question,), blank=Modality.TEXT)
        async with core.generate(request) as generation:
            async for change in generation:
                decided = change.preview.partition("░")[0].split(" ")
                for word in decided[said:-1]:
                    yield Text(word)
                    said += 1
                    await sounded.wait()  # no further word is looked at before there is sound
            answer = await generation
        for word in str(answer).split(" ")[said:]:
            yield Text(word)

    @graph.step
    async def spoken(words: Stream[Text], core: Core) -> AsyncIterator[Speech]:
        async for word in words:
            yield await core.decoded(await core.speak(word))
            sounded.set()

    script: dict[Task, Any] = {
        Task.ANSWER: "a dog on the grass",
        Task.SPEAK: lambda request: Speech(np.zeros(len(request.content[0]), np.float32), 8000),
    }
    async with ScriptedCore(script, num_steps=18) as core, graph.start(core, question="what") as run:
        lines = [line for line in await told(run) if line.startswith(("Stream", "StepF"))]
        speeches = (await run.result())[spoken]
    assert [len(speech.samples) for speech in speeches] == [1, 3, 2, 3, 5]
    assert lines.index("StreamChunk spoken") < lines.index("StepFinished words")


def test_bad_streams_are_faults() -> None:
    graph = Graph("g", inputs={"n": int})

    def one(n: int) -> int:
        return n

    @graph.step
    async def words() -> AsyncIterator[str]:
        yield "a"

    @graph.step
    async def untyped() -> AsyncIterator[str]:
        yield "a"

    untyped.__annotations__["return"] = int
    graph.step(one)

    @graph.step
    async def a(one: Stream[int]) -> int: ...

    @graph.step
    def b(words: Stream[str]) -> int: ...

    @graph.step
    async def c(words: Stream[int]) -> int: ...

    @graph.step
    async def d(words: str) -> int: ...

    @graph.step(join=3)  # type: ignore[arg-type]
    async def e() -> AsyncIterator[str]:
        yield "a"

    found = {each.subject: (each.given, each.wanted) for each in faults(graph)}
    assert found == {
        "step 'untyped', return": (
            "it yields, and is annotated int",
            "AsyncIterator[...] with the type of its chunks",
        ),
        "step 'a', parameter 'one'": ("step 'one' returns int", "a step that yields"),
        "step 'b', parameter 'words'": ("its function is not async", "an async function"),
        "step 'c', parameter 'words'": ("step 'words' yields str", "Stream[int]"),
        "step 'd', parameter 'words'": ("step 'words' returns list[str]", "str"),
        "step 'e', join": ("it is 3", "a function of a list"),
    }

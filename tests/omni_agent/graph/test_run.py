"""Running a graph: what starts when, what is kept, and what a run is given."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from omni_agent import (
    Conversation,
    Core,
    Graph,
    Image,
    InputError,
    NoSuchResult,
    Reply,
    RunOptions,
    Speech,
    StepFinished,
    Task,
    Text,
    WrongReturn,
    observer,
)
from omni_agent.errors import StepError
from omni_agent.testing import ScriptedCore

PICTURE = Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
SOUND = Speech(np.zeros(800, np.float32), 8000)


def chain(length: int) -> Graph:
    graph = Graph("chain", inputs={"s0": int})

    async def after(n: int) -> int:
        return n + 1

    for number in range(length):
        graph.step(after, as_=f"s{number + 1}", reads={"n": f"s{number}"})
    return graph


async def test_a_step_starts_the_moment_its_inputs_exist() -> None:
    graph = Graph("g")
    happened: list[str] = []
    gate = asyncio.Event()

    @graph.step
    async def slow() -> int:
        await gate.wait()
        happened.append("slow")
        return 1

    @graph.step
    async def fast() -> int:
        return 1

    @graph.step
    async def after_fast(fast: int) -> int:
        happened.append("after fast")
        gate.set()
        return fast

    @graph.step
    async def last(slow: int, after_fast: int) -> int:
        return slow + after_fast

    result = await graph.run()
    assert happened == ["after fast", "slow"]
    assert dict(result) == {"last": 2}


async def test_steps_run_side_by_side() -> None:
    graph = Graph("g")
    barrier = asyncio.Barrier(5)

    async def meet() -> None:
        await barrier.wait()

    for name in "abcde":
        graph.step(meet, as_=name)
    async with asyncio.timeout(5):
        await graph.run()


@pytest.mark.parametrize("limit", [1, 2, 5, None])
async def test_a_limit_holds_for_steps_at_once(limit: int | None) -> None:
    graph = Graph("g")
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    for number in range(12):
        graph.step(work, as_=f"s{number}")
    await graph.run(options=RunOptions(limit=limit))
    assert most == (limit or 12)


@given(st.data())
async def test_any_graph_without_cycles_runs_each_step_once_after_what_it_reads(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    reads = [
        data.draw(st.sets(st.integers(0, max(0, n - 1)), max_size=3)) if n else set() for n in range(count)
    ]
    order: list[int] = []

    def made(number: int) -> Any:
        async def step(**values: int) -> int: ...

        names = [f"s{each}" for each in reads[number]]
        space: dict[str, Any] = {"order": order}
        source = f"async def s{number}({', '.join(f'{name}: int' for name in names)}) -> int:\n"
        exec(source + f"    order.append({number})\n    return {number}", space)
        return space[f"s{number}"]

    graph = Graph("g")
    for number in data.draw(st.permutations(range(count))):
        graph.step(made(number), output=True)
    result = await graph.run(options=RunOptions(limit=data.draw(st.sampled_from([None, 1, 2]))))
    assert dict(result) == {f"s{n}": n for n in range(count)}
    assert sorted(order) == list(range(count))
    assert all(order.index(before) < order.index(n) for n in range(count) for before in reads[n])


async def test_long_chains_do_not_exhaust_the_stack() -> None:
    assert dict(await chain(3000).run(s0=0)) == {"s3000": 3000}


async def test_ten_runs_at_once_do_not_mix() -> None:
    graph = Graph("g", inputs={"question": Text})

    @graph.step
    async def answer(question: Text, core: Core) -> Text:
        return await core.answer(question)

    @graph.step
    def loud(answer: Text, question: Text) -> Text:
        return Text(f"{question} {answer.upper()}")

    script: dict[Task, Any] = {Task.ANSWER: lambda request: f"to {request.content[0]}"}
    async with ScriptedCore(script, pause=0.001) as core:
        results = await asyncio.gather(*(graph.run(core, question=f"q{n}") for n in range(10)))
    assert [result[loud] for result in results] == [f"q{n} TO Q{n}" for n in range(10)]


async def test_outputs_are_the_steps_nobody_reads_or_those_that_are_marked() -> None:
    graph = Graph("g", inputs={"n": int})

    @graph.step
    def one(n: int) -> int:
        return n + 1

    @graph.step
    def two(one: int) -> int:
        return one + 1

    @graph.step
    def three(one: int) -> int:
        return one + 2

    result = await graph.run(n=0)
    assert dict(result) == {"two": 2, "three": 3}
    assert (result[two], result["three"], len(result), "two" in result, list(result)) == (
        2,
        3,
        2,
        True,
        ["two", "three"],
    )
    with pytest.raises(
        NoSuchResult, match=r"keeps 'two', 'three'\. If 'one' is a step, mark it with output=True"
    ):
        result[one]
    with pytest.raises(NoSuchResult, match="Did you mean 'three'"):
        result["thre"]
    with pytest.raises(NoSuchResult, match="chain is not a step"):
        result[chain]

    graph.step(one, as_="kept", output=True)
    marked = await graph.run(n=0)
    assert dict(marked) == {"kept": 1}
    with pytest.raises(NoSuchResult, match="stands for several steps, 'one', 'kept'"):
        marked[one]


async def test_steps_that_nobody_reads_run_even_if_they_are_no_outputs() -> None:
    graph = Graph("g")
    saved = []

    @graph.step(output=True)
    def answer() -> int:
        return 1

    @graph.step
    def save(answer: int) -> None:
        saved.append(answer)

    assert dict(await graph.run()) == {"answer": 1}
    assert saved == [1]


async def test_results_are_found_by_method_and_by_partial() -> None:
    class Shop:
        def __init__(self, n: int) -> None:
            self.n = n

        def price(self) -> int:
            return self.n

    graph = Graph("g")
    first, second = Shop(1), Shop(2)
    add = functools.partial(lambda a, b: a + b, 3)
    graph.step(first.price, as_="a", output=True)
    graph.step(second.price, as_="b", output=True)
    result = await graph.run()
    assert (result[first.price], result[second.price]) == (1, 2)
    with pytest.raises(NoSuchResult):
        result[add]


async def test_values_are_released_after_their_last_reader() -> None:
    class Big:
        pass

    graph = Graph("g")
    seen: list[weakref.ref[Big]] = []
    alive: list[bool] = []

    @graph.step
    async def big() -> Big:
        value = Big()
        seen.append(weakref.ref(value))
        return value

    @graph.step
    async def used(big: Big) -> int:
        return 1

    @graph.step
    async def also(big: Big) -> int:
        await asyncio.sleep(0.01)
        return 1

    @graph.step
    async def last(used: int, also: int) -> None:
        gc.collect()
        alive.append(seen[0]() is not None)

    await graph.run()
    assert alive == [False]


async def test_plain_strings_become_text_at_inputs_returns_and_edges() -> None:
    graph = Graph("g", inputs={"question": Text, "name": str})
    kinds = []

    @graph.step
    async def returned(question: Text, name: str) -> Text:
        kinds.extend([type(question), type(name)])
        return "plain"  # type: ignore[return-value]

    @graph.step
    async def plain(returned: Text) -> str:
        kinds.append(type(returned))
        return "plain"

    @graph.step
    async def taken(plain: Text | None) -> int:
        kinds.append(type(plain))
        return 1

    await graph.run(question="q", name="n")
    assert kinds == [Text, str, Text, Text]


@pytest.mark.parametrize("value", [None, 3, b"x", ["a", 1]])
async def test_what_a_step_returns_is_held_against_its_annotation(value: object) -> None:
    graph = Graph("g")

    @graph.step
    async def answer() -> list[str]:
        return value  # type: ignore[return-value]

    with pytest.raises(StepError, match=r"wanted list\[str\], as its annotation says") as caught:
        await graph.run()
    assert isinstance(caught.value.__cause__, WrongReturn)


async def test_given_values_skip_a_step_and_what_only_it_needs() -> None:
    graph = Graph("g", inputs={"question": Speech, "picture": Image})
    ran = []

    @graph.step
    async def cleaned(question: Speech) -> Speech:
        ran.append("cleaned")
        return question

    @graph.step
    async def heard(cleaned: Speech) -> Text:
        ran.append("heard")
        return Text("heard")

    @graph.step
    async def answer(heard: Text, picture: Image) -> Text:
        ran.append("answer")
        return Text(f"{type(heard).__name__} {heard}")

    result = await graph.run(picture=PICTURE, options=RunOptions(given={"heard": "typed"}))
    assert result[answer] == "Text typed"
    assert ran == ["answer"]

    result = await graph.run(options=RunOptions(given={"answer": "known"}))
    assert (result[answer], ran) == ("known", ["answer"])


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        ({}, {}, "was run without question: Text, picture: Image | None"),
        ({"question": "a", "pictur": None}, {}, r"input 'pictur' is not part .* Did you mean 'picture'\?"),
        ({"question": 3, "picture": None}, {}, "input 'question' of graph 'g' was 3 [(]int[)]; wanted Text"),
        ({"question": "a", "picture": "b.png"}, {}, r"wanted Image \| None"),
        ({"question": "a", "picture": None}, {"given": {"anser": 1}}, "given step 'anser' .* 'answer'"),
        ({"question": "a", "picture": None}, {"given": {"answer": 1}}, "given step 'answer' .* wanted Text"),
        ({"question": "a", "picture": None}, {"given": {5: 1}}, "given step 5 is not part of graph 'g'"),
    ],
)
async def test_inputs_are_checked_before_anything_runs(
    inputs: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    graph = Graph("g", inputs={"question": Text, "picture": Image | None})

    @graph.step
    async def answer(question: Text, picture: Image | None) -> Text:
        raise AssertionError

    with pytest.raises(
        InputError, match=words.replace("Image | None", r"Image \| None").replace(r"\\|", r"\|")
    ):
        graph.start(options=RunOptions(**options), **inputs)


async def test_resources_are_checked_before_anything_runs() -> None:
    class Shop:
        pass

    class Corner(Shop):
        pass

    graph = Graph("g", resources=[Shop])

    @graph.step
    async def answer(core: Core, shop: Shop) -> str:
        return type(shop).__name__

    async with ScriptedCore({}) as core:
        assert (await graph.run(Corner(), core))[answer] == "Corner"
        for resources, words in [
            ((core,), "was run without Shop, which step 'answer' takes"),
            ((Shop(),), "was run without Core"),
            ((core, core, Shop()), "two objects for Core"),
            ((core, Shop(), 3), "3 is no resource of graph 'g', which takes Shop, Core"),
        ]:
            with pytest.raises(InputError, match=words):
                await graph.run(*resources)


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"limit": 1.5},
        {"limit": True},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": True},
        {"timeout": "3"},
        {"tracer": 5},
        {"rerun_changed": "yes"},
        {"given": [1]},
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        RunOptions(**options)


@pytest.mark.parametrize("given", [{"limit": 3}, 5, False])
async def test_options_of_another_kind_are_refused(given: Any) -> None:
    graph = Graph("g")

    @graph.step
    def one() -> int:
        return 1

    with pytest.raises(
        InputError, match=r"options were .*; wanted RunOptions\(\.\.\.\), as in options=RunOptions"
    ):
        await graph.run(options=given)
    with pytest.raises(InputError, match="wanted a run of this graph, or none"):
        graph.draw(given)


async def test_tokens_travel_between_steps_and_outputs_are_decoded() -> None:
    class Pair(NamedTuple):
        name: str
        picture: Image

    @dataclass(frozen=True)
    class Page:
        picture: Image
        sounds: tuple[Speech, ...]

    class Model(BaseModel):
        reply: Page

    graph = Graph("g")
    between = []

    @graph.step
    async def drawn(core: Core) -> Image:
        return await core.draw("a cat")

    @graph.step
    async def pages(drawn: Image, core: Core) -> dict[str, list[Page]]:
        between.append(drawn.is_decoded)
        return {"pages": [Page(drawn, (await core.speak("x"), SOUND))]}

    @graph.step
    async def pair(drawn: Image) -> Pair:
        return Pair("cat", drawn)

    @graph.step
    async def reply(core: Core) -> Reply:
        return await core.reply("what?")

    @graph.step
    async def model(drawn: Image) -> Model:
        return Model.model_construct(reply=Page(drawn, ()))

    @graph.step
    async def said(core: Core) -> Conversation:
        return Conversation().assistant(await core.speak("x"))

    script: dict[Task, Any] = {Task.DRAW: PICTURE, Task.SPEAK: SOUND, Task.ANSWER: "a"}
    async with ScriptedCore(script) as core, graph.start(core) as run:
        finished = {event.step: event.value async for event in run if isinstance(event, StepFinished)}
        result = await run.result()
    assert between == [False]
    assert not finished["drawn"].is_decoded
    page = result[pages]["pages"][0]
    assert page.picture.is_decoded
    assert page.sounds[0].is_decoded
    assert page.sounds[1] is SOUND
    assert result[pair].picture.is_decoded
    assert type(result[pair]) is Pair
    assert result[reply].speech.is_decoded
    assert result[model].reply.picture.is_decoded
    assert result[said].turns[0].value.is_decoded  # type: ignore[union-attr]
    assert finished["pair"] == result[pair]


async def test_given_outputs_are_decoded_too() -> None:
    graph = Graph("g")

    @graph.step
    async def drawn(core: Core) -> Image:
        raise AssertionError

    async with ScriptedCore({Task.DRAW: PICTURE}) as core:
        token = observer.set(lambda change: None)
        picture = await core.draw("a cat")
        observer.reset(token)
        result = await graph.run(core, options=RunOptions(given={"drawn": picture}))
    assert (picture.is_decoded, result[drawn].is_decoded) == (False, True)


async def test_steps_see_the_runs_context_variables_and_not_each_others() -> None:
    color: ContextVar[str] = ContextVar("color", default="none")
    graph = Graph("g")

    @graph.step
    async def first() -> str:
        color.set("red")
        return color.get()

    @graph.step
    def second(first: str) -> str:
        return color.get()

    color.set("blue")
    assert (await graph.run())[second] == "blue"
    assert color.get() == "blue"


async def test_a_graph_can_run_inside_a_step() -> None:
    inner = Graph("inner", inputs={"text": Text})

    @inner.step
    async def picture(text: Text, core: Core) -> Image:
        return await core.draw(text)

    outer = Graph("outer")

    @outer.step
    async def page(core: Core) -> Image:
        return (await inner.run(core, text="a cat"))[picture]

    async with ScriptedCore({Task.DRAW: PICTURE}) as core:
        assert (await outer.run(core))[page].is_decoded


async def test_positional_only_parameters_are_edges_too() -> None:
    graph = Graph("g", inputs={"a": int, "b": int})

    @graph.step
    async def difference(a: int, b: int, /) -> int:
        return a - b

    assert (await graph.run(b=1, a=5))[difference] == 4


async def test_a_decorated_async_function_is_awaited() -> None:
    def traced(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            return function(*args, **named)

        return call

    graph = Graph("g", inputs={"n": int})

    @graph.step
    @traced
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    assert (await graph.run(n=2))["double"] == 4


async def test_an_input_may_be_called_self() -> None:
    graph = Graph("g", inputs={"self": int, "resources": int})

    @graph.step
    async def total(self: int, resources: int) -> int:
        return self + resources

    assert (await graph.run(self=1, resources=2))[total] == 3


async def test_a_run_is_entered_once() -> None:
    graph = chain(1)
    run = graph.start(s0=0)
    with pytest.raises(RuntimeError, match="has not begun"):
        await run.result()
    async with run:
        await run.result()
    with pytest.raises(RuntimeError, match="entered once"):
        async with run:
            pass


async def test_a_run_that_was_not_entered_says_so_to_who_iterates_it() -> None:
    graph = Graph("g")

    @graph.step
    def one() -> int:
        return 1

    run = graph.start()
    with pytest.raises(RuntimeError, match="the run has not begun: enter it with `async with`"):
        await anext(run)
    with pytest.raises(RuntimeError, match="the run has not begun"):
        async for _ in run:
            pass


def test_a_run_id_without_a_store_is_refused() -> None:
    with pytest.raises(InputError, match="run_id 'x' was given without a store, so nothing would be kept"):
        RunOptions(run_id="x")

"""Steps that are called again: after a failure, after too long, and when the core was unsure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from omni_agent import (
    Core,
    Fault,
    Graph,
    GraphError,
    InputError,
    RunOptions,
    StepContext,
    StepError,
    StepFinished,
    StepRetried,
    StepTimedOut,
    Task,
    Text,
    Unsure,
    WrongReturn,
)
from omni_agent.testing import ScriptedCore, Sure
from tests.omni_agent.graph.told import told


def faults(graph: Graph) -> tuple[Fault, ...]:
    with pytest.raises(GraphError) as caught:
        graph.check()
    return caught.value.faults


def failing(times: int, **control: Any) -> Graph:
    graph = Graph("g")
    left = times

    @graph.step(backoff=0.001, **control)
    async def shaky() -> int:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ValueError(f"{left} left")
        return 1

    return graph


async def test_a_step_is_retried_until_it_works() -> None:
    async with failing(2, retries=2).start() as run:
        assert await told(run) == [
            "RunStarted",
            "StepStarted shaky",
            "StepRetried shaky",
            "StepStarted shaky",
            "StepRetried shaky",
            "StepStarted shaky",
            "StepFinished shaky",
            "RunFinished",
        ]
        assert (await run.result())["shaky"] == 1


async def test_retries_tell_their_number_the_error_and_a_wait_that_doubles() -> None:
    async with failing(3, retries=3).start() as run:
        retried = [event async for event in run if isinstance(event, StepRetried)]
    assert [event.attempt for event in retried] == [2, 3, 4]
    assert [str(event.error) for event in retried] == ["2 left", "1 left", "0 left"]
    for event, least in zip(retried, [0.001, 0.002, 0.004], strict=True):
        assert least <= event.wait <= least + 0.0011


async def test_when_no_retry_is_left_the_last_error_is_the_cause() -> None:
    with pytest.raises(StepError, match="failed with ValueError: 1 left"):
        await failing(4, retries=2).run()


async def test_a_wrong_return_is_retried_too() -> None:
    graph = Graph("g")
    values = iter(["x", 1])

    @graph.step(retries=1, backoff=0.001)
    def picky() -> int:
        return next(values)  # type: ignore[return-value]

    assert (await graph.run())[picky] == 1
    values = iter(["x", "y"])
    with pytest.raises(StepError) as caught:
        await graph.run()
    assert isinstance(caught.value.__cause__, WrongReturn)


async def test_a_step_has_its_time_and_each_attempt_anew() -> None:
    graph = Graph("g")
    attempts = []

    @graph.step(timeout=0.02, retries=1, backoff=0.001)
    async def slow(context: StepContext) -> int:
        attempts.append(context.attempt)
        if context.attempt == 1:
            await asyncio.sleep(60)
        return context.attempt

    assert (await graph.run())[slow] == 2
    assert attempts == [1, 2]


async def test_a_step_that_takes_too_long_is_a_timeout() -> None:
    graph = Graph("g")

    @graph.step(timeout=0.01)
    async def slow(core: Core) -> Text:
        return await core.answer("q")

    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:
        with pytest.raises(TimeoutError, match=r"took longer than its 0\.01 s") as caught:
            await graph.run(core)
        await asyncio.sleep(0)
        assert core.running == 0
    assert isinstance(caught.value, StepTimedOut)


async def test_a_sync_step_that_takes_too_long_is_waited_for() -> None:
    graph = Graph("g")
    happened = []

    @graph.step(timeout=0.01)
    def slow() -> int:
        import time

        time.sleep(0.05)
        happened.append("done")
        return 1

    with pytest.raises(StepTimedOut):
        await graph.run()
    assert happened == ["done"]


async def test_cancelling_during_a_wait_ends_the_step() -> None:
    graph = Graph("g")

    @graph.step(retries=5, backoff=60)
    async def broken() -> int:
        raise ValueError

    async with graph.start() as run:
        async for event in run:
            if isinstance(event, StepRetried):
                break
    assert await told(run) == ["StepCancelled broken", "RunCancelled"]


async def test_a_step_gives_its_place_back_while_it_waits() -> None:
    graph = Graph("g")
    gate = asyncio.Event()

    @graph.step(retries=1, backoff=0.02)
    async def first() -> int:
        if not gate.is_set():
            raise ValueError
        return 1

    @graph.step
    async def second() -> int:
        gate.set()
        return 2

    assert dict(await graph.run(options=RunOptions(limit=1))) == {"first": 1, "second": 2}


async def test_the_key_of_a_step_is_the_same_for_each_attempt_and_another_for_each_run() -> None:
    graph = Graph("g", inputs={"items": list[int]})
    keys: list[str] = []

    @graph.step(map={"item": "items"}, width=1, retries=1, backoff=0.001)
    def paid(item: int, context: StepContext) -> int:
        keys.append(context.key)
        if context.attempt == 1:
            raise ValueError
        assert context.path == ("paid", item)
        assert context.step == "paid"
        return item

    await graph.run(items=[0, 1])
    first, again, second, _ = keys
    assert first == again != second
    assert first.endswith("/paid/0")
    await graph.run(items=[0])
    assert keys[-1] not in keys[:4]


# unsure


def unsure(script: Any, **options: Any) -> tuple[Graph, ScriptedCore]:
    graph = Graph("g")

    @graph.step(unsure=Unsure(below=0.6, **options))
    async def answer(core: Core) -> Text:
        return await core.answer("q")

    return graph, ScriptedCore({Task.ANSWER: script}, num_steps=1)


async def test_each_step_tells_the_lowest_confidence_of_its_core_calls() -> None:
    graph = Graph("g")

    @graph.step
    async def answers(core: Core) -> list[Text]:
        return [await core.answer("a"), await core.answer("b"), await core.answer("c")]

    @graph.step
    def none() -> int:
        return 1

    script = {Task.ANSWER: [Sure("x", 0.9), Sure("y", 0.4), "z"]}
    async with ScriptedCore(script) as core, graph.start(core) as run:
        told = {event.step: event.confidence async for event in run if isinstance(event, StepFinished)}
    assert told == {"answers": 0.4, "none": None}


async def test_an_unsure_step_is_called_again_and_the_surest_value_is_kept() -> None:
    graph, core = unsure([Sure("a", 0.3), Sure("b", 0.5), Sure("c", 0.2)], retry=2)
    async with core, graph.start(core) as run:
        events = [event async for event in run]
        assert (await run.result())["answer"] == "b"
    retried = [event for event in events if isinstance(event, StepRetried)]
    assert [(event.confidence, event.error, event.wait) for event in retried] == [
        (0.3, None, 0),
        (0.5, None, 0),
    ]


async def test_a_sure_step_is_not_called_again() -> None:
    graph, core = unsure([Sure("a", 0.3), Sure("b", 0.7)], retry=5)
    async with core:
        assert (await graph.run(core))["answer"] == "b"


async def test_a_retry_draws_anew() -> None:
    graph, core = unsure([Sure("a", 0.3)] * 3, retry=2)
    async with core:
        await graph.run(core)
        seeds = [request.settings.seed for request in core.requests]
    assert seeds[0] == 0
    assert len(set(seeds)) == 3


async def test_failures_and_doubts_are_counted_apart() -> None:
    graph = Graph("g")
    script: list[Any] = [Sure("a", 0.3), ValueError("x"), Sure("b", 0.4), ValueError("y"), Sure("c", 0.9)]

    @graph.step(unsure=Unsure(below=0.6, retry=2), retries=2, backoff=0.001)
    async def answer(core: Core) -> Text:
        return await core.answer("q")

    async with ScriptedCore({Task.ANSWER: script}) as core:
        assert (await graph.run(core))[answer] == "c"


def with_stand_in(confidence: float) -> tuple[Graph, ScriptedCore]:
    graph = Graph("g", late={"typed": Text})

    @graph.step(unsure=Unsure(below=0.6, then="ask_user"))
    async def answer(core: Core) -> Text:
        return await core.answer("q")

    @graph.step
    async def ask_user(answer: Text, typed: Text) -> Text:
        return Text(f"{typed}, not {answer}")

    @graph.step
    def loud(answer: Text) -> Text:
        return Text(answer.upper())

    return graph, ScriptedCore({Task.ANSWER: Sure("perhaps", confidence)}, num_steps=1)


async def test_another_step_stands_in_for_one_that_is_unsure() -> None:
    graph, core = with_stand_in(0.5)
    async with core, graph.start(core) as run:
        await run.send("typed", "yes")
        assert [line for line in await told(run) if not line.startswith("Canvas")] == [
            "RunStarted",
            "StepStarted answer",
            "StepFinished answer",
            "StepStarted ask_user",
            "StepFinished ask_user",
            "StepStarted loud",
            "StepFinished loud",
            "RunFinished",
        ]
        assert dict(await run.result()) == {"loud": "YES, NOT PERHAPS"}


async def test_the_stand_in_is_skipped_when_the_step_is_sure() -> None:
    graph, core = with_stand_in(0.7)
    async with core, graph.start(core) as run:
        lines = await told(run)
        assert (await run.result())["loud"] == "PERHAPS"
    assert "StepSkipped ask_user" in lines
    assert "InputAwaited typed" not in lines


async def test_a_given_value_needs_no_stand_in() -> None:
    graph, core = with_stand_in(0.5)
    async with core:
        result = await graph.run(core, options=RunOptions(given={"answer": "known"}))
        assert result["loud"] == "KNOWN"
        with pytest.raises(InputError, match="'ask_user' stands in for another"):
            graph.start(core, options=RunOptions(given={"ask_user": "known"}))


def test_bad_control_is_a_fault() -> None:
    graph = Graph("g", inputs={"n": int})

    def one(n: int) -> int:
        return n

    def word() -> str: ...

    graph.step(word)
    graph.step(one, as_="a", retries=-1)
    graph.step(one, as_="b", timeout=0)
    graph.step(one, as_="c", backoff=float("inf"))
    graph.step(one, as_="d", unsure=0.5)  # type: ignore[arg-type]
    graph.step(one, as_="e", unsure=Unsure(below=0.5, then="wrod"))
    graph.step(one, as_="f", unsure=Unsure(below=0.5, then="word"))
    graph.step(one, as_="h", unsure=Unsure(below=0.5, then="h"))
    graph.step(one, as_="i", join=sum)
    graph.step(one, as_="j", retires=2)  # type: ignore[call-overload]
    found = {each.subject: (each.given, each.mend) for each in faults(graph)}
    assert {subject: given for subject, (given, _) in found.items()} == {
        "step 'a', retries": "it is -1",
        "step 'b', timeout": "it is 0",
        "step 'c', backoff": "it is inf",
        "step 'd', unsure": "it is 0.5",
        "step 'e', unsure": "there is no other step 'wrod'",
        "step 'f', unsure": "step 'word' returns str",
        "step 'h', unsure": "there is no other step 'h'",
        "step 'i', join": "its function returns its value",
        "step 'j'": "there is no option 'retires'",
    }
    assert found["step 'e', unsure"][1] == "Did you mean 'word'?"
    assert found["step 'j'"][1] == "Did you mean 'retries'?"


def test_a_stand_in_that_depends_on_what_it_stands_in_for_is_a_cycle() -> None:
    graph = Graph("g", inputs={"n": int})

    @graph.step(unsure=Unsure(below=0.5, then="ask"))
    def guess(n: int) -> int: ...

    @graph.step
    def after(guess: int) -> int: ...

    @graph.step
    def ask(after: int) -> int: ...

    (fault,) = faults(graph)
    assert "each reads the next" in fault.given


@pytest.mark.parametrize(
    "options", [{"below": 0}, {"below": 2}, {"below": 0.5, "retry": -1}, {"below": 0.5, "then": 3}]
)
def test_unsure_outside_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="wanted"):
        Unsure(**options)

"""Inputs that come while a run is under way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omni_agent import Fault, Graph, GraphError, InputAwaited, InputError, RunOptions, StepStarted, Text
from tests.omni_agent.graph.told import told


def asking() -> Graph:
    graph = Graph("g", inputs={"question": Text}, late={"reply": Text})

    @graph.step
    async def shown(question: Text) -> Text:
        return Text(f"{question}?")

    @graph.step
    async def answer(shown: Text, reply: Text) -> Text:
        return Text(f"{shown} {reply} ({type(reply).__name__})")

    return graph


async def test_a_late_input_arrives_by_send() -> None:
    async with asking().start(question="who") as run:
        lines = []
        async for event in run:
            lines.append(f"{type(event).__name__} {'/'.join(map(str, event.path))}".rstrip())
            if isinstance(event, InputAwaited):
                assert event.name == "reply"
                await run.send(event.path, "me")
        assert lines == [
            "RunStarted",
            "StepStarted shown",
            "StepFinished shown",
            "InputAwaited reply",
            "StepStarted answer",
            "StepFinished answer",
            "RunFinished",
        ]
        assert (await run.result())["answer"] == "who? me (Text)"


async def test_it_may_be_sent_before_anybody_waits_and_given_from_the_start() -> None:
    async with asking().start(question="who") as run:
        await run.send("reply", "me")
        lines = await told(run)
    assert "InputAwaited reply" not in lines
    assert (await asking().run(question="who", reply="you"))["answer"] == "who? you (Text)"


async def test_a_plain_run_without_one_is_an_error_at_once() -> None:
    ran: list[int] = []
    graph = asking()
    graph.step(lambda: ran.append(1), as_="side")
    graph = asking()
    with pytest.raises(
        InputError, match=r"without the late input reply: pass it by name, or use graph\.start"
    ):
        await graph.run(question="who")
    result = await graph.run(question="who", options=RunOptions(given={"answer": "known"}))
    assert result["answer"] == "known"


def playing() -> Graph:
    round_ = Graph("round", inputs={"secret": int}, late={"guess": int})

    @round_.step(output=True)
    async def verdict(secret: int, guess: int) -> bool:
        return secret == guess

    game = Graph("game", inputs={"secret": int})
    game.loop(round_, as_="game", carry={}, until=lambda verdict: verdict, max_rounds=9)
    return game


async def test_each_round_of_a_loop_waits_for_its_own() -> None:
    guesses = iter([1, 5, 3])
    async with playing().start(secret=3) as run:
        asked = []
        async for event in run:
            if isinstance(event, InputAwaited):
                asked.append(event.path)
                await run.send("/".join(map(str, event.path)), next(guesses))
        assert (await run.result())["game"] is True
    assert asked == [("game", 0, "guess"), ("game", 1, "guess"), ("game", 2, "guess")]


async def test_a_plain_run_names_a_late_input_inside() -> None:
    with pytest.raises(InputError, match="without the late input game/guess"):
        await playing().run(secret=3)


async def test_a_graph_around_may_give_a_late_input_by_an_edge() -> None:
    inner = asking()
    outer = Graph("outer", inputs={"question": Text, "typed": Text})
    outer.step(inner, as_="part", reads={"reply": "typed"}, output="answer")
    assert (await outer.run(question="who", typed="we"))["part"] == "who? we (Text)"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("repli", "x", r"no late input 'repli': graph 'g' has 'reply'\. Did you mean 'reply'\?"),
        ("question", "x", "no late input 'question'"),
        ("reply", 3, r"late input 'reply' was 3 \(int\); wanted Text"),
        ("answer/reply", "x", r"graph 'g' runs no graph as 'answer', nor any other graph\.$"),
        ((), "x", "no late input"),
        (5, 1, r"path was 5 \(int\); wanted a name, or a path as events tell it: 'game/2/guess' or \('ga"),
        (None, "x", "path was None"),
        (b"reply", "x", r"path was b'reply' \(bytes\)"),
        (("game", 1.5), "x", r"path was \('game', 1\.5\) \(tuple\)"),
        ("game/²/guess", "x", "no late input 'game/²/guess'"),
    ],
)
async def test_what_is_sent_is_checked(path: Any, value: object, words: str) -> None:
    async with asking().start(question="who") as run:
        with pytest.raises(InputError, match=words):
            await run.send(path, value)


async def test_sending_twice_or_too_late_or_without_a_number_is_an_error() -> None:
    run = asking().start(question="who")
    with pytest.raises(RuntimeError, match="has not begun"):
        await run.send("reply", "me")
    async with run:
        await run.send("reply", "me")
        with pytest.raises(InputError, match="'reply' was sent already"):
            await run.send("reply", "you")
        await run.result()
        with pytest.raises(InputError, match="the run of graph 'g' is over"):
            await run.send("reply", "you")
    async with playing().start(secret=3) as game:
        with pytest.raises(InputError, match=r"'game/0/\.\.\.'"):
            await game.send("game/guess", 3)
        with pytest.raises(InputError, match="'game' runs 9 rounds at most, from 0"):
            await game.send("game/9/guess", 3)
        await game.send(("game", 0, "guess"), 3)
        assert (await game.result())["game"]


async def test_the_same_value_may_be_sent_again_and_another_one_may_not() -> None:
    async with asking().start(question="who") as run:
        await run.send("reply", "me")
        await run.send(("reply",), Text("me"))
        with pytest.raises(
            InputError,
            match=r"'reply' was sent already, as 'me', and now as 'you'; wanted the same value, or none$",
        ):
            await run.send("reply", "you")
        assert (await run.result())["answer"] == "who? me (Text)"
        await run.send("reply", "me")
        with pytest.raises(InputError, match="or none, as the run of graph 'g' is over"):
            await run.send("reply", "you")
    async with asking().start(question="who", reply="me") as run:
        await run.send("reply", "me")
        with pytest.raises(InputError, match="'reply' was sent already, as 'me', and now as 'you'"):
            await run.send("reply", "you")


async def test_what_is_sent_to_a_run_that_was_left_at_once_comes_too_late() -> None:
    async with asking().start(question="who") as run:
        pass
    with pytest.raises(InputError, match="'reply' comes too late: the run of graph 'g' is over"):
        await run.send("reply", "me")


async def test_a_value_that_cannot_be_compared_is_another_one() -> None:
    graph = Graph("g", late={"samples": np.ndarray})

    @graph.step
    def size(samples: np.ndarray) -> int:
        return samples.size

    async with graph.start() as run:
        samples = np.zeros(3)
        await run.send("samples", samples)
        await run.send("samples", samples)
        with pytest.raises(InputError, match="'samples' was sent already"):
            await run.send("samples", np.zeros(3))
        assert (await run.result())["size"] == 3


async def test_not_a_number_is_the_same_when_it_is_sent_again() -> None:
    graph = Graph("g", late={"x": float})

    @graph.step
    def same(x: float) -> float:
        return x

    async with graph.start() as run:
        await run.send("x", float("nan"))
        await run.send("x", float("nan"))
        with pytest.raises(InputError, match="sent already, as nan, and now as 1"):
            await run.send("x", 1.0)


async def test_a_late_input_that_the_step_around_gives_is_not_sent() -> None:
    outer = Graph("outer", inputs={"question": Text, "typed": Text})
    outer.step(asking(), as_="part", reads={"reply": "typed"}, output="answer")
    async with outer.start(question="who", typed="we") as run:
        with pytest.raises(
            InputError, match="'part/reply' to send: the step around it reads it from 'typed'"
        ):
            await run.send("part/reply", "me")


async def test_a_loop_of_one_round_says_so() -> None:
    inner = Graph("inner", late={"guess": int})

    @inner.step
    def same(guess: int) -> int:
        return guess

    graph = Graph("g")
    graph.loop(inner, as_="game", carry={}, until=lambda same: True, max_rounds=1)
    async with graph.start() as run:
        with pytest.raises(InputError, match="'game' runs 1 round at most, from 0"):
            await run.send("game/1/guess", 3)


async def test_what_no_step_comes_to_need_may_be_sent_and_is_not_read() -> None:
    graph = Graph("g", inputs={"go": bool}, late={"word": str, "other": str})

    @graph.step(when=lambda go: go)
    def said(word: str) -> str:
        raise AssertionError

    async with graph.start(go=False) as run:
        await run.send("word", "hello")
        await run.send("other", "nobody reads it")
        assert dict(await run.result()) == {}
    async with playing().start(secret=3) as game:
        await game.send("game/5/guess", 3)
        await game.send("game/0/guess", 3)
        assert (await game.result())["game"]


async def test_a_late_input_that_nobody_needs_any_more_does_not_hold_the_run() -> None:
    graph = Graph("g", inputs={"go": bool}, late={"word": str})

    @graph.step(when=lambda go: go)
    def said(word: str) -> str:
        return word

    async with asyncio.timeout(5), graph.start(go=False) as run:
        assert "InputAwaited word" not in await told(run)


async def test_steps_that_wait_only_for_late_inputs_say_so_at_once() -> None:
    graph = Graph("g", late={"a": int, "b": int})

    @graph.step
    def total(a: int, b: int) -> int:
        return a + b

    async with graph.start() as run:
        seen = []
        async for event in run:
            seen.append(event)
            if isinstance(event, InputAwaited) and event.name == "b":
                await run.send("b", 2)
                await run.send("a", 1)
        assert (await run.result())[total] == 3
    assert [event.name for event in seen if isinstance(event, InputAwaited)] == ["a", "b"]


async def test_leaving_a_run_that_waits_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    async with asking().start(question="who") as run:
        async for event in run:
            if isinstance(event, InputAwaited):
                break
    assert asyncio.all_tasks() <= before


async def test_a_late_input_may_feed_several_steps() -> None:
    graph = Graph("g", late={"n": int})

    def same(n: int) -> int:
        return n

    graph.step(same, as_="a")
    graph.step(same, as_="b")
    async with graph.start() as run:
        await run.send("n", 1)
        started = [event.step async for event in run if isinstance(event, StepStarted)]
        assert dict(await run.result()) == {"a": 1, "b": 1}
    assert started == ["a", "b"]


def test_bad_late_inputs_are_faults() -> None:
    graph = Graph("g", inputs={"n": int}, late={"n": int, "options": int, "x": 3})

    @graph.step
    def same(n: int) -> int: ...

    with pytest.raises(GraphError) as caught:
        graph.check()
    found: tuple[Fault, ...] = caught.value.faults
    assert [each.subject for each in found] == ["late input 'options'", "late input 'x'", "name 'n'"]
    with pytest.raises(InputError, match="late inputs were list"):
        Graph("g", late=["n"])  # type: ignore[arg-type]

"""Loops: what is carried from round to round, when they end, and how they are bounded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from omni_agent import Fault, Graph, GraphError, LoopExhausted, RoundStarted, RunOptions, StepError
from tests.omni_agent.graph.told import told


@dataclass(frozen=True)
class Verdict:
    ok: bool
    low: int
    high: int


def faults(graph: Graph) -> tuple[Fault, ...]:
    with pytest.raises(GraphError) as caught:
        graph.check()
    return caught.value.faults


def guessing() -> Graph:
    """Finds a number from 0 to 100 by halving."""
    round_ = Graph("round", inputs={"secret": int, "low": int, "high": int})

    @round_.step
    async def guess(low: int, high: int) -> int:
        return (low + high) // 2

    @round_.step(output=True)
    async def verdict(guess: int, secret: int, low: int, high: int) -> Verdict:
        return Verdict(
            guess == secret, guess + 1 if guess < secret else low, guess - 1 if guess > secret else high
        )

    @round_.step
    def next_low(verdict: Verdict) -> int:
        return verdict.low

    @round_.step
    def next_high(verdict: Verdict) -> int:
        return verdict.high

    game = Graph("game", inputs={"secret": int, "low": int, "high": int})
    game.loop(
        round_,
        as_="game",
        carry={"low": "next_low", "high": "next_high"},
        until=lambda verdict: verdict.ok,
        max_rounds=7,
        output="guess",
    )
    return game


@pytest.mark.parametrize("secret", [0, 1, 37, 50, 99, 100])
async def test_a_loop_carries_values_until_its_condition_holds(secret: int) -> None:
    assert (await guessing().run(secret=secret, low=0, high=100))["game"] == secret


async def test_a_function_is_the_only_step_of_its_rounds() -> None:
    graph = Graph("g", inputs={"start": int})

    async def double(n: int) -> int:
        return 2 * n

    graph.loop(
        double,
        as_="doubled",
        reads={"n": "start"},
        carry={"n": "double"},
        until=lambda double: double > 100,
        max_rounds=10,
    )
    async with graph.start(start=30) as run:
        assert await told(run) == [
            "RunStarted",
            "StepStarted doubled",
            "RoundStarted doubled/0",
            "StepStarted doubled/0/double",
            "StepFinished doubled/0/double",
            "RoundStarted doubled/1",
            "StepStarted doubled/1/double",
            "StepFinished doubled/1/double",
            "StepFinished doubled",
            "RunFinished",
        ]
        assert (await run.result())["doubled"] == 120


async def test_rounds_count_from_zero() -> None:
    async with guessing().start(secret=0, low=0, high=100) as run:
        rounds = [event.round async for event in run if isinstance(event, RoundStarted)]
    assert rounds == list(range(6))


async def test_a_bound_that_is_reached_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(
        LoopExhausted, match=r"did not hold in 7 rounds: .* max_rounds=.* on_bound='last'"
    ) as caught:
        await guessing().run(secret=1000, low=0, high=100)
    assert isinstance(caught.value, StepError)
    assert (caught.value.step, caught.value.path) == ("game", ("game",))
    assert caught.value.inputs["secret"] == "1000"


async def test_a_bound_of_one_round_reads_well() -> None:
    graph = Graph("g", inputs={"n": int})

    def same(n: int) -> int:
        return n

    graph.loop(same, as_="loop", carry={}, until=lambda same: False, max_rounds=1)
    with pytest.raises(LoopExhausted, match="did not hold in 1 round: "):
        await graph.run(n=1)


async def test_a_loop_that_carries_nothing_does_the_same_again() -> None:
    graph = Graph("g", inputs={"n": int})
    seen: list[int] = []

    def polled(n: int) -> int:
        seen.append(n)
        return len(seen)

    graph.loop(polled, carry={}, until=lambda polled: polled == 3, max_rounds=9)
    assert (await graph.run(n=7))["polled"] == 3
    assert seen == [7, 7, 7]


async def test_a_bound_that_is_reached_may_give_the_last_value() -> None:
    graph = Graph("g", inputs={"n": int})

    def one_more(n: int) -> int:
        return n + 1

    graph.loop(
        one_more,
        as_="more",
        carry={"n": "one_more"},
        until=lambda one_more: False,
        max_rounds=3,
        on_bound="last",
    )
    assert (await graph.run(n=0))["more"] == 3


async def test_a_failure_in_a_round_has_its_number() -> None:
    graph = Graph("g", inputs={"n": int})

    def down(n: int) -> float:
        return 1 / (n - 1)

    graph.loop(down, as_="loop", carry={}, until=lambda down: True, max_rounds=1)
    with pytest.raises(StepError) as caught:
        await graph.run(n=1)
    assert caught.value.path == ("loop", 0, "down")


async def test_a_condition_that_raises_fails_the_loop() -> None:
    graph = Graph("g", inputs={"n": int})

    def same(n: int) -> int:
        return n

    graph.loop(same, as_="loop", carry={}, until=lambda same: 1 / same > 0, max_rounds=1)
    with pytest.raises(StepError, match="'loop' failed in its `until` with ZeroDivisionError") as caught:
        await graph.run(n=0)
    error = caught.value
    assert (error.path, error.part, error.inputs) == (("loop",), "until", {"same": "0"})


async def test_what_a_round_skips_is_carried_as_it_was() -> None:
    round_ = Graph("round", inputs={"n": int, "label": str})

    @round_.step(output=True)
    def more(n: int) -> int:
        return n + 1

    @round_.step(when=lambda more: more == 2)
    def renamed(more: int, label: str) -> str:
        return f"{label}{more}"

    @round_.step
    def shown(label: str) -> str:
        return label

    graph = Graph("g", inputs={"n": int, "label": str})
    graph.loop(
        round_,
        as_="loop",
        carry={"n": "more", "label": "renamed"},
        until=lambda more, renamed="": more == 4,
        max_rounds=9,
        output="shown",
    )
    assert (await graph.run(n=0, label="x"))["loop"] == "x2"


async def test_a_condition_that_reads_a_skipped_step_does_not_hold() -> None:
    round_ = Graph("round", inputs={"n": int})

    @round_.step(output=True)
    def more(n: int) -> int:
        return n + 1

    @round_.step(when=lambda more: more > 2)
    def enough(more: int) -> bool:
        return True

    graph = Graph("g", inputs={"n": int})
    graph.loop(round_, as_="loop", carry={"n": "more"}, until=lambda enough: enough, max_rounds=9)
    assert (await graph.run(n=0))["loop"] == 3


async def test_loops_in_loops_under_a_limit_do_not_wait_for_each_other() -> None:
    inner = Graph("inner", inputs={"n": int})

    async def one(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    inner.loop(one, as_="inner", carry={"n": "one"}, until=lambda one: one % 5 == 0, max_rounds=5)
    outer = Graph("outer", inputs={"n": int})
    outer.loop(
        inner,
        as_="outer",
        carry={"n": "inner"},
        until=lambda inner: inner == 20,
        max_rounds=5,
        output="inner",
    )
    async with asyncio.timeout(5):
        assert (await outer.run(n=0, options=RunOptions(limit=1)))["outer"] == 20


async def test_long_loops_do_not_exhaust_the_stack() -> None:
    graph = Graph("g", inputs={"n": int})

    async def more(n: int) -> int:
        return n + 1

    graph.loop(more, as_="loop", carry={"n": "more"}, until=lambda more: more == 2000, max_rounds=5000)
    assert (await graph.run(n=0))["loop"] == 2000


def test_bad_loops_are_faults() -> None:
    graph = Graph("g", inputs={"n": int, "text": str})

    def more(n: int) -> int:
        return n + 1

    def until(more: int) -> bool:
        return True

    graph.loop(more, as_="a", carry={"m": "more"}, until=until, max_rounds=1)
    graph.loop(more, as_="b", carry={"n": "moer"}, until=until, max_rounds=1)
    graph.loop(more, as_="c", carry={"n": "more"}, until=lambda mor: True, max_rounds=1)
    graph.loop(more, as_="d", carry={}, until=until, max_rounds=0)
    graph.loop(more, as_="e", carry={}, until=until, max_rounds=1, on_bound="stop")  # type: ignore[arg-type]
    graph.loop(more, as_="f", carry={}, until=until, max_rounds=1, reads={"n": "text"})
    graph.loop(more, as_="h", carry=["n"], until=3, max_rounds=1)  # type: ignore[arg-type]
    graph.loop(lambda n: n, as_="i", carry={}, until=until, max_rounds=1)
    found = {each.subject: (each.given, each.mend) for each in faults(graph)}
    assert found["step 'a', carry={'m': 'more'}"] == (
        "there is no input 'm' inside",
        "Carry what the next round takes.",
    )
    assert found["step 'b', carry={'n': 'moer'}"] == (
        "there is no step 'moer' inside",
        "Did you mean 'more'?",
    )
    assert found["step 'c', until"] == ("there is no step or input 'mor'", "Did you mean 'more'?")
    assert found["step 'd', max_rounds"][0] == "it is 0"
    assert found["step 'e', on_bound"][0] == "it is 'stop'"
    assert found["step 'f', parameter 'n'"][0] == "input 'text' is str"
    assert found["step 'h', carry"][0] == "it is ['n']"
    assert found["step 'h', until"][0] == "it is 3"
    assert "step 'i', name '<lambda>'" in found or any("step 'i'" in subject for subject in found)


def test_a_carry_that_is_no_mapping_is_a_fault_however_often_it_is_checked() -> None:
    graph = Graph("g", inputs={"x": int})

    def more(x: int) -> int:
        return x + 1

    graph.loop(more, carry="x", until=lambda more: more > 3, max_rounds=3)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(GraphError, match="carry: it is 'x'; wanted a mapping"):
            graph.check()

"""Steps that are skipped, what becomes of their followers, and choices among them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from omni_agent import Fault, Graph, GraphError, StepError, StepSkipped, StepWasSkipped
from tests.omni_agent.graph.told import told


def faults(graph: Graph) -> tuple[Fault, ...]:
    with pytest.raises(GraphError) as caught:
        graph.check()
    return caught.value.faults


def sometimes() -> Graph:
    graph = Graph("g", inputs={"n": int})

    @graph.step
    async def heard(n: int) -> int:
        return n

    @graph.step(when=lambda heard: heard > 0)
    async def positive(heard: int) -> int:
        return heard * 10

    @graph.step
    async def after(positive: int) -> int:
        return positive + 1

    @graph.step
    async def careful(positive: int = -1) -> int:
        return positive

    @graph.step
    async def optional(positive: int | None) -> int | None:
        return positive

    return graph


async def test_a_step_runs_when_its_condition_holds() -> None:
    assert dict(await sometimes().run(n=2)) == {"after": 21, "careful": 20, "optional": 20}


async def test_a_skip_is_absorbed_by_a_default_and_by_nothing_else() -> None:
    async with sometimes().start(n=0) as run:
        lines = await told(run)
        result = await run.result()
    assert dict(result) == {"careful": -1}
    assert "after" not in result
    with pytest.raises(StepWasSkipped, match="step 'optional' of graph 'g' was skipped"):
        result["optional"]
    assert sorted(lines[3:6]) == ["StepSkipped after", "StepSkipped optional", "StepSkipped positive"]
    assert lines[-1] == "RunFinished"


async def test_a_skip_says_why() -> None:
    async with sometimes().start(n=0) as run:
        reasons = {event.step: event.reason async for event in run if isinstance(event, StepSkipped)}
    assert reasons == {
        "positive": "`when` was false",
        "after": "'positive' was skipped",
        "optional": "'positive' was skipped",
    }


async def test_the_events_of_a_run_with_a_skipped_step_in_order() -> None:
    graph = Graph("g")

    @graph.step
    async def heard() -> str:
        return ""

    @graph.step(when=lambda heard: bool(heard))
    async def answer(heard: str) -> str:
        raise AssertionError

    @graph.step
    async def spoken(answer: str) -> str:
        raise AssertionError

    async with graph.start() as run:
        assert await told(run) == [
            "RunStarted",
            "StepStarted heard",
            "StepFinished heard",
            "StepSkipped answer",
            "StepSkipped spoken",
            "RunFinished",
        ]


async def test_a_skip_waits_for_nothing_that_does_not_matter() -> None:
    graph = Graph("g", inputs={"go": bool}, late={"word": str})
    gate = asyncio.Event()

    @graph.step
    async def slow() -> int:
        await gate.wait()
        return 1

    @graph.step(when=lambda go: go)
    async def reads(slow: int, word: str) -> int:
        raise AssertionError

    @graph.step
    async def instead(reads: int = 0) -> int:
        gate.set()  # the step it depends on was skipped before `slow` ended and without its late input
        return reads

    async with asyncio.timeout(5), graph.start(go=False) as run:
        assert (await run.result())[instead] == 0


async def test_conditions_may_have_defaults_and_be_plain_functions() -> None:
    def wanted(heard: int, factor: int = 2) -> bool:
        return heard * factor > 3

    graph = Graph("g", inputs={"heard": int})

    @graph.step(when=wanted)
    def big(heard: int) -> int:
        return heard

    assert "big" in await graph.run(heard=2)
    assert "big" not in await graph.run(heard=1)


async def test_a_condition_that_raises_fails_its_step() -> None:
    graph = Graph("g", inputs={"n": int})

    @graph.step(when=lambda n: 1 / n > 0)
    def inverse(n: int) -> float:
        return 1 / n

    with pytest.raises(StepError) as caught:
        await graph.run(n=0)
    error = caught.value
    assert str(error) == (
        "step 'inverse' failed in its `when` with ZeroDivisionError: division by zero (which was given n=0)"
    )
    assert (error.step, error.path, error.part, error.inputs) == ("inverse", ("inverse",), "when", {"n": "0"})
    assert isinstance(error.__cause__, ZeroDivisionError)


class Undecided:
    def __bool__(self) -> bool:
        raise ValueError("who knows")


async def later(n: int) -> bool:
    return False


def timed_out(n: int) -> bool:
    raise TimeoutError


def failing(n: int) -> bool:
    pytest.fail("by hand")


def exiting(n: int) -> bool:
    raise GeneratorExit


def cancelling(n: int) -> bool:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("when", "cause", "words"),
    [
        (lambda n: Undecided(), ValueError, "who knows"),
        (lambda n: later(n), TypeError, "it returned a coroutine; wanted a plain function"),
        (timed_out, TimeoutError, "TimeoutError"),
        (failing, BaseException, "by hand"),
        (exiting, GeneratorExit, "GeneratorExit"),
        (cancelling, asyncio.CancelledError, "CancelledError"),
    ],
)
async def test_whatever_a_condition_raises_is_told_as_its_own(
    when: Any, cause: type[BaseException], words: str
) -> None:
    graph = Graph("g", inputs={"n": int})

    @graph.step
    def first(n: int) -> int:
        return n

    graph.step(first, as_="second", when=when)
    with pytest.raises(StepError, match=rf"'second' failed in its `when` with .*{words}") as caught:
        await graph.run(n=0)
    assert caught.value.part == "when"
    assert isinstance(caught.value.__cause__, cause)
    assert isinstance(caught.value, TimeoutError) is (cause is TimeoutError)


async def test_the_parameters_of_a_condition_may_be_positional_only() -> None:
    graph = Graph("g", inputs={"n": int, "least": int})

    @graph.step(when=lambda n, /, least: n >= least)
    def kept(n: int) -> int:
        return n

    assert dict(await graph.run(n=3, least=3)) == {"kept": 3}
    assert dict(await graph.run(n=2, least=3)) == {}


async def test_ten_thousand_skipped_steps_do_not_exhaust_the_stack() -> None:
    graph = Graph("g", inputs={"s0": int})

    async def after(n: int) -> int:
        return n

    graph.step(after, as_="s1", reads={"n": "s0"}, when=lambda s0: False)
    for number in range(1, 10_000):
        graph.step(after, as_=f"s{number + 1}", reads={"n": f"s{number}"})
    assert dict(await graph.run(s0=0)) == {}


def test_bad_conditions_are_faults() -> None:
    graph = Graph("g", inputs={"n": int})

    async def later(n: int) -> bool:
        return True

    def typed(n: str) -> bool:
        return True

    def one(n: int) -> int:
        return n

    graph.step(one, as_="a", when=lambda m: m)
    graph.step(one, as_="b", when=later)
    graph.step(one, as_="c", when=typed)
    graph.step(one, as_="d", when=3)  # type: ignore[arg-type]
    graph.step(one, as_="e", when=lambda *n: True)
    graph.step(one, as_="f", when=lambda f: True)
    found = [(each.subject, each.given) for each in faults(graph)]
    assert found == [
        ("step 'a', when", "there is no step or input 'm'"),
        ("step 'b', when", "it is async, or yields"),
        ("step 'c', when, parameter 'n'", "'n' is int"),
        ("step 'd', when", "it is 3"),
        ("step 'e', when", "it takes any number of arguments"),
        ("step 'f', when", "there is no step or input 'f'"),
    ]


# first_of


def choosing() -> Graph:
    graph = Graph("g", inputs={"speaks": bool, "writes": bool})

    @graph.step(when=lambda speaks: speaks)
    async def spoken() -> str:
        await asyncio.sleep(0.01)
        return "spoken"

    @graph.step(when=lambda writes: writes)
    async def written() -> str:
        return "written"

    graph.first_of("reply", spoken, written)

    @graph.step
    async def sent(reply: str) -> str:
        return f"sent {reply}"

    return graph


@pytest.mark.parametrize(
    ("speaks", "writes", "sent"),
    [(True, True, "sent spoken"), (False, True, "sent written"), (True, False, "sent spoken")],
)
async def test_first_of_takes_the_first_in_order_and_never_the_fastest(
    speaks: bool, writes: bool, sent: str
) -> None:
    assert (await choosing().run(speaks=speaks, writes=writes))["sent"] == sent


async def test_first_of_only_skipped_steps_is_skipped() -> None:
    async with choosing().start(speaks=False, writes=False) as run:
        assert [line for line in await told(run) if "Skipped" in line] == [
            "StepSkipped spoken",
            "StepSkipped written",
            "StepSkipped reply",
            "StepSkipped sent",
        ]


async def test_the_events_of_a_choice_in_order() -> None:
    async with choosing().start(speaks=True, writes=False) as run:
        assert await told(run) == [
            "RunStarted",
            "StepSkipped written",
            "StepStarted spoken",
            "StepFinished spoken",
            "StepFinished reply",
            "StepStarted sent",
            "StepFinished sent",
            "RunFinished",
        ]


async def test_first_of_does_not_wait_for_those_behind() -> None:
    graph = Graph("g")
    gate = asyncio.Event()

    @graph.step
    async def quick() -> int:
        return 1

    @graph.step
    async def slow() -> int:
        await gate.wait()
        return 2

    graph.first_of("chosen", "quick", "slow")

    @graph.step
    async def after(chosen: int) -> int:
        gate.set()
        return chosen

    async with asyncio.timeout(5):
        assert dict(await graph.run()) == {"after": 1}


def test_bad_choices_are_faults() -> None:
    graph = Graph("g", inputs={"n": int})

    def one(n: int) -> int:
        return n

    def lost() -> int:
        return 1

    graph.step(one)
    graph.step(one, as_="two")
    graph.step(lambda: "x", as_="text")
    graph.first_of("a", one)
    graph.first_of("b", "on", "two")
    graph.first_of("c", lost)
    graph.first_of("d", "one", "one")
    graph.first_of("e")
    found = {each.subject: (each.given, each.mend) for each in faults(graph) if "choice" in each.subject}
    assert found == {
        "choice 'a'": ("there is no one step 'one'", "Did you mean 'one'?"),
        "choice 'b'": ("there is no one step 'on'", "Did you mean 'one'?"),
        "choice 'c'": ("there is no one step 'lost'", "Declare it as a step."),
        "choice 'd'": ("it has 'one' twice", "Take one out."),
        "choice 'e'": ("it has nothing to choose from", "Name steps."),
    }


def test_a_choice_has_the_types_of_all_it_chooses_from() -> None:
    graph = Graph("g")

    @graph.step
    def number() -> int: ...

    @graph.step
    def word() -> str: ...

    graph.first_of("either", number, word)

    @graph.step
    def fits(either: int | str) -> None: ...

    graph.check()

    @graph.step
    def narrow(either: int) -> None: ...

    (fault,) = faults(graph)
    assert fault.given == "step 'either' returns int | str"
    assert len(fault.places) == 2


async def test_a_choice_may_choose_among_choices_and_be_an_output() -> None:
    graph = Graph("g")

    def never() -> Any:
        raise AssertionError

    for name in "abc":
        graph.step(lambda: 1, as_=name)  # replaced below: a lambda has no annotation
    graph = Graph("g", inputs={"no": bool})

    @graph.step(when=lambda no: no)
    def a() -> int:
        return 1

    @graph.step(when=lambda no: no)
    def b() -> int:
        return 2

    @graph.step
    def c() -> int:
        return 3

    graph.first_of("inner", a, b)
    graph.first_of("outer", "inner", c, output=True)
    assert dict(await graph.run(no=False)) == {"outer": 3}
    assert dict(await graph.run(no=True)) == {"outer": 1}

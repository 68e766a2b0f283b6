"""Checking a graph: every fault at once, with its place, and nothing runs before."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import pytest

from omni_agent import Core, Fault, Graph, GraphError, Image, InputError, Speech, Text

if TYPE_CHECKING:
    from decimal import Decimal


def faults(graph: Graph) -> tuple[Fault, ...]:
    with pytest.raises(GraphError) as caught:
        graph.check()
    return caught.value.faults


def fault(graph: Graph) -> Fault:
    (only,) = faults(graph)
    return only


def place(function: Callable[..., object]) -> str:
    return f"{inspect.getsourcefile(function)}:{function.__code__.co_firstlineno}"


def test_a_step_is_the_function_itself() -> None:
    graph = Graph("g", inputs={"n": int})

    def double(n: int) -> int:
        return 2 * n

    assert graph.step(double) is double
    assert graph.step(output=True, as_="again")(double) is double
    assert double(2) == 4
    graph.check()


def test_a_misspelled_name_is_a_fault_with_the_nearest_one_as_a_hint() -> None:
    graph = Graph("g", inputs={"question": Speech, "picture": Image})

    @graph.step
    def heard(question: Speech) -> Text: ...

    @graph.step
    def answer(heart: Text, core: Core) -> Text: ...

    found = fault(graph)
    assert found.subject == "step 'answer', parameter 'heart'"
    assert found.given == "there is no step or input 'heart'"
    assert found.wanted == "one of 'heard', 'question', 'picture', or a resource (Core)"
    assert found.mend == "Did you mean 'heard'?"
    assert found.places == (place(answer),)


def test_a_type_that_does_not_fit_shows_both_functions() -> None:
    graph = Graph("g", inputs={"question": Speech})

    @graph.step
    def heard(question: Speech) -> Text: ...

    @graph.step
    def shown(heard: Image) -> Image: ...

    found = fault(graph)
    assert found.given == "step 'heard' returns Text"
    assert found.wanted == "Image"
    assert found.places == (place(shown), place(heard))


def test_an_input_of_another_type_is_a_fault() -> None:
    graph = Graph("g", inputs={"question": Text | None})

    @graph.step
    def heard(question: Text) -> Text: ...

    assert fault(graph).given == "input 'question' is Text | None"


def test_all_faults_are_reported_at_once() -> None:
    graph = Graph("g", inputs={"options": int, "picture": Image, "lambda": int})

    @graph.step
    def untyped(picture) -> Text: ...  # type: ignore[no-untyped-def]

    @graph.step
    def silent(picture: Image): ...  # type: ignore[no-untyped-def]

    @graph.step
    def wrong(picture: Text) -> Text: ...

    @graph.step
    def lost(pictures: Image) -> Text: ...

    @graph.step
    def circle(circle: int) -> int: ...

    @graph.step
    def many(*picture: Image, **more: Image) -> Text: ...

    assert [found.subject for found in faults(graph)] == [
        "input 'options'",
        "input 'lambda'",
        "step 'untyped', parameter 'picture'",
        "step 'wrong', parameter 'picture'",
        "step 'lost', parameter 'pictures'",
        "step 'many', parameter 'picture'",
        "step 'many', parameter 'more'",
        "step 'silent', return",
        "steps 'circle' -> 'circle'",
    ]


def test_every_cycle_is_a_fault_that_names_its_steps_in_order() -> None:
    graph = Graph("g")

    @graph.step
    def a(c: int) -> int: ...

    @graph.step
    def b(a: int) -> int: ...

    @graph.step
    def c(b: int, e: int) -> int: ...

    @graph.step
    def d(e: int) -> int: ...

    @graph.step
    def e(d: int) -> int: ...

    first, second = sorted(faults(graph), key=lambda found: len(found.places), reverse=True)
    cycle = re.findall(r"'(\w)'", first.subject)
    assert cycle[0] == cycle[-1]
    assert "".join(cycle) in ("acba", "cbac", "bacb")
    assert set(first.places) == {place(a), place(b), place(c)}
    assert set(second.places) == {place(d), place(e)}


def test_names_are_unique_and_can_be_parameters() -> None:
    graph = Graph("g", inputs={"heard": Text})

    @graph.step
    def heard() -> Text: ...

    graph.step(heard, as_="to say")
    graph.step(lambda: None)
    found = faults(graph)
    assert [each.subject for each in found] == [
        "step 'to say'",
        "step '<lambda>'",
        "name 'heard'",
        "step '<lambda>', return",
    ]
    assert found[2].given == "2 steps or inputs have it"


def test_inputs_without_types_are_refused() -> None:
    with pytest.raises(InputError, match="inputs were list; wanted a mapping of names to types"):
        Graph("of names", inputs=["question"])  # type: ignore[arg-type]


def test_an_empty_graph_is_a_fault() -> None:
    assert fault(Graph("g")).given == "it has no steps"


def test_what_is_no_function_is_a_fault() -> None:
    graph = Graph("g")
    graph.step(3, as_="three")  # type: ignore[type-var]
    graph.step(Graph("other"), as_="other")
    assert [(each.subject, each.given) for each in faults(graph)] == [
        ("step 'three'", "int has no signature to read"),
        ("step 'other', the graph", "it has no steps"),
    ]


def test_a_plain_generator_is_a_fault_and_an_async_one_is_a_step() -> None:
    graph = Graph("g")

    @graph.step
    def some() -> Iterator[int]:
        yield 1

    @graph.step
    async def more() -> AsyncIterator[int]:
        yield 1

    assert fault(graph).given == "its function is a generator"


def test_reads_renames_an_edge() -> None:
    graph = Graph("g", inputs={"question": Speech, "remark": Speech})

    def heard(speech: Speech) -> Text: ...

    graph.step(heard, reads={"speech": "question"})
    graph.step(heard, as_="remarked", reads={"speech": "remark"})
    graph.check()
    graph.step(heard, as_="third", reads={"speach": "remark"})
    graph.step(heard, as_="fourth", reads={"speech": "remarks"})
    found = {each.subject: each.mend for each in faults(graph)}
    assert found == {
        "step 'third', reads={'speach': ...}": "Did you mean 'speech'?",
        "step 'third', parameter 'speech'": "Add inputs={'speech': ...} or a step,"
        " or bind it with functools.partial.",
        "step 'fourth', parameter 'speech'": "Did you mean 'remark'?",
    }


def test_types_may_be_local_where_the_step_is_declared() -> None:
    class Guess:
        pass

    graph = Graph("g")

    @graph.step
    def guess() -> Guess: ...

    @graph.step
    def verdict(guess: list[Guess] | Guess) -> None: ...

    graph.check()


def test_types_may_be_defined_after_the_step() -> None:
    graph = Graph("g")

    @graph.step
    def guess() -> Later: ...

    class Later:
        pass

    graph.check()


def test_a_type_imported_for_type_checkers_only_is_a_fault() -> None:
    graph = Graph("g", inputs={"price": float})

    @graph.step
    def exact(price: float) -> Decimal: ...

    found = fault(graph)
    assert "'Decimal' cannot be resolved (NameError" in found.given
    assert "outside `if TYPE_CHECKING`" in found.mend


def test_a_fault_can_be_mended_and_checked_again() -> None:
    graph = Graph("g")

    @graph.step
    def answer(question: Text) -> Text: ...

    assert fault(graph)
    graph.step(lambda: Text(""), as_="question")
    assert fault(graph).subject == "step 'question', return"


def test_partials_methods_and_callable_objects_are_steps() -> None:
    class Painter:
        def paint(self, prompt: Text) -> Image: ...

        def __call__(self, prompt: Text) -> Image: ...

    def write(prompt: Text, style: str, size: int = 3) -> Text: ...

    graph = Graph("g", inputs={"prompt": Text})
    graph.step(Painter().paint)
    graph.step(Painter(), as_="called")
    graph.step(functools.partial(write, style="plain", size=2), as_="written")
    graph.check()
    graph.step(functools.partial(write, style="plain"), as_="other")
    assert fault(graph).subject == "step 'other', parameter 'size'"


def test_resources_are_matched_by_their_type() -> None:
    class Shop:
        pass

    graph = Graph("g", resources=[Shop])

    @graph.step
    def bought(shop: Shop, anything: Core) -> Text: ...

    graph.check()


def test_a_resource_nobody_declared_is_a_fault() -> None:
    class Shop:
        pass

    graph = Graph("g")

    @graph.step
    def bought(shop: Shop) -> Text: ...

    assert fault(graph).wanted == "a resource (Core)"


def test_a_protocol_that_cannot_be_told_apart_is_no_resource() -> None:
    class Shelf(Protocol):
        def read(self) -> str: ...

    graph = Graph("g", resources=[Shelf])

    @graph.step
    def read() -> Text: ...

    assert fault(graph).wanted == "a class, or a protocol marked @runtime_checkable"


def test_a_parameter_typed_as_a_subclass_of_a_resource_is_a_fault() -> None:
    class LocalCore(Core):
        pass

    graph = Graph("g")

    @graph.step
    def answer(core: LocalCore) -> Text: ...

    assert fault(graph).given == "there is no step or input 'core'"


def test_checking_runs_nothing() -> None:
    called = []
    graph = Graph("g")

    @graph.step
    def answer() -> int:
        called.append(1)
        return 1

    graph.check()
    graph.check()
    assert called == []
    assert repr(graph) == "<Graph 'g': answer>"


def test_names_that_are_none_are_faults() -> None:
    def one(n: int) -> int:
        return n

    odd: Any = {"n": ["ns"]}
    graph = Graph("g", inputs={"n": int, "ns": list[int]})
    graph.step(one, as_="a", reads=odd)
    graph.step(one, as_="b", reads={"n": 3})  # type: ignore[dict-item]
    graph.step(one, as_="c", reads="n")  # type: ignore[call-overload]
    graph.step(one, as_="d", map=odd)
    graph.step(one, as_="e", map={})
    graph.loop(one, as_="f", carry=odd, until=lambda one: True, max_rounds=1)
    graph.step(one, as_="g", output=3)  # type: ignore[call-overload]
    graph.step(one, as_=["h"])  # type: ignore[call-overload]
    graph.first_of(3, one)  # type: ignore[arg-type]
    found = [(each.subject, each.given) for each in faults(graph) if "choice" not in each.subject]
    assert found == [
        ("step 'a', reads", "it has 'n': ['ns']"),
        ("step 'b', reads", "it has 'n': 3"),
        ("step 'c', reads", "it is 'n'"),
        ("step 'd', map", "it has 'n': ['ns']"),
        ("step 'e', map", "it is {}"),
        ("step 'f', carry", "it has 'n': ['ns']"),
        ("step 'g', output", "it is 3"),
        ("step \"['h']\"", "the name is not one a parameter can have"),
    ]


@pytest.mark.parametrize(
    ("name", "rest", "said"),
    [
        (5, {}, "the graph's name was 5; wanted a text"),
        ("g", {"resources": 5}, "resources 5; wanted a list of types"),
        ("g", {"resources": "Core"}, "resources 'Core'; wanted a list of types"),
    ],
)
def test_a_graph_is_declared_with_a_name_and_lists(name: Any, rest: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Graph(name, **rest)


def test_a_protocol_that_cannot_be_told_apart_is_told_what_to_do() -> None:
    class Shelf(Protocol):
        def read(self) -> str: ...

    graph = Graph("g", inputs={"shelf": Shelf})

    @graph.step
    def read(shelf: Shelf) -> Text: ...

    assert [(each.subject, each.mend) for each in faults(graph)] == [
        ("input 'shelf'", "Mark the protocol @runtime_checkable."),
        ("step 'read', parameter 'shelf'", "Mark the protocol @runtime_checkable."),
    ]


def test_a_typed_dict_of_unknown_types_is_a_fault() -> None:
    class Table(TypedDict):
        count: Unknown  # type: ignore[name-defined]

    graph = Graph("g")

    @graph.step
    def table() -> Table: ...

    assert fault(graph).given == "values cannot be held against Table"

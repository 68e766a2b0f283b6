"""Which types may meet on an edge, as `check` sees them in whole graphs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, Optional, Protocol, TypeVar, runtime_checkable

import pytest
from pydantic import BaseModel

from omni_agent import Core, Fault, Graph, GraphError, Image, Reply, Speech, StepContext, Text

T = TypeVar("T")


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


@dataclass(frozen=True)
class Box(Generic[T]):
    content: T


@runtime_checkable
class Named(Protocol):
    name: str


def meeting(given: Any, wanted: Any) -> Graph:
    """A step that returns the one, read by a step that takes the other."""
    graph = Graph("g")

    def producer(): ...  # type: ignore[no-untyped-def]

    def taker(producer): ...  # type: ignore[no-untyped-def]

    producer.__annotations__["return"] = given
    taker.__annotations__ = {"producer": wanted, "return": None}
    graph.step(producer)
    graph.step(taker)
    return graph


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (Dog, Animal),
        (Dog, Named),
        (Text, Optional[Text]),  # noqa: UP045
        (Text, Text | Image),
        (Text | Image, Image | Speech | Text),
        (list[Dog], list[Animal]),
        (list[Dog], Sequence[Animal]),
        (dict[str, Dog], Mapping[str, Animal]),
        (Annotated[Text, "spoken"], Text),
        (Text, Annotated[Text, "spoken"]),
        (Literal["a", "b"], str),
        (tuple[Text, Image], tuple[Any, ...]),
        (Box[int], Box[int]),
        (type(None), Text | None),
        (int, float),
        (bool, int),
        (Reply, object),
        (Any, Dog),
        (dict[str, Any], dict),
    ],
)
def test_types_that_fit(given: Any, wanted: Any) -> None:
    meeting(given, wanted).check()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (Animal, Dog),
        (Optional[Text], Text),  # noqa: UP045
        (Text | Image, Text),
        (Sequence[Dog], list[Dog]),
        (list[Text], Text),
        (str, Literal["a"]),
        (float, int),
        (Image, Speech),
        (dict[str, int], dict[str, str]),
    ],
)
def test_types_that_do_not_fit_are_a_fault_with_both_places(given: Any, wanted: Any) -> None:
    with pytest.raises(GraphError) as caught:
        meeting(given, wanted).check()
    (fault,) = caught.value.faults
    assert fault.subject == "step 'taker', parameter 'producer'"
    assert [place.rpartition(":")[0] for place in fault.places] == [__file__, __file__]


async def test_models_and_plain_types_travel() -> None:
    graph = Graph("g", inputs={"name": str, "counts": dict[str, list[int]]})

    @graph.step
    def dog(name: str) -> Dog:
        return Dog(name=name, breed="poodle")

    @graph.step
    def shown(dog: Animal, counts: Mapping[str, Sequence[int]]) -> tuple[str, int]:
        return dog.name, sum(map(sum, counts.values()))

    assert (await graph.run(name="Rex", counts={"a": [1, 2], "b": [3]}))[shown] == ("Rex", 6)


async def test_one_function_has_many_names() -> None:
    class Painter:
        def __init__(self, color: str) -> None:
            self.color = color

        def paint(self, thing: str) -> str:
            return f"{self.color} {thing}"

        def __call__(self, thing: str) -> str:
            return f"a {self.color} {thing}"

    def framed(picture: str, frame: str) -> str:
        return f"{picture} in {frame}"

    graph = Graph("g", inputs={"thing": str})
    red, blue = Painter("red"), Painter("blue")
    graph.step(red.paint, as_="red")
    graph.step(blue.paint, as_="blue")
    graph.step(red, as_="called", output=True)
    graph.step(functools.partial(framed, frame="oak"), as_="first", reads={"picture": "red"}, output=True)
    graph.step(functools.partial(framed, frame="tin"), as_="second", reads={"picture": "blue"}, output=True)
    result = await graph.run(thing="dog")
    assert dict(result) == {"called": "a red dog", "first": "red dog in oak", "second": "blue dog in tin"}
    assert result[red] == "a red dog"


async def test_resources_are_given_by_type_whatever_the_parameter_is_called() -> None:
    class Shop:
        pass

    class Clock:
        pass

    graph = Graph("g", resources=[Shop, Clock, Named])

    @graph.step
    def used(a: Clock, b: Shop, me: StepContext, who: Named) -> list[str]:
        return [type(a).__name__, type(b).__name__, me.step, who.name]

    assert (await graph.run(Shop(), Clock(), Animal(name="Rex")))[used] == ["Clock", "Shop", "used", "Rex"]


def test_everything_wrong_with_a_graph_is_told_at_once_and_nothing_runs() -> None:
    called = []
    inner = Graph("inner", inputs={"n": int})

    @inner.step
    def inside(m: int) -> int:
        called.append("inside")
        return m

    graph = Graph("g", inputs={"words": list[Text], "n": str}, late={"lambda": int})

    @graph.step(when=lambda heart: True, timeout=-1)
    def heard(core: Core) -> Text:
        called.append("heard")
        return Text("")

    @graph.step(map={"word": "heard"})
    def drawn(word: Text) -> Image: ...

    @graph.step
    def ping(pong: int) -> int: ...

    @graph.step
    def pong(ping: int) -> int: ...

    graph.step(inner, as_="part")
    graph.first_of("one", "herd")
    graph.loop(ping, as_="loop", reads={"pong": "ping"}, carry={}, until=lambda ring: True, max_rounds=0)
    with pytest.raises(GraphError) as caught:
        graph.check()
    faults: tuple[Fault, ...] = caught.value.faults
    assert {fault.subject for fault in faults} == {
        "late input 'lambda'",
        "step 'heard', timeout",
        "step 'heard', when",
        "step 'drawn', parameter 'word'",
        "step 'part', step 'inside', parameter 'm'",
        "choice 'one'",
        "step 'loop', until",
        "step 'loop', max_rounds",
        "steps 'ping' -> 'pong' -> 'ping'",
    }
    assert all(fault.given and fault.wanted and fault.mend for fault in faults)
    assert str(caught.value).startswith("graph 'g' has 9 faults:\n  1. ")
    assert called == []

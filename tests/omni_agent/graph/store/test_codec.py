"""Values as they are stored: what comes back is what was stored, or storing it is refused."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from collections import deque
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from omni_agent import Conversation, Image, Reply, Speech, Text, Tokens
from omni_agent.errors import NotStorable
from omni_agent.graph import store
from omni_agent.graph.store.codec import check_storable, decode, encode, references

TOKENS = Tokens(ids=(1, 2, 3), tokenizer="t")
PIXELS = Image(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
SAMPLES = Speech(np.linspace(-1, 1, 50, dtype=np.float32), 16_000)
MEDIA = [
    PIXELS,
    Image(PIXELS.parts().data),
    Image.from_tokens(TOKENS),
    Image(PIXELS.array, tokens=TOKENS),
    SAMPLES,
    Speech.from_bytes(SAMPLES.parts().data),
    Speech.from_tokens(TOKENS),
    Speech(SAMPLES.samples, 8_000, tokens=TOKENS),
]


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


class Fields(TypedDict):
    picture: Image


@dataclasses.dataclass(frozen=True)
class Page:
    title: Text
    pictures: list[Image]


class Animal(BaseModel):
    name: str
    picture: Image | None = None
    said: Text | Speech = Text("nothing")


class Dog(Animal):
    pass


class Named(BaseModel):
    within: str = Field(alias="in", serialization_alias="out")


def through(value: object, hint: Any) -> Any:
    encoded = encode(value, hint, what="it")
    assert references(encoded.json) == encoded.blobs.keys()
    return decode(encoded.json, hint, {key: blob.data for key, blob in encoded.blobs.items()}, what="it")


@pytest.mark.parametrize("media", MEDIA, ids=repr)
def test_media_comes_back_in_the_same_representation(media: Image | Speech) -> None:
    again = through(media, Image | Speech)
    assert type(again) is type(media)
    assert again == media
    assert again.is_decoded == media.is_decoded
    assert again.tokens == media.tokens
    if media.is_decoded:
        assert again.parts() == media.parts()


VALUES = [
    (Text("words"), Text),
    ("words", str),
    (None, type(None)),
    (None, None),
    (True, bool),
    (3, int),
    (2**80, int),
    (0.1, float),
    (3, float),
    (math.inf, float),
    (b"\xff\0", bytes),
    ("a\0b", str),
    (Text("data:image/png;base64,"), Text | Image),
    (PIXELS, Text | Image),
    (Text("x"), Image | Text),
    (SAMPLES, Text | Image | Speech | None),
    ([1, "a", None], list[int | str | None]),
    ((1, "a"), tuple[int, str]),
    ({"a": [PIXELS]}, dict[str, list[Image]]),
    ({1, 2}, set[int]),
    (frozenset({1}), frozenset[int]),
    (deque([1]), deque[int]),
    ({1: "a"}, dict[int, str]),
    (Point(1, 2.0), Point),
    ({"picture": PIXELS}, Fields),
    (Page(Text("t"), [PIXELS, PIXELS]), Page),
    (Animal(name="a", picture=PIXELS), Animal),
    (Dog(name="d"), Dog | Animal),
    ([Animal(name="a", said=SAMPLES)], list[Animal]),
    (Named(**{"in": "x"}), Named),
    (Colour.RED, Colour),
    (datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC), datetime.datetime),
    (decimal.Decimal("1.10"), decimal.Decimal),
    (uuid.UUID(int=5), uuid.UUID),
    (Conversation().user("hi", PIXELS).assistant(SAMPLES), Conversation),
    (Reply(text=Text("hi"), speech=SAMPLES), Reply),
    (Reply(text=Text("hi"), speech=SAMPLES), Text | Image | Speech | Reply),
    (3, Annotated[int, Field(ge=1)]),
    ({"a": [1, None]}, Any),
]


@pytest.mark.parametrize(("value", "hint"), VALUES, ids=lambda each: repr(each)[:40])
def test_a_value_comes_back_as_it_was(value: object, hint: Any) -> None:
    again = through(value, hint)
    assert again == value
    assert type(again) is type(value) or hint is float


def test_not_a_number_comes_back() -> None:
    assert math.isnan(through(math.nan, float))


REFUSED = [
    pytest.param(object(), object, id="object"),
    (Dog(name="d"), Animal),
    ([Dog(name="d")], list[Animal]),
    ((1, 2), Any),
    (PIXELS, Any),
    ({"a": PIXELS}, dict[str, object]),
    (Animal(name="a"), BaseModel),
    ("\ud800", str),
    ({1, 2}, object),
    ({b"\xff": 1}, Any),
    (Colour.RED, Any),
]


@pytest.mark.parametrize(("value", "hint"), REFUSED, ids=lambda each: repr(each)[:40])
def test_what_would_come_back_otherwise_is_refused(value: object, hint: Any) -> None:
    with pytest.raises(
        NotStorable, match=r"it is a .* declared as .*, and cannot be stored: .*Declare the type"
    ):
        encode(value, hint, what="it")


@pytest.mark.parametrize("hint", [np.ndarray, type("Own", (), {}), list[np.ndarray]], ids=str)
def test_a_type_that_cannot_be_stored_is_found_before_there_is_a_value(hint: Any) -> None:
    with pytest.raises(NotStorable, match=r"it is declared as .*, which cannot be stored .*; wanted a type"):
        check_storable(hint, what="it")


def test_a_stored_value_of_another_type_is_an_error_that_says_so() -> None:
    with pytest.raises(
        NotStorable, match=r'it was stored as "words", which is no int .*its type changed since'
    ):
        decode('"words"', int, {}, what="it")
    encoded = encode(PIXELS, Image, what="it")
    with pytest.raises(NotStorable, match="which is no Speech"):
        decode(encoded.json, Speech, {}, what="it")
    with pytest.raises(NotStorable, match="the store has no media"):
        decode(encoded.json, Image, {}, what="it")


def test_one_picture_is_one_blob_and_comes_back_as_one() -> None:
    other = Image(PIXELS.array)
    encoded = encode([PIXELS, other], list[Image], what="it")
    assert len(encoded.blobs) == 1
    one, two = through([PIXELS, other], list[Image])
    assert one is two


def test_what_only_looks_like_a_reference_is_left_alone() -> None:
    encoded = encode({"$image": "a word"}, dict[str, str], what="it")
    assert encoded.blobs == {}
    assert decode(encoded.json, dict[str, str], {}, what="it") == {"$image": "a word"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_plain_values_come_back(value: object) -> None:
    try:
        again = through(value, Any)
    except NotStorable:
        assert "\\ud" in ascii(value)  # half a surrogate pair
    else:
        assert again == value


@given(st.lists(st.sampled_from(MEDIA) | st.text(st.characters(exclude_categories=["Cs"])).map(Text)))
def test_lists_of_values_come_back(values: list[Text | Image | Speech]) -> None:
    again = through(values, list[Text | Image | Speech])
    assert again == values
    assert [*map(type, again)] == [*map(type, values)]


def test_nothing_in_the_store_knows_pickle() -> None:
    for path in Path(store.__file__).parent.rglob("*.py"):
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
        }
        assert not imported & {"pickle", "PickleType", "cloudpickle", "dill", "marshal"}, path

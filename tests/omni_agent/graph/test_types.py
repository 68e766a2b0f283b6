"""Which types fit which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

import pytest

from omni_agent import Image, Text
from omni_agent.graph.types import assignable, conforms, is_checkable, name_of, wants_text, wrapped


class Table(TypedDict):
    count: int
    label: NotRequired[str]


class Other(TypedDict, total=False):
    count: int


OLD_STYLE = Optional[Text]  # noqa: UP045 - a union of another kind than Text | None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (Text, Text),
        (Text, str),
        (str, Text),
        (str, Text | None),
        (str | None, OLD_STYLE),
        (None, Text | None),
        (type(None), None),
        (list[Text], Sequence[str]),
        (dict[str, Text], Mapping[str, str]),
        (Any, Image),
        (Image, Any),
        (Image, object),
        (int, float),
        (int | str, float | Text),
        (Literal["a"], str),
        (Annotated[Text, "heard"], Text),
        (Text, Text | Image),
        (list[int], list),
        (list[int], list[Any]),
        (tuple[int, ...], Sequence[int]),
        (tuple[int, str], Iterable[int | str]),
        (tuple[()], Sequence[int]),
        (Table, Table),
        (Table, dict),
        (Table, Mapping[str, object]),
        (list[Table], Sequence[Table]),
        (Table | None, Table | None),
    ],
)
def test_fits(given: Any, wanted: Any) -> None:
    assert assignable(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (Text, Image),
        (Text | None, Text),
        (Text | Image, Text),
        (float, int),
        (list[str], list[Text]),
        (list[Image], list[Text]),
        (object, Text),
        (None, Text),
        (str, Image),
        (bytes, Text),
        (list, list[int]),
        (tuple[int, str], Sequence[int]),
        (tuple[int, ...], list[int]),
        (dict, Table),
        (Table, Other),
        (list[Table], list[Other]),
        (Table, dict[str, int]),
    ],
)
def test_does_not_fit(given: Any, wanted: Any) -> None:
    assert not assignable(given, wanted)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, float),
        ([1] * 9, list[float]),
        ({"a": [1]}, dict[str, list[int]]),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ((), tuple[()]),
        ([], list[Image]),
        ({1, 2}, set[int] | None),
        (None, set[int] | None),
        (3, Annotated[int, "count"]),
        (3, Any),
        (3, object),
        ({"count": 1}, Table),
        ({"count": 1, "label": "a"}, Table),
        ([{"count": 1}], list[Table] | None),
        ({}, Other),
    ],
)
def test_conforms(value: object, hint: Any) -> None:
    assert conforms(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("a", Text),
        (1.0, int),
        ([1] * 50 + ["a"], list[int]),
        ({**{str(n): n for n in range(50)}, "x": "a"}, dict[str, int]),
        ([[1], [1] * 20 + [None]], list[list[int]]),
        ((1, 2), tuple[int, str]),
        ((1, 2, "3"), tuple[int, ...]),
        ([1] * 20 + ["a"], Annotated[list[int], "counts"]),
        ([1] * 20 + ["a"], list[int] | None),
        (None, Text),
        ({"count": "1"}, Table),
        ({"label": "a"}, Table),
        ({"count": 1, "colour": "red"}, Table),
        ([{"count": 1}, {}], list[Table]),
        (3, Table),
    ],
)
def test_does_not_conform_however_often_it_is_asked(value: object, hint: Any) -> None:
    assert not any(conforms(value, hint) for _ in range(20))


def test_large_containers_are_looked_at_quickly_and_completely() -> None:
    many: list[object] = [0.5] * 1_000_000
    assert conforms(many, list[float])
    many[123_456] = "x"
    assert not conforms(many, list[float])


def test_only_plain_strings_are_wrapped_and_only_for_text() -> None:
    text = Text("a")
    assert type(wrapped("a", Text)) is Text
    assert type(wrapped("a", Text | None)) is Text
    assert type(wrapped("a", str)) is str
    assert type(wrapped("a", Any)) is str
    assert type(wrapped("a", Text | str)) is str
    assert wrapped(text, Text) is text
    assert wrapped(3, Text) == 3
    assert not wants_text(Image)
    same = [["a", 1], ("b",), {"c": "d"}]
    assert all(wrapped(each, list[Any]) is each for each in same)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (["a", "b"], list[Text]),
        ([["a"], []], list[list[Text]]),
        (("a", 1), tuple[Text, int]),
        (("a", "b"), tuple[Text, ...]),
        ({"a": ["b"]}, dict[str, list[Text]]),
        (["a"], list[Text] | None),
        (["a"], Annotated[list[Text], "heard"]),
        (["a"], Annotated[list[Text], ["heard"]]),
    ],
)
def test_plain_strings_inside_of_what_is_built_in_are_wrapped_too(value: object, hint: Any) -> None:
    new = wrapped(value, hint)
    assert new == value
    assert new is not value
    assert conforms(new, hint)
    assert wrapped(new, hint) is new


def test_types_have_the_names_they_are_written_with() -> None:
    for hint, name in {
        Text: "Text",
        None: "None",
        OLD_STYLE: "Text | None",
        list[Image]: "list[Image]",
        dict[str, list[Text]]: "dict[str, list[Text]]",
        tuple[int, ...]: "tuple[int, ...]",
        Any: "Any",
    }.items():
        assert name_of(hint) == name


def test_what_is_no_type_cannot_be_checked() -> None:
    assert is_checkable(Text | None)
    assert is_checkable(None)
    assert is_checkable(list[Table])
    for wrong in (5, "Text", [Text], object()):
        assert not is_checkable(wrong)

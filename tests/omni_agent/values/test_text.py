"""Text is a str that knows it is one."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from omni_agent import InputError, Text

JSON = TypeAdapter(Text)


@given(st.text())
def test_text_survives_json_and_stays_text(words: str) -> None:
    again = JSON.validate_json(JSON.dump_json(Text(words)))
    assert type(again) is Text
    assert again == words
    assert again.content_hash == Text(words).content_hash


def test_text_is_a_string_in_every_other_way() -> None:
    text = Text("a cat")
    assert f"{text}!" == "a cat!"
    assert {text: 1}["a cat"] == 1
    assert repr(text) == "'a cat'"
    assert type(copy.deepcopy(text)) is Text


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        (3, "made from int; wanted a str"),
        (b"bytes", "made from bytes"),
        (None, "NoneType"),
        ("x" * 1_000_001, "1,000,001 characters; the limit is 1,000,000"),
        ("half \ud83d", "half a surrogate pair at position 5"),
    ],
)
def test_what_is_no_text_is_refused(given_: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Text(given_)  # type: ignore[arg-type]


def test_pydantic_wraps_strings_as_text() -> None:
    class Answer(BaseModel):
        words: Text

    assert type(Answer.model_validate({"words": "yes"}).words) is Text
    assert Answer.model_json_schema()["properties"]["words"]["type"] == "string"
    with pytest.raises(ValidationError):
        Answer.model_validate({"words": 3})

"""Conversations and replies are values like others."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from omni_agent import Conversation, Image, InputError, Reply, Speech, Text, Tokens, Turn

JSON = TypeAdapter(Conversation)
PICTURE = Image(np.zeros((2, 2, 3), np.uint8))
SOUND = Speech(np.zeros(8, np.float32), 8000)


def test_a_conversation_grows_without_changing_what_it_was() -> None:
    empty = Conversation()
    asked = empty.user(PICTURE, "What is this?")
    answered = asked.assistant("A cat.", SOUND)
    assert [len(each) for each in (empty, asked, answered)] == [0, 2, 4]
    assert [turn.role for turn in answered] == ["user", "user", "assistant", "assistant"]
    assert all(type(turn.value) is not str for turn in answered)


def test_a_conversation_survives_json() -> None:
    said = (
        Conversation()
        .user("Hello", PICTURE)
        .assistant(SOUND, Image.from_tokens(Tokens(ids=(1,), tokenizer="t")))
    )
    assert JSON.validate_json(JSON.dump_json(said)) == said
    assert JSON.validate_python(JSON.dump_python(said)) == said


def test_a_text_that_looks_like_a_data_uri_stays_a_text() -> None:
    said = Conversation().user(PICTURE.to_data_uri())
    turn = next(iter(JSON.validate_json(JSON.dump_json(said))))
    assert type(turn.value) is Text


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user"},
        {"role": "user", "text": "a", "image": "b"},
        {"role": "nobody", "text": "a"},
        {"role": "user", "image": "http://example.org/a.png"},
        {"role": "user", "text": 3},
    ],
)
def test_a_turn_that_is_none_is_refused(turn: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        JSON.validate_python({"turns": [turn]})


def test_turns_are_checked_when_they_are_made() -> None:
    with pytest.raises(InputError, match="the role was 'system'"):
        Turn("system", Text("x"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the turn's value was int"):
        Turn("user", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a tuple of Turn"):
        Conversation([("user", "x")])  # type: ignore[arg-type]


def test_a_reply_survives_json() -> None:
    adapter = TypeAdapter(Reply)
    reply = Reply(text=Text("yes"), speech=SOUND)
    assert adapter.validate_json(adapter.dump_json(reply)) == reply

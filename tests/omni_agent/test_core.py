"""The core's protocol: what the verbs ask for, what is validated, and what a graph's observer changes."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omni_agent import (
    CanvasChange,
    Conversation,
    Core,
    Image,
    InputError,
    Modality,
    NotAvailable,
    OmniError,
    Request,
    Settings,
    Speech,
    Task,
    Text,
    VoiceSettings,
    observer,
)
from omni_agent.testing import ScriptedCore

PICTURE = Image(np.zeros((2, 2, 3), np.uint8))
SOUND = Speech(np.zeros(800, np.float32), 8000)
SCRIPT: dict[Task, Any] = {
    Task.TRANSCRIBE: "what is this",
    Task.ANSWER: "a cat",
    Task.DESCRIBE: "a cat on grass",
    Task.SPEAK: SOUND,
    Task.DRAW: PICTURE,
}


async def test_each_verb_asks_for_one_blank_with_pictures_in_front() -> None:
    history = Conversation().user("Hello")
    settings = Settings(num_steps=3)
    async with ScriptedCore(SCRIPT) as core:
        assert await core.transcribe(SOUND) == "what is this"
        assert await core.answer("what?", PICTURE, history=history) == "a cat"
        assert await core.answer(SOUND) == "a cat"
        assert await core.describe(PICTURE, settings=settings) == "a cat on grass"
        assert (await core.speak("hello")).is_decoded
        assert (await core.draw(SOUND)).is_decoded
        reply = await core.reply("what?", PICTURE)
    assert (reply.text, reply.speech.is_decoded) == ("a cat", True)
    assert core.requests == [
        Request(task=Task.TRANSCRIBE, content=(SOUND,), blank=Modality.TEXT),
        Request(task=Task.ANSWER, content=(PICTURE, Text("what?")), blank=Modality.TEXT, history=history),
        Request(task=Task.ANSWER, content=(SOUND,), blank=Modality.TEXT),
        Request(task=Task.DESCRIBE, content=(PICTURE,), blank=Modality.TEXT, settings=settings),
        Request(task=Task.SPEAK, content=(Text("hello"),), blank=Modality.SPEECH),
        Request(task=Task.DRAW, content=(SOUND,), blank=Modality.IMAGE),
        Request(task=Task.ANSWER, content=(PICTURE, Text("what?")), blank=Modality.TEXT),
        Request(task=Task.SPEAK, content=(Text("a cat"),), blank=Modality.SPEECH),
    ]


async def test_verbs_return_tokens_where_they_are_observed() -> None:
    changes: list[CanvasChange] = []
    async with ScriptedCore(SCRIPT, num_steps=2) as core:
        token = observer.set(changes.append)
        picture = await core.draw("a cat")
        observer.reset(token)
        assert not picture.is_decoded
        decoded = await core.decoded(picture)
        assert decoded == picture
        assert np.array_equal(decoded.array, PICTURE.array)
        assert (await core.draw("a cat")).is_decoded
    assert [(change.step, change.num_steps, change.committed) for change in changes] == [
        (1, 2, 8),
        (2, 2, 16),
    ]
    assert changes[-1].preview == "█" * 16


async def test_cancelling_a_verb_cancels_its_request() -> None:
    async with ScriptedCore(SCRIPT, pause=60) as core:
        verb = asyncio.create_task(core.answer("what?"))
        await asyncio.sleep(0.01)
        verb.cancel()
        with pytest.raises(asyncio.CancelledError):
            await verb
        await asyncio.sleep(0)
        assert core.cancelled == core.requests
        assert core.running == 0


async def test_leaving_a_generation_cancels_it_and_ends_its_changes() -> None:
    request = Request(task=Task.ANSWER, content=("what?",), blank=Modality.TEXT)  # type: ignore[arg-type]
    async with ScriptedCore(SCRIPT, pause=0.001, num_steps=1000) as core:
        async with core.generate(request) as generation:
            async for change in generation:
                if change.step >= 3:
                    break
            assert generation.confidence is None
        with pytest.raises(asyncio.CancelledError):
            await generation
        assert [change async for change in generation][-1:] != []
        assert core.cancelled == [request]


async def test_a_generation_gives_its_value_again_and_its_last_change() -> None:
    request = Request(task=Task.ANSWER, content=(Text("what?"),), blank=Modality.TEXT)
    async with ScriptedCore(SCRIPT, num_steps=3) as core:
        generation = core.generate(request)
        assert await generation == await generation == "a cat"
        assert [change.step async for change in generation] == [3]
        assert generation.confidence == 1.0


async def test_a_core_that_fills_a_blank_with_something_else_is_found_out() -> None:
    async with ScriptedCore({Task.ANSWER: PICTURE}) as core:
        with pytest.raises(OmniError, match="has Image for answer; wanted Text"):
            await core.answer("what?")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_steps": 0}, "num_steps was 0; wanted an integer of 1 or more"),
        ({"num_steps": 2.0}, "num_steps was 2.0"),
        ({"temperature": -1}, "wanted a number from 0"),
        ({"temperature": float("nan")}, "temperature was nan; wanted a number"),
        ({"temperature": "hot"}, "temperature was 'hot'"),
        ({"top_p": 0}, "top_p was 0; wanted a number above 0"),
        ({"top_p": 1.1}, "from 0 to 1"),
        ({"top_k": 0}, "top_k was 0"),
        ({"guidance_scale": -0.1}, "guidance_scale was -0.1"),
        ({"seed": -1}, "seed was -1"),
        ({"seed": True}, "seed was True"),
        ({"length": 0}, "length was 0"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Settings(**settings)


@pytest.mark.parametrize(
    ("voice", "words"),
    [
        ({"num_steps": 0}, "num_steps was 0; wanted an integer of 1 or more"),
        ({"guidance_scale": -1}, "guidance_scale was -1; wanted a number from 0 to 100"),
        ({"speaker": [1.0]}, "the speaker was list; wanted a tuple of numbers"),
        ({"speaker": ()}, "wanted a tuple of numbers"),
        ({"speaker": (1.0, float("inf"))}, "a number of the speaker was inf"),
    ],
)
def test_voices_outside_their_range_are_refused(voice: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        VoiceSettings(**voice)


def test_a_voice_leaves_what_it_does_not_say_to_another() -> None:
    usual = VoiceSettings(num_steps=10, guidance_scale=0.7)
    assert VoiceSettings(guidance_scale=0.0).over(usual) == VoiceSettings(num_steps=10, guidance_scale=0.0)
    assert VoiceSettings().over(usual) == usual


def test_requests_hold_values_only() -> None:
    with pytest.raises(InputError, match="has no content"):
        Request(task=Task.ANSWER, content=(), blank=Modality.TEXT)
    with pytest.raises(InputError, match="holds bytes; wanted Text, Image or Speech"):
        Request(task=Task.ANSWER, content=(b"x",), blank=Modality.TEXT)  # type: ignore[arg-type]
    wrapped = Request(task=Task.ANSWER, content=("x",), blank=Modality.TEXT).content[0]  # type: ignore[arg-type]
    assert type(wrapped) is Text


async def test_verbs_refuse_what_is_no_value_before_asking_the_core() -> None:
    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(InputError, match="holds int"):
            await core.speak(3)  # type: ignore[arg-type]
    assert core.requests == []


def test_remote_cores_say_that_there_are_none_yet() -> None:
    with pytest.raises(NotAvailable, match=r"use Core\.load\(\) instead"):
        Core.connect("mqtt://somewhere")

"""The core's protocol: what the verbs ask for, what is validated, and what a graph's observer changes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from omni_agent import (
    CanvasChange,
    Conversation,
    Core,
    DeadlineExceeded,
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


class Slow(ScriptedCore):
    """Each request takes so many seconds."""

    seconds = 0.0

    def generate(self, request: Request, *, wait: bool = True) -> Any:
        time.sleep(self.seconds)
        return super().generate(request, wait=wait)


async def test_a_deadline_of_a_reply_is_for_its_words_and_its_sound_together() -> None:
    async with Slow(SCRIPT) as core:
        core.seconds = 0.1
        await core.reply("what?", settings=Settings(deadline=8.0, seed=3))
        answer, speak = core.requests
        assert answer.settings == Settings(deadline=2.0, seed=3)
        assert speak.settings.seed == 3
        assert speak.settings.deadline is not None
        assert 5.0 < speak.settings.deadline <= 7.9


async def test_where_the_words_take_all_of_the_time_nothing_is_spoken() -> None:
    async with Slow(SCRIPT) as core:
        core.seconds = 0.05
        with pytest.raises(DeadlineExceeded, match=r"due after 0\.02 s took 0\."):
            await core.reply("what?", settings=Settings(deadline=0.02))
        assert [each.task for each in core.requests] == [Task.ANSWER]


@pytest.mark.parametrize("settings", [Settings(length=3), Settings(schedule=(5, 5))])
async def test_settings_of_one_blank_are_refused_for_a_reply_of_two(settings: Settings) -> None:
    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(InputError, match="is of one blank, and here are two"):
            await core.reply("what?", settings=settings)
        assert not core.requests


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task": "nope"}, "the task was 'nope'; wanted one of transcribe, speak"),
        ({"blank": 5}, "the blank was 5; wanted one of text, speech, image"),
        ({"history": 5}, "the history was int; wanted Conversation"),
        ({"history": "h"}, "the history was str; wanted Conversation"),
        ({"content": 5}, "the content was int; wanted a tuple of values"),
        ({"content": "draw a cat"}, "the content was str; wanted a tuple of values"),
        ({"content": Text("draw a cat")}, "the content was Text; wanted a tuple of values"),
    ],
)
def test_what_makes_no_request_says_what_is_wrong(changed: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"task": Task.DRAW, "content": (Text("draw a cat"),), "blank": Modality.IMAGE}
    with pytest.raises(InputError, match=said):
        Request(**right | changed)


def test_names_of_a_task_and_of_a_blank_are_taken() -> None:
    named: dict[str, Any] = {"task": "draw", "content": ("draw a cat",), "blank": "image"}
    request = Request(**named)
    assert request == Request(task=Task.DRAW, content=(Text("draw a cat"),), blank=Modality.IMAGE)
    assert type(request.task) is Task
    assert type(request.blank) is Modality


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": 10**400}, "temperature was 1000.*; wanted a number from 0 to"),
        ({"guidance_scale": float("inf")}, "guidance_scale was inf; wanted a number from 0 to"),
        ({"deadline": -1}, "deadline was -1; wanted a number above 0, 86400 at most"),
        ({"deadline": 0}, "deadline was 0; wanted a number above 0, 86400 at most"),
        ({"threshold": 0}, "threshold was 0; wanted a number above 0, 1 at most"),
    ],
)
def test_a_number_out_of_range_is_told_with_the_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Settings(**settings)


async def test_settings_that_are_none_are_refused_though_they_are_empty() -> None:
    async with ScriptedCore(SCRIPT) as core:
        nothing: Any = {}
        with pytest.raises(InputError, match="the settings were dict"):
            await core.speak("hello", settings=nothing)
        with pytest.raises(InputError, match="the settings were dict"):
            await core.reply("hello", settings=nothing)


def test_a_voice_that_is_none_is_refused_at_once() -> None:
    voice: Any = 3
    with pytest.raises(InputError, match="the voice was int; wanted VoiceSettings"):
        Core.load("omni-tiny", voice=voice)

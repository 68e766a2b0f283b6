"""The types of the verbs and the values, as a type checker sees them."""

from __future__ import annotations

from io import BytesIO
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from omni_agent import (
    CanvasChange,
    Conversation,
    Core,
    GrowingSpeech,
    Image,
    Modality,
    Reply,
    Request,
    Settings,
    Speech,
    SpeechChunk,
    Task,
    Text,
    Tokens,
)


async def verbs(speech: Speech, picture: Image, history: Conversation) -> None:
    async with Core.load("omni-tiny") as core:
        assert_type(core, Core)
        assert_type(await core.transcribe(speech), Text)
        assert_type(await core.answer("what?", picture, history=history), Text)
        assert_type(await core.answer(speech, settings=Settings(seed=1)), Text)
        assert_type(await core.speak("hello"), Speech)
        assert_type(await core.draw(Text("a cat")), Image)
        assert_type(await core.describe(picture), Text)
        assert_type(await core.reply(speech, picture), Reply)
        assert_type(await core.decoded(picture), Image)
        assert_type(await core.decoded(Text("a")), Text)

        await core.transcribe("not sound")  # type: ignore[arg-type]
        await core.answer("what?", speech)  # type: ignore[arg-type]
        await core.answer("what?", picture, history)  # type: ignore[call-arg]

        request = Request(task=Task.ANSWER, content=(picture, Text("what?")), blank=Modality.TEXT)
        async with core.generate(request, wait=False) as generation:
            async for change in generation:
                assert_type(change, CanvasChange)
            assert_type(await generation, Text | Image | Speech | Reply)
            assert_type(generation.confidence, float | None)
            growing = generation.speech()
            assert_type(growing, GrowingSpeech)
            async for chunk in growing:
                assert_type(chunk, SpeechChunk)
                assert_type(chunk.samples, NDArray[np.float32])
            assert_type(await growing, Speech)
            assert_type(await growing.write(BytesIO()), Speech)
            chunk.last = True  # type: ignore[misc]


def values(picture: Image, speech: Speech) -> None:
    assert_type(picture.array, NDArray[np.uint8])
    assert_type(speech.samples, NDArray[np.float32])
    assert_type(picture.tokens, Tokens | None)
    assert_type(Text("a").upper(), str)
    assert_type(Image.open("a.png"), Image)
    Speech(np.zeros(4), 8000)
    Image("a.png")  # type: ignore[arg-type]
    Settings(1)  # type: ignore[call-arg]
    picture.array = picture.array  # type: ignore[misc]


class Page(BaseModel):
    picture: Image
    words: Text
    sound: Speech | None = None
    said: Conversation = Conversation()


def model(page: Page, anything: Any) -> None:
    assert_type(page.picture, Image)
    assert_type(page.words, Text)

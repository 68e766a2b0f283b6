"""The four tools. Import `omni_tools` from the package: it says what to install where this cannot load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.messages import ToolMessage
from langchain_core.messages.content import create_audio_block, create_image_block, create_text_block
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field, ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1

from omni_agent.core import Core
from omni_agent.errors import OmniError
from omni_agent.tools.media import MediaFolder, png, wav
from omni_agent.values import Image, Speech, Text

__all__ = ["make_tools"]

Content: TypeAlias = str | list[Any]
Made: TypeAlias = tuple[Content, Text | Image | Speech]

PICTURE = "A picture: a data URI (data:image/png;base64,...) or the name of a file in the tools' folder."
SOUND = "Sound: a data URI (data:audio/wav;base64,...) or the name of a file in the tools' folder."


class AnswerArguments(BaseModel):
    """A question, about a picture or none."""

    question: str = Field(description="The question, in words.", min_length=1)
    picture: str | None = Field(default=None, description=PICTURE)


class DrawArguments(BaseModel):
    """What to draw."""

    prompt: str = Field(description='What to draw, e.g. "draw a dog on the grass".', min_length=1)


class TranscribeArguments(BaseModel):
    """What to listen to."""

    speech: str = Field(description=SOUND, min_length=1)


class SpeakArguments(BaseModel):
    """What to say."""

    text: str = Field(description="The words to read aloud.", min_length=1)


class CoreTool(StructuredTool):
    """A structured tool whose messages may hold sound.

    langchain-core 1.7 lists the blocks that a tool's message may hold without the audio block, and turns one
    that holds sound into JSON: base64 that a model would read as text. Here it becomes blocks again.
    """

    def run(self, *args: Any, **options: Any) -> Any:
        return _with_blocks(super().run(*args, **options))

    async def arun(self, *args: Any, **options: Any) -> Any:
        return _with_blocks(await super().arun(*args, **options))


def make_tools(core: Core, folder: Path | None) -> list[BaseTool]:
    """The tools of `omni_agent.tools.omni_tools`."""
    media = MediaFolder(path=folder)

    async def answer(question: str, picture: str | None = None) -> Made:
        seen = None if picture is None else await asyncio.to_thread(media.read, Image, picture)
        said = await core.answer(Text(question), seen)
        return str(said), said

    async def draw(prompt: str) -> Made:
        image = await core.decoded(await core.draw(Text(prompt)))
        name = await asyncio.to_thread(media.write, image, "drawing")
        block = create_image_block(base64=png(image), mime_type="image/png")
        return [create_text_block(_made("picture", name)), block], image

    async def transcribe(speech: str) -> Made:
        heard = await core.transcribe(await asyncio.to_thread(media.read, Speech, speech))
        return str(heard), heard

    async def speak(text: str) -> Made:
        speech = await core.decoded(await core.speak(Text(text)))
        name = await asyncio.to_thread(media.write, speech, "speech")
        block = create_audio_block(base64=wav(speech), mime_type="audio/wav")
        return [create_text_block(_made("sound", name)), block], speech

    return [
        _tool(answer, "Answer a question in words, about a picture if one is given.", AnswerArguments),
        _tool(draw, "Draw a picture of what a sentence asks for.", DrawArguments),
        _tool(transcribe, "Write down the words spoken in a sound.", TranscribeArguments),
        _tool(speak, "Read words aloud: makes a sound.", SpeakArguments),
    ]


def _with_blocks(output: Any) -> Any:
    if not isinstance(output, ToolMessage) or not isinstance(output.artifact, Speech):
        return output
    if isinstance(output.content, str):
        output.content = json.loads(output.content)
    return output


def _made(what: str, name: str | None) -> str:
    return f"The {what} is made." if name is None else f"The {what} is made: {name}"


def _tool(work: Callable[..., Awaitable[Made]], description: str, schema: type[BaseModel]) -> BaseTool:
    async def coroutine(**arguments: Any) -> Made:
        try:
            return await work(**arguments)
        except OmniError as error:
            raise ToolException(str(error)) from error

    def func(**arguments: Any) -> Made:
        return _wait_for(coroutine(**arguments))

    return CoreTool(
        name=work.__name__,
        description=description,
        args_schema=schema,
        func=func,
        coroutine=coroutine,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_not_arguments,
    )


def _not_arguments(error: ValidationError | ValidationErrorV1) -> str:
    faults = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return f"These arguments do not fit: {'; '.join(faults)}"


def _wait_for(work: Coroutine[Any, Any, Made]) -> Made:
    """Run to the end, also where this thread's event loop is busy with the caller."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="omni-tool") as thread:
        return thread.submit(asyncio.run, work).result()

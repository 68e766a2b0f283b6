from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_tests.unit_tests import ToolsUnitTests

from omni_agent import Image, InputError, MissingExtra, Speech, Task, Text
from omni_agent.testing import ScriptedCore
from omni_agent.tools import omni_tools

DRAWN = Image(np.full((8, 8, 3), 200, np.uint8))
SPOKEN = Speech(np.zeros(1600, np.float32), 16_000)


def scripted() -> ScriptedCore:
    script = {Task.ANSWER: "a dog", Task.DRAW: DRAWN, Task.TRANSCRIBE: "what is this", Task.SPEAK: SPOKEN}
    return ScriptedCore(script)


def named(core: ScriptedCore, folder: Path | None = None) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in omni_tools(core, folder=folder)}


class Conforms(ToolsUnitTests):
    """LangChain's own suite, for one of the tools."""

    name: str
    arguments: dict[str, Any]

    @property
    def tool_constructor(self) -> BaseTool:
        return named(scripted())[self.name]

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return self.arguments


class TestAnswer(Conforms):
    name = "answer"
    arguments = {"question": "what is this", "picture": DRAWN.to_data_uri()}  # noqa: RUF012


class TestDraw(Conforms):
    name = "draw"
    arguments = {"prompt": "draw a dog on the grass"}  # noqa: RUF012


class TestTranscribe(Conforms):
    name = "transcribe"
    arguments = {"speech": SPOKEN.to_data_uri()}  # noqa: RUF012


class TestSpeak(Conforms):
    name = "speak"
    arguments = {"text": "a dog"}  # noqa: RUF012


@pytest.fixture
async def core() -> AsyncIterator[ScriptedCore]:
    async with scripted() as core:
        yield core


async def called(tool: BaseTool, **arguments: Any) -> ToolMessage:
    message = await tool.ainvoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments})
    assert isinstance(message, ToolMessage)
    return message


async def test_an_answer_is_text_with_the_text_as_its_artifact(core: ScriptedCore) -> None:
    message = await called(named(core)["answer"], question="what is this", picture=DRAWN.to_data_uri())
    assert (message.content, message.artifact) == ("a dog", Text("a dog"))
    assert [type(each) for each in core.requests[0].content] == [Image, Text]


async def test_a_drawing_is_a_standard_image_block_with_the_image_as_its_artifact(core: ScriptedCore) -> None:
    message = await called(named(core)["draw"], prompt="draw a dog")
    _, block = message.content_blocks
    assert block["type"] == "image"
    assert block["mime_type"] == "image/png"
    assert base64.b64decode(block["base64"]).startswith(b"\x89PNG")
    assert isinstance(message.artifact, Image)
    assert message.artifact.is_decoded


async def test_speech_is_a_standard_audio_block_with_the_speech_as_its_artifact(core: ScriptedCore) -> None:
    message = await called(named(core)["speak"], text="a dog")
    _, block = message.content_blocks
    assert (block["type"], block["mime_type"]) == ("audio", "audio/wav")
    assert base64.b64decode(block["base64"]).startswith(b"RIFF")
    assert isinstance(message.artifact, Speech)


async def test_what_one_tool_made_another_reads_by_its_name(core: ScriptedCore, tmp_path: Path) -> None:
    tools = named(core, tmp_path)
    drawn = await asyncio.gather(*(called(tools["draw"], prompt="draw a dog") for _ in range(2)))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"drawing-1.png", "drawing-2.png"}
    told = [[name for name in names if name in str(each.content)] for each in drawn]
    assert sorted(told) == [["drawing-1.png"], ["drawing-2.png"]], "each its own, whichever is written first"
    assert (
        await called(tools["answer"], question="what is this", picture="drawing-1.png")
    ).content == "a dog"


@pytest.mark.parametrize(
    "reference", ["../secret.png", "/etc/passwd", "none.png", "http://example.com/a.png", "data:nonsense", ""]
)
async def test_what_cannot_be_read_is_told_to_the_agent(
    core: ScriptedCore, tmp_path: Path, reference: str
) -> None:
    DRAWN.save(tmp_path / "secret.png")
    folder = tmp_path / "folder"
    folder.mkdir()
    message = await called(named(core, folder)["answer"], question="what is this", picture=reference)
    assert message.status == "error"
    assert core.requests == []


async def test_arguments_that_do_not_fit_are_told_to_the_agent(core: ScriptedCore) -> None:
    message = await called(named(core)["answer"], picture=3)
    assert message.status == "error"
    assert "question" in str(message.content)
    assert "picture" in str(message.content)


async def test_the_agent_is_not_told_where_the_folder_lies(core: ScriptedCore, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    for name in ("a.png", "b.png"):
        message = await called(named(core, tmp_path)["answer"], question="what is this", picture=name)
        assert message.status == "error"
        assert name in str(message.content)
        assert str(tmp_path) not in str(message.content)


async def test_without_a_folder_no_file_is_read(core: ScriptedCore, tmp_path: Path) -> None:
    DRAWN.save(tmp_path / "a.png")
    message = await called(named(core)["answer"], question="what is this", picture=str(tmp_path / "a.png"))
    assert message.status == "error"
    assert "data URI" in str(message.content)


async def test_a_mistake_found_by_the_core_is_told_to_the_agent() -> None:
    async with ScriptedCore({Task.SPEAK: InputError("that is too long")}) as core:
        message = await called(named(core)["speak"], text="a dog")
    assert (message.status, message.content) == ("error", "that is too long")


async def test_tools_work_synchronously_inside_and_outside_an_event_loop(core: ScriptedCore) -> None:
    assert named(core)["answer"].invoke({"question": "what is this"}) == "a dog"
    outside = await asyncio.to_thread(named(core)["answer"].invoke, {"question": "what is this"})
    assert outside == "a dog"


async def test_a_cancelled_call_cancels_its_request() -> None:
    async with ScriptedCore({Task.ANSWER: "a dog"}, pause=10) as core:
        call = asyncio.create_task(called(named(core)["answer"], question="what is this"))
        while not core.running:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)
        assert len(core.cancelled) == 1


def test_without_langchain_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "omni_agent.tools.langchain", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "langchain_core"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(MissingExtra, match=r"omni-agent-diffusion\[langchain\]"):
        omni_tools(scripted())


def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        omni_tools(ScriptedCore({}), folder=tmp_path / "nowhere")

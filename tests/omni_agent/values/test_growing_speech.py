"""Speech is played while it grows, by whoever likes, at any pace."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

from omni_agent import Generation, InputError, Modality, Request, Speech, SpeechChunk, Task, Text
from omni_agent.testing import ScriptedCore

SOUND = Speech(np.sin(np.arange(1000) / 9).astype(np.float32) * np.float32(0.9), 8000)
SPEAK = Request(task=Task.SPEAK, content=(Text("hello"),), blank=Modality.SPEECH)


def scripted(line: Any = SOUND, **options: Any) -> ScriptedCore:
    return ScriptedCore({Task.SPEAK: line, Task.ANSWER: "yes"}, **options)


async def test_chunks_come_with_the_steps_and_are_the_whole_when_joined() -> None:
    async with scripted(num_steps=3, pause=0.001) as core, core.generate(SPEAK) as generation:
        growing = generation.speech()
        assert growing.samples.shape == (0,)
        chunks = []
        async for chunk in growing:
            chunks.append(chunk)
            assert len(growing.samples) >= chunk.start + len(chunk.samples)
        assert [chunk.last for chunk in chunks] == [False, False, True]
        assert [chunk.start for chunk in chunks] == [0, 333, 666]
        assert {chunk.rate for chunk in chunks} == {8000}
        assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), SOUND.samples)
        assert np.array_equal(growing.samples, SOUND.samples)
        whole = await growing
        assert whole == await generation
        assert np.array_equal(whole.samples, SOUND.samples)


async def test_every_reader_hears_it_from_the_beginning() -> None:
    async def read(generation: Generation, pause: float) -> int:
        return sum([len(chunk.samples) async for chunk in generation.speech() if not await slept(pause)])

    async def slept(pause: float) -> None:
        await asyncio.sleep(pause)

    async with scripted(num_steps=5, pause=0.001) as core, core.generate(SPEAK) as generation:
        early = await asyncio.gather(*(read(generation, pause) for pause in (0, 0.002, 0.01)))
        assert [*early, await read(generation, 0)] == [1000] * 4


async def test_it_is_written_as_the_file_that_saving_writes(tmp_path: Path) -> None:
    SOUND.save(tmp_path / "saved.wav")
    with (tmp_path / "grown.wav").open("wb") as file:
        file.write(b"in front")
        async with scripted() as core, core.generate(SPEAK) as generation:
            assert await generation.speech().write(file) == await generation
        assert file.tell() == 8 + 44 + 2000
    grown = Speech.from_bytes((tmp_path / "grown.wav").read_bytes()[8:])
    assert np.array_equal(grown.samples, Speech.open(tmp_path / "saved.wav").samples)
    assert grown.rate == 8000


@pytest.mark.parametrize("file", ["dog.wav", io.StringIO()])
async def test_it_is_written_to_a_file_that_is_open_for_bytes(file: Any) -> None:
    async with scripted() as core, core.generate(SPEAK) as generation:
        with pytest.raises(InputError, match=r"wanted a file open for bytes: open\(path, 'wb'\)"):
            await generation.speech().write(file)


async def test_a_pipe_is_played_from_before_the_end_is_known() -> None:
    end, start = os.pipe()
    heard: list[bytes] = []

    def play() -> None:
        with open(end, "rb", buffering=0) as pipe:
            while part := pipe.read(100):
                heard.append(part)

    player = threading.Thread(target=play)
    player.start()
    async with scripted(num_steps=10, pause=0.001) as core, core.generate(SPEAK) as generation:
        with open(start, "wb") as pipe:
            await generation.speech().write(pipe)
    await asyncio.to_thread(player.join, 20)
    data = b"".join(heard)
    assert data[4:8] == data[40:44] == b"\xff" * 4, "its length was not known"
    assert len(data) == 44 + 2000
    read = Speech.from_bytes(data)
    assert np.abs(read.samples - SOUND.samples).max() < 1e-4


async def test_a_file_of_speech_that_was_cancelled_holds_what_was_said() -> None:
    file = io.BytesIO()
    async with scripted(num_steps=4, pause=0.05) as core:
        async with core.generate(SPEAK) as generation:
            writing = asyncio.create_task(generation.speech().write(file))
            async for chunk in generation.speech():
                if chunk.start >= 250:
                    break
        with pytest.raises(asyncio.CancelledError):
            await writing
        with pytest.raises(asyncio.CancelledError):
            _ = [chunk async for chunk in generation.speech()]
    assert len(Speech.from_bytes(file.getvalue()).samples) == 500


async def test_what_goes_wrong_is_raised_to_readers_and_listeners() -> None:
    async with scripted(ValueError("hoarse")) as core:
        growing = core.generate(SPEAK).speech()
        with pytest.raises(ValueError, match="hoarse"):
            await growing
        with pytest.raises(ValueError, match="hoarse"):
            _ = [chunk async for chunk in growing]
        asked = Request(task=Task.ANSWER, content=(Text("hello"),), blank=Modality.TEXT)
        with pytest.raises(InputError, match="answer fills a blank of text, which has no sound"):
            core.generate(asked).speech()


async def test_a_notebook_plays_what_there_is() -> None:
    async with scripted() as core, core.generate(SPEAK) as generation:
        growing = generation.speech()
        assert growing._repr_html_() == "no sound yet"
        await growing
        assert growing._repr_html_().startswith("<audio")


def test_a_chunk_is_a_frozen_value_that_pydantic_reads_back() -> None:
    chunk = SpeechChunk(speech=SOUND, start=5, last=True)
    with pytest.raises(AttributeError):
        chunk.start = 6  # type: ignore[misc]
    adapter = pydantic.TypeAdapter(SpeechChunk)
    assert adapter.validate_json(adapter.dump_json(chunk)) == chunk
    assert chunk != SpeechChunk(speech=SOUND, start=6, last=True)

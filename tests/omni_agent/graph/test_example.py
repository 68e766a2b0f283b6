"""The example that shows what using the library feels like, as written, on a scripted core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omni_agent import Core, Image, Speech, Task
from omni_agent.testing import ScriptedCore

EXAMPLE = """
import asyncio
from omni_agent import Core, Graph, Image, Speech, StepFinished, Text

assistant = Graph("spoken visual assistant", inputs={"question": Speech, "picture": Image})

@assistant.step
async def heard(question: Speech, core: Core) -> Text:
    return await core.transcribe(question)

@assistant.step
async def answer(heard: Text, picture: Image, core: Core) -> Text:
    return await core.answer(heard, picture)

@assistant.step
async def spoken(answer: Text, core: Core) -> Speech:
    return await core.speak(answer)

async def main() -> None:
    question, picture = Speech.open("question.wav"), Image.open("picture.png")
    async with Core.load("omni-tiny") as core:
        result = await assistant.run(core, question=question, picture=picture)
        result[spoken].save("reply.wav")

        async with assistant.start(core, question=question, picture=picture) as run:   # the same, watched
            async for event in run:
                if isinstance(event, StepFinished):
                    print(event.step, event.value)

asyncio.run(main())
"""


def test_the_example_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = Speech(np.linspace(-1, 1, 4000, dtype=np.float32), 16_000)
    script = {Task.TRANSCRIBE: "What is this?", Task.ANSWER: "A cat.", Task.SPEAK: reply}
    monkeypatch.setattr(Core, "load", staticmethod(lambda name: ScriptedCore(script)))
    monkeypatch.chdir(tmp_path)
    Speech(np.zeros(1600, np.float32), 16_000).save("question.wav")
    Image(np.zeros((8, 8, 3), np.uint8)).save("picture.png")

    exec(compile(EXAMPLE, "example.py", "exec"), {"__name__": "example"})

    assert np.allclose(Speech.open("reply.wav").samples, reply.samples, atol=1e-4)
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["heard What is this?", "answer A cat.", "spoken <Speech 0.25 s at 16000 Hz>"]

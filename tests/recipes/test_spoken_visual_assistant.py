from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest

from omni_agent import Image, Speech, StepFinished, Task
from omni_agent.recipes import spoken_visual_assistant
from omni_agent.recipes.spoken_visual_assistant import answer, assistant, heard, spoken
from omni_agent.testing import ScriptedCore

QUESTION = Speech(np.zeros(1600, np.float32), 16_000)
PICTURE = Image(np.zeros((64, 64, 3), np.uint8))
SAID = Speech(np.full(800, 0.5, np.float32), 16_000)
SCRIPT = {Task.TRANSCRIBE: "what is this", Task.ANSWER: "a dog", Task.SPEAK: SAID}


def test_the_graph_has_no_fault() -> None:
    assistant.check()


def test_as_a_program_it_says_what_it_wants() -> None:
    command = [sys.executable, "-m", "omni_agent.recipes.spoken_visual_assistant", "question.wav"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ")


def test_the_recipe_is_a_page() -> None:
    assert len(inspect.getsource(spoken_visual_assistant).splitlines()) < 70


async def test_a_spoken_question_is_answered_in_words_and_sound() -> None:
    async with ScriptedCore(SCRIPT) as core:
        result = await assistant.run(core, question=QUESTION, picture=PICTURE)
        assert (result[heard], result[answer]) == ("what is this", "a dog")
        assert result[spoken].samples == pytest.approx(SAID.samples)
        assert [request.task for request in core.requests] == [Task.TRANSCRIBE, Task.ANSWER, Task.SPEAK]


async def test_the_steps_can_be_watched() -> None:
    async with (
        ScriptedCore(SCRIPT) as core,
        assistant.start(core, question=QUESTION, picture=PICTURE) as run,
    ):
        steps = [event.step async for event in run if isinstance(event, StepFinished)]
    assert steps == ["heard", "answer", "spoken"]


async def test_a_step_is_a_function_to_be_called_alone() -> None:
    async with ScriptedCore(SCRIPT) as core:
        assert await heard(QUESTION, core) == "what is this"

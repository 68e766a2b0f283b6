"""What is asked aloud of a task that takes words is asked as if it were typed."""

from __future__ import annotations

import numpy as np
import pytest

from omni_agent import Image, Request, Settings, Speech, Task, Text
from omni_agent.core import Modality, Snapshot
from omni_agent.core_model import checkpoints
from omni_agent.core_model.checkpoints import Loading
from omni_agent.core_model.local_core import LocalCore
from omni_agent.core_model.model import Model
from omni_agent.core_model.training.voices import speak_with

PROMPT = "two apples in the snow"


def drawing(content: Speech | Text) -> Request:
    return Request(
        task=Task.DRAW, content=(content,), blank=Modality.IMAGE, settings=Settings(seed=1, num_steps=8)
    )


@pytest.fixture(scope="module")
def tiny() -> Model:
    return checkpoints.load(checkpoints.find("omni-tiny"), Loading.of("cpu", None, None))


@pytest.fixture(scope="module")
def asked() -> Speech:
    return Speech(*speak_with("kal16", f"draw {PROMPT}"))


def test_spelled_words_enter_as_typed_ones(tiny: Model, asked: Speech) -> None:
    assert tiny.spelled(asked) == f"draw {PROMPT}"
    aloud, typed = (tiny.canvas(drawing(each)) for each in (asked, Text(PROMPT)))
    assert aloud.ids.tolist() == typed.ids.tolist()
    assert not aloud.frames


def test_where_no_word_is_spelled_or_too_many_frames_enter(
    tiny: Model, asked: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Speech(np.full(160, 0.5, np.float32), 16_000)
    assert tiny.spelled(short) == ""
    assert tiny.canvas(drawing(short)).frames
    monkeypatch.setattr(tiny, "config", tiny.config.model_copy(update={"max_text_tokens": 3}))
    assert tiny.canvas(drawing(asked)).frames


async def test_what_was_asked_aloud_is_resumed_with_the_same_tokens(tiny: Model, asked: Speech) -> None:
    async with LocalCore(lambda: tiny) as core:
        wanted = await core.generate(drawing(asked))
        assert isinstance(wanted, Image)
        assert wanted == await core.generate(drawing(Text(PROMPT)))
        generation = core.generate(drawing(asked))
        async for change in generation:
            if change.step == 3:
                break
        text = generation.snapshot().to_json()
        generation.cancel()
        assert await core.resume(Snapshot.from_json(text), media=[asked]) == wanted

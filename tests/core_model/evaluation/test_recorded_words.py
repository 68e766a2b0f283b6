"""Words recorded by real people, from two Debian packages that `make setup` installs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omni_agent.core import Request, Task
from omni_agent.core_model.evaluation import GROUPS, evaluate, recorded_words
from omni_agent.core_model.world import load_world
from omni_agent.errors import NotAvailable
from omni_agent.testing import ScriptedCore
from omni_agent.values import Speech


async def test_every_number_and_fifteen_animals_are_heard() -> None:
    heard: list[Speech] = []

    def transcribe(request: Request) -> str:
        (speech,) = request.content
        assert isinstance(speech, Speech)
        heard.append(speech)
        return "an owl"

    async with ScriptedCore({Task.TRANSCRIBE: transcribe}) as core:
        table = await evaluate(core, "recorded words", 5)
    numbers, animals = table.rows
    assert (numbers.part, numbers.name, numbers.share.total) == ("hearing", "recorded numbers", 19)
    assert (animals.name, animals.share.hits, animals.share.total) == ("recorded animals", 1, 15)
    names = {thing.name for thing in load_world().objects} | set(load_world().numbers)
    assert {case.wanted for case in table.cases} <= names
    # words of about a second, not silent
    assert all(0.4 < speech.seconds < 1.5 for speech in heard)
    assert all(0.2 < np.abs(speech.samples).max() <= 1 for speech in heard)
    assert {speech.rate for speech in heard} == {16_000, 44_100}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = recorded_words.Recordings(package="tuxpaint-stamps-default", folder=tmp_path / "no", who="nobody")
    monkeypatch.setattr(recorded_words, "ANIMALS", gone)


@pytest.mark.usefixtures("nowhere")
async def test_what_is_not_installed_is_refused_where_it_is_asked_for() -> None:
    async with ScriptedCore({}) as core:
        with pytest.raises(NotAvailable, match="not installed: apt-get install tuxpaint-stamps-default"):
            await evaluate(core, ["recorded words"], 5)
        assert core.requests == []


@pytest.mark.usefixtures("nowhere")
async def test_what_is_not_installed_is_left_out_of_a_group_and_the_table_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "recorded words" in GROUPS["speech"]
    monkeypatch.setitem(GROUPS, "speech", ("what", "recorded words"))  # the others take long
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        table = await evaluate(core, "speech", 1)
    assert [row.name for row in table.rows] == ["what"]
    (said,) = table.left_out
    assert said in table.remarks
    assert table.as_dict()["left_out"] == [said]

"""A command line whose model follows a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from omni_agent import Core, Image, Speech, Task
from omni_agent.cli import main
from omni_agent.testing import ScriptedCore


class Ended(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def core() -> ScriptedCore:
    drawn = Image(np.full((8, 8, 3), 200, np.uint8))
    spoken = Speech(np.zeros(1600, np.float32), 16_000)
    script = {
        Task.TRANSCRIBE: "what is this",
        Task.ANSWER: "a dog",
        Task.DESCRIBE: "a dog on the grass",
        Task.SPEAK: spoken,
        Task.DRAW: drawn,
    }
    return ScriptedCore(script)


@pytest.fixture
def command(
    core: ScriptedCore, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs `omni-agent` with arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def load(model: str) -> Core:
        return core if model == "omni-tiny" else Core.load(model)

    def run(*arguments: str | Path) -> Ended:
        status = main([str(each) for each in arguments], load=load)
        return Ended(status, *capfd.readouterr())

    return run


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def question(tmp_path: Path) -> Path:
    Speech(np.zeros(8000, np.float32), 16_000).save(tmp_path / "question.wav")
    return tmp_path / "question.wav"

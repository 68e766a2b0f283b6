"""Each recipe, on a scripted core and as a program."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omni_agent import Core, Image, InputAwaited, Request, Speech, StepFinished, StepSkipped, Task, recipes
from omni_agent.cli.graphs import found
from omni_agent.recipes import album_describer, guess_what, picture_book
from omni_agent.recipes.album_describer import album, counted
from omni_agent.recipes.guess_what import game, picture
from omni_agent.recipes.picture_book import book
from omni_agent.testing import ScriptedCore

NAMES = sorted(each.name for each in pkgutil.iter_modules(recipes.__path__))
PICTURE = Image(np.zeros((8, 8, 3), np.uint8))
SAID = Speech(np.full(800, 0.5, np.float32), 16_000)


def seen(request: Request) -> str:
    return "yes" if request.content[-1] == "is there a dog" else "no"


SCRIPT = {Task.DESCRIBE: "a dog", Task.DRAW: PICTURE, Task.SPEAK: SAID, Task.ANSWER: seen}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "load", staticmethod(lambda name="omni-tiny": ScriptedCore(SCRIPT)))


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_page_with_a_graph_without_faults_and_says_what_it_wants(name: str) -> None:
    module = importlib.import_module(f"omni_agent.recipes.{name}")
    assert len(inspect.getsource(module).splitlines()) < 75
    found(name).check()
    assert found(name).draw().svg
    done = subprocess.run(
        [sys.executable, "-m", f"omni_agent.recipes.{name}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ")


async def test_an_album_is_described_without_what_is_no_picture(
    tmp_path: Path, scripted: None, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = str(tmp_path / "good.png"), str(tmp_path / "bad.png")
    PICTURE.save(good)
    Path(bad).write_text("no picture")
    async with ScriptedCore(SCRIPT) as core, album.start(core, files=[bad, good]) as run:
        skipped = [event async for event in run if isinstance(event, StepSkipped)]
        result = await run.result()
    assert result["captions"] == [(good, "a dog")]
    assert result[counted] == "1 of 2 described"
    assert [event.path for event in skipped] == [("captions", 0)]
    await album_describer.main([bad, good])
    said = capsys.readouterr()
    assert said.out == f"{good}: a dog\n1 of 2 described\n"
    assert "bad.png" in said.err


async def test_a_book_has_a_picture_and_a_sound_on_each_page(tmp_path: Path, scripted: None) -> None:
    async with ScriptedCore(SCRIPT) as core:
        pages = (await book.run(core, story=["a dog", "a cat"]))["pages"]
    assert [page.sentence for page in pages] == ["a dog", "a cat"]
    assert all(page.picture.is_decoded and page.speech.is_decoded for page in pages)
    await picture_book.main(tmp_path / "book", ["a dog", "a cat"])
    assert sorted(path.name for path in (tmp_path / "book").iterdir()) == [
        "page-1.png",
        "page-1.wav",
        "page-2.png",
        "page-2.wav",
    ]


async def test_a_game_goes_on_until_the_guess_is_seen(
    tmp_path: Path, scripted: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guesses = iter(["a cat", "a bird", "a dog"])
    async with ScriptedCore(SCRIPT) as core, game.start(core, secret="a dog") as run:
        said = []
        async for event in run:
            if isinstance(event, InputAwaited):
                await run.send(event.path, next(guesses))
            if isinstance(event, StepFinished) and event.step == "verdict":
                said.append((event.path, event.value))
        result = await run.result()
    assert said == [
        (("rounds", 0, "verdict"), "no"),
        (("rounds", 1, "verdict"), "no"),
        (("rounds", 2, "verdict"), "yes"),
    ]
    assert result["rounds"] == "yes"
    assert result[picture].is_decoded
    answers = iter(["a cat", "a dog"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    await guess_what.main("a dog", str(tmp_path / "secret.png"))
    assert capsys.readouterr().out == "no\nyes\n"
    assert (tmp_path / "secret.png").exists()

"""The examples of the pages in docs/ run, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from omni_agent import Core, GraphError, Image, Speech, Task
from omni_agent.cli import main
from omni_agent.recipes.picture_book import book
from omni_agent.testing import ScriptedCore, Sure

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
EXAMPLES = [
    pytest.param(
        page, page.read_text()[: match.start()].count("\n") + 1, match[1], id=f"{page.stem}-{number}"
    )
    for page in PAGES
    for number, match in enumerate(
        re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    )
]
COMMANDS = [
    line
    for page in PAGES
    if page.stem in ("graph", "evaluation")
    for line in re.findall(r"^    (omni-agent .*)$", page.read_text(), re.MULTILINE)
]
SCRIPT = {
    Task.TRANSCRIBE: Sure("what is this", 0.4),
    Task.ANSWER: "a dog",
    Task.DESCRIBE: "a dog on the grass",
    Task.SPEAK: Speech(np.zeros(1600, np.float32), 16_000),
    Task.DRAW: Image(np.full((8, 8, 3), 200, np.uint8)),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files the examples open, to run them in, and a scripted core."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Core, "load", staticmethod(lambda name="omni-tiny": ScriptedCore(SCRIPT)))
    Speech(np.zeros(8000, np.float32), 16_000).save(tmp_path / "question.wav")
    Image(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "picture.png")
    suites(tmp_path)
    return tmp_path


def suites(folder: Path) -> None:
    """A little of each suite's files, as they are published."""
    chapter, task, pope = (
        folder / name for name in ("LibriSpeech/test-clean/1/2", "MME_Benchmark/existence", "pope")
    )
    for each in (chapter, task, pope):
        each.mkdir(parents=True)
    Speech(np.zeros(8000, np.float32), 16_000).save(chapter / "1-2-0000.flac")
    (chapter / "1-2.trans.txt").write_text("1-2-0000 WHAT IS THIS\n")
    for place in (task, pope):
        Image(np.zeros((64, 64, 3), np.uint8)).save(place / "1.jpg")
    (task / "1.txt").write_text("Is there a dog?\tYes\nIs there a cat?\tNo\n")
    (pope / "coco_pope_random.json").write_text(
        '{"question_id": 1, "image": "1.jpg", "text": "Is there a dog?", "label": "yes"}\n'
    )
    (folder / "texts.txt").write_text("good morning\n")
    (folder / "ears.py").write_text("def listen(samples, rate):\n    return 'good morning'\n")


@pytest.mark.parametrize(("page", "line", "example"), EXAMPLES)
def test_the_examples_run(page: Path, line: int, example: str) -> None:
    # Annotations of a graph's steps are resolved in their module, so the example needs one.
    module = ModuleType("example")
    exec(compile("\n" * line + example, str(page), "exec"), module.__dict__)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_run(line: str) -> None:
    assert main(shlex.split(line)[1:]) == 0


def test_the_faults_that_the_page_on_graphs_shows_are_those_that_are_told() -> None:
    text = (ROOT / "docs" / "graph.md").read_text()
    example = re.search(
        r"^```python\n([^`]*GraphError.*?)^```\n\n(.*?)\n\n[A-Z]", text, re.DOTALL | re.MULTILINE
    )
    assert example is not None
    source = example[1].replace(
        "try:\n    graph.check()\nexcept GraphError as error:\n    print(error)\n", ""
    )
    module = ModuleType("example")
    exec(compile(source.partition("    assert")[0], "example.py", "exec"), module.__dict__)
    with pytest.raises(GraphError) as caught:
        module.graph.check()
    shown = [line[4:] for line in example[2].splitlines()]
    assert str(caught.value).splitlines() == shown


def test_the_drawing_is_the_one_that_is_drawn() -> None:
    assert (ROOT / "docs" / "picture-book.svg").read_text() == book.draw().svg


def test_the_links_lead_to_files_and_headings() -> None:
    for page in PAGES:
        text = page.read_text()
        headings = {
            re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        }
        for link in re.findall(r"\]\(([^)]+)\)", text):
            if "://" in link:
                continue
            path, _, heading = link.partition("#")
            assert not path or (page.parent / path).exists(), f"{page.name}: {link}"
            assert path or heading in headings, f"{page.name}: {link}"


def test_every_promise_names_tests_that_there_are() -> None:
    text = (ROOT / "docs" / "graph-promises.md").read_text()
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| promise"))
    ]
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", row)
        assert named, row
        for file, test in named:
            path = ROOT / file if "/" in file and file.startswith(("tests/", "benchmarks/")) else None
            path = path or ROOT / "tests" / "omni_agent" / "graph" / file
            assert path.exists(), f"{row}: {file}"
            assert not test or re.search(rf"def {test}\(", path.read_text()), f"{row}: {test}"

"""The page of an evaluation."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from omni_agent.core import Request, Task
from omni_agent.core_model.evaluation import Case, Row, Table, evaluate, write_page
from omni_agent.core_model.evaluation.case import Gallery
from omni_agent.core_model.evaluation.scores import Share
from omni_agent.errors import InputError
from omni_agent.testing import ScriptedCore
from omni_agent.values import Image, Speech, Text

GREY = Image(np.full((64, 64, 3), 100, np.uint8))
SOUND = Speech(np.zeros(1600, np.float32), 16_000)


def case(turn: int = 0, *, right: bool = False, row: str = "what <is>", **changed: object) -> Case:
    return Case(
        **{  # type: ignore[arg-type]
            "part": "answers",
            "row": row,
            "turn": turn,
            "asked": (GREY, SOUND, Text("what is <this>")),
            "wanted": "a dog & a cat",
            "given": Text("a <cow>"),
            "judged": "read as nothing",
            "right": right,
            **changed,
        }
    )


def table(*cases: Case) -> Table:
    rows = (
        Row(part="answers", name="what <is>", measure="right", share=Share(hits=1, total=4), wanted=0.9),
        Row(part="answers", name="count", measure="right", share=Share(hits=4, total=4), wanted=0.9),
    )
    return Table(rows=rows, split="held_out", questions=4, seconds=1, failures={"it <ended>": 2}, cases=cases)


class Tags(HTMLParser):
    """What opens is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: Path) -> tuple[str, Tags]:
    tags = Tags()
    html = page.read_text()
    tags.feed(html)
    assert tags.open == []
    return html, tags


def test_a_page_shows_the_table_and_what_was_asked_wanted_and_given(tmp_path: Path) -> None:
    html, tags = read(write_page(table(case(), case(1, right=True)), tmp_path))
    for words in (
        "held-out split, 4 questions a row, seed 0",
        "2 times: it &lt;ended&gt;",
        "answers: what &lt;is&gt;",
        "25.0 %</span>, missed",
        "what is &lt;this&gt;",
        "a dog &amp; a cat",
        "a &lt;cow&gt;",
        "read as nothing",
        "wrong, the first 1",
        "right, the first 1",
        "prefers-color-scheme: dark",
    ):
        assert words in html
    anchors = {attributes["id"] for tag, attributes in tags.seen if "id" in attributes}
    links = {attributes["href"] for tag, attributes in tags.seen if tag == "a"}
    assert links == {f"#{anchor}" for anchor in anchors}
    assert "http" not in html


def test_pictures_are_in_the_page_and_sounds_beside(tmp_path: Path) -> None:
    wide = Image(np.full((100, 1000, 3), 100, np.uint8))
    wide.save(tmp_path / "wide.jpg")
    SOUND.save(tmp_path / "said.flac")
    cases = (case(), case(1, given=wide), case(2, asked=(tmp_path / "wide.jpg", tmp_path / "said.flac")))
    html, tags = read(write_page(table(*cases), tmp_path))
    pictures = [
        PilImage.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r"data:image/\w+;base64,([^\"]+)", html)
    ]
    assert [picture.size for picture in pictures] == [(64, 64), (64, 64), (320, 32), (320, 32)]
    sounds = [attributes["src"] for tag, attributes in tags.seen if tag == "audio"]
    assert sounds == [f"index-sounds/000{n}.wav" for n in (1, 2, 3)]
    assert all(Speech.open(tmp_path / str(sound)).seconds == pytest.approx(0.1) for sound in sounds)
    assert "said.flac" in html


def test_a_page_is_written_over_the_one_before(tmp_path: Path) -> None:
    write_page(table(case(), case(1)), tmp_path)
    write_page(table(case(asked=("nothing to hear",), given=None)), tmp_path)
    assert list((tmp_path / "index-sounds").iterdir()) == []
    assert "nothing to hear" in (tmp_path / "index.html").read_text()


def test_a_page_leaves_other_sounds_alone(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "index-sounds").mkdir()
    mine = [tmp_path / "sounds" / "0001.wav", tmp_path / "index-sounds" / "dog.wav"]
    for path in mine:
        SOUND.save(path)
    write_page(table(case()), tmp_path)
    assert all(path.exists() for path in mine)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "index-sounds").write_text("in the way")
    with pytest.raises(InputError, match="index-sounds: the folder cannot be written"):
        write_page(table(), tmp_path)


def test_the_first_failures_of_each_row_are_kept_whatever_comes_first() -> None:
    gallery = Gallery()
    for turn in reversed(range(40)):
        gallery.add(case(turn))
        gallery.add(case(turn, right=True))
        gallery.add(case(turn, row="count"))
    kept = gallery.cases([("answers", "what <is>")])
    assert [(each.turn, each.right) for each in kept] == [
        *((turn, False) for turn in range(24)),
        *((turn, True) for turn in range(3)),
    ]
    assert gallery.seen == 120


async def test_an_evaluation_keeps_its_pictures_and_sounds_to_be_looked_at(tmp_path: Path) -> None:
    def draw(request: Request) -> Image:
        return GREY

    script = {Task.ANSWER: "a cat", Task.TRANSCRIBE: "what is this", Task.DRAW: draw, Task.SPEAK: SOUND}
    async with ScriptedCore(script) as core:
        measured = await evaluate(core, ["what", "hearing", "spoken by kind", "drawing"], 2)
    html, tags = read(write_page(measured, tmp_path))
    # two seeds are compared as pictures, the rest of the rows have something to look at
    shown = {(row.part, row.name) for row in measured.rows} - {
        ("drawing", "one: two seeds"),
        ("hearing", "awb and ked"),
        ("hearing", "number words"),
    }
    assert {(each.part, each.row) for each in measured.cases} == shown
    assert sum(tag == "audio" for tag, _ in tags.seen) == 16
    assert "the judge sees" in html

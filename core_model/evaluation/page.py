"""An evaluation as a page: its table, and what was asked, wanted and given where it failed.

One HTML file with its pictures in it, and the sounds as WAV files beside.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path

from PIL import Image as PilImage

from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.table import Row, Table
from omni_agent.errors import InputError
from omni_agent.values import Image, Speech
from omni_agent.values.image import SUFFIXES

__all__ = ["write_page"]

PAGE, SOUNDS = "index.html", "index-sounds"
MOST_SIDE = 320
"""Pixels: larger pictures are shown smaller, so that a page of hundreds can still be sent around."""


def write_page(table: Table, folder: Path) -> Path:
    """Write the page into a folder that is there, over the one before; gives its path.

    Raises:
        InputError: it cannot be written there, or a picture or sound of the suite can no longer be read.
    """
    sounds = folder / SOUNDS
    try:
        sounds.mkdir(exist_ok=True)
        for old in sounds.glob("[0-9][0-9][0-9][0-9].wav"):
            old.unlink()
    except OSError as error:
        raise InputError(f"{sounds}: the folder cannot be written ({error.strerror})") from error
    page = folder / PAGE
    html = "\n".join(_lines(table, _Sounds(sounds)))
    try:
        page.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{page}: the page cannot be written ({error.strerror})") from error
    return page


class _Sounds:
    """Writes sounds beside the page, numbered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def written(self, speech: Speech) -> str:
        """The sound's file, as the page names it."""
        self._count += 1
        name = f"{self._count:04}.wav"
        speech.save(self._folder / name)
        return f"{SOUNDS}/{name}"


def _lines(table: Table, sounds: _Sounds) -> Iterator[str]:
    title = escape(table.title)
    yield f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style>\n<h1>{title}</h1>"
    yield from (f"<p>{escape(remark)}</p>" for remark in table.remarks)
    yield from _table(table)
    for part, rows in table.by_part():
        for row in rows:
            yield from _cases(
                row, [case for case in table.cases if (case.part, case.row) == (part, row.name)], sounds
            )
    yield "</html>\n"


def _table(table: Table) -> Iterator[str]:
    heads = ("part", "row", "measure", "value", "95 % interval", "of", "wanted", "note")
    yield f"<table>\n<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
    shown = {(case.part, case.row) for case in table.cases}
    for part, rows in table.by_part():
        for n, row in enumerate(rows):
            name, measure, value, interval, total, wanted = (escape(cell) for cell in row.cells)
            if (part, row.name) in shown:
                name = f'<a href="#{_anchor(row)}">{name}</a>'
            first = escape(part) if n == 0 else ""
            judged = {True: "passed", False: "missed", None: ""}[row.passed]
            value = f'<span class="{judged}">{value}</span>{", missed" if row.passed is False else ""}'
            words = "".join(f"<td>{cell}</td>" for cell in (first, name, measure))
            numbers = "".join(f'<td class="number">{cell}</td>' for cell in (value, interval, total, wanted))
            yield f"<tr>{words}{numbers}<td>{escape(row.note)}</td></tr>"
    yield "</table>"


def _cases(row: Row, cases: list[Case], sounds: _Sounds) -> Iterator[str]:
    if not cases:
        return
    yield f'<h2 id="{_anchor(row)}">{escape(row.part)}: {escape(row.name)}</h2>'
    wrong = [case for case in cases if not case.right]
    for title, some in (("wrong", wrong), ("right", [case for case in cases if case.right])):
        if some:
            yield f'<h3>{title}, the first {len(some)}</h3>\n<div class="cases">'
            yield from (_case(case, sounds) for case in some)
            yield "</div>"


def _case(case: Case, sounds: _Sounds) -> str:
    asked = "".join(_shown(each, sounds) for each in case.asked)
    given = '<p class="nothing">nothing</p>' if case.given is None else _shown(case.given, sounds)
    judged = f"<p>{escape(case.judged)}</p>" if case.judged else ""
    return (
        f'<div class="case {"right" if case.right else "wrong"}"><h4>asked</h4>{asked}'
        f"<h4>wanted</h4><p>{escape(case.wanted)}</p><h4>given</h4>{given}{judged}</div>"
    )


def _shown(value: object, sounds: _Sounds) -> str:
    match value:
        case Path() if value.suffix.lower() in SUFFIXES:
            return f"{_picture(Image.open(value))}<p>{escape(value.name)}</p>"
        case Path():
            return f"{_sound(Speech.open(value), sounds)}<p>{escape(value.name)}</p>"
        case Image():
            return _picture(value)
        case Speech():
            return _sound(value, sounds)
        case _:
            return f"<p>{escape(str(value))}</p>"


def _sound(speech: Speech, sounds: _Sounds) -> str:
    return f'<audio controls preload="none" src="{sounds.written(speech)}"></audio>'


def _picture(picture: Image) -> str:
    shown = picture.pil
    small = max(shown.size) <= MOST_SIDE
    if not small:
        shown.thumbnail((MOST_SIDE, MOST_SIDE), PilImage.Resampling.LANCZOS)
    encoded = io.BytesIO()
    shown.save(encoded, "PNG" if small else "JPEG")
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img alt="a picture" src="data:image/{"png" if small else "jpeg"};base64,{data}">'


def _anchor(row: Row) -> str:
    return escape("-".join(f"{row.part} {row.name}".split()))


STYLE = """
:root { color-scheme: light dark;
  --ink: #1c1c1c; --paper: #fff; --line: #ccc; --good: #17733a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181b; --line: #444; --good: #6fcf8f; --bad: #ff8a80; }
}
body { color: var(--ink); background: var(--paper); font: 16px/1.4 system-ui, sans-serif; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
h4 { font-size: 0.8rem; font-weight: normal; margin: 0.5rem 0 0; opacity: 0.7; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.8rem 0.3rem 0; text-align: left;
  vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
.passed { color: var(--good); } .missed { color: var(--bad); font-weight: bold; }
.cases { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }
.case { border: 1px solid var(--line); border-left: 4px solid var(--good); border-radius: 4px;
  overflow-wrap: anywhere; padding: 0.5rem 0.8rem 0.8rem; }
.case.wrong { border-left-color: var(--bad); }
.case p { margin: 0.1rem 0; } .nothing { font-style: italic; }
img { image-rendering: pixelated; max-width: 100%; min-width: 8rem; }
audio { max-width: 100%; width: 13rem; }
a { color: inherit; }
""".strip()

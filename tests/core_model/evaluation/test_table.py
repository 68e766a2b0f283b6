"""The table an evaluation ends in."""

from __future__ import annotations

import io
import json

from rich.console import Console

from omni_agent.core_model.evaluation import Row, Table
from omni_agent.core_model.evaluation.scores import Share

TABLE = Table(
    rows=(
        Row(part="answers", name="what", measure="right", share=Share(hits=180, total=200), floor=0.9),
        Row(part="answers", name="count", measure="right", share=Share(hits=100, total=200), floor=0.8),
        Row(part="hearing", name="awb", measure="word error", share=Share(hits=50, total=500), floor=0.15),
        Row(part="drawing", name="two seeds", measure="differ", share=Share(hits=1, total=4), note="as read"),
    ),
    split="held_out",
    questions=200,
    seed=0,
    seconds=12.34,
)


def test_a_row_passes_at_its_floor_and_word_errors_below_it() -> None:
    assert [row.passed for row in TABLE.rows] == [True, False, True, None]


def test_the_json_says_everything() -> None:
    read = json.loads(TABLE.to_json())
    assert read["split"] == "held_out"
    assert read["rows"][0] == {
        "part": "answers",
        "name": "what",
        "measure": "right",
        "value": 0.9,
        "low": 0.8506,
        "high": 0.9343,
        "hits": 180,
        "total": 200,
        "floor": 0.9,
        "passed": True,
        "note": "",
    }


def test_markdown_has_a_line_for_each_row() -> None:
    lines = TABLE.to_markdown().splitlines()
    assert len(lines) == 2 + 4
    assert lines[2] == "| answers | what | right | 90.0 % | 85 to 93 | 200 | ≥ 90 % |"
    assert lines[4] == "| hearing | awb | word error | 10.0 % | 8 to 13 | 500 | ≤ 15 % |"


def test_a_terminal_shows_every_row() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(TABLE)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("held-out split, 200 questions a row", "what", "awb", "two seeds", "90.0 %", "as read"):
        assert words in shown

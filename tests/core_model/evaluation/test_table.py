"""The table an evaluation ends in."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from omni_agent.core_model.evaluation import Row, Table
from omni_agent.core_model.evaluation.scores import Share, WordErrors

TABLE = Table(
    rows=(
        Row(part="answers", name="what", measure="right", share=Share(hits=180, total=200), wanted=0.9),
        Row(part="answers", name="count", measure="right", share=Share(hits=100, total=200), wanted=0.8),
        Row(
            part="hearing",
            name="awb",
            measure="word error",
            share=WordErrors(errors=(20, 30), words=(250, 250)),
            wanted=0.15,
        ),
        Row(part="drawing", name="two seeds", measure="differ", share=Share(hits=1, total=4), note="as read"),
    ),
    split="held_out",
    questions=200,
    seed=0,
    seconds=12.34,
)


def test_a_row_passes_where_it_reaches_what_is_wanted_and_word_errors_where_they_stay_below() -> None:
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
        "wanted": 0.9,
        "passed": True,
        "note": "",
    }


def test_the_most_frequent_errors_are_named_and_the_others_counted() -> None:
    failures = {f"a sound of {n} seconds": n for n in range(1, 12)}
    table = replace(TABLE, failures=failures, left_out=("the recordings are not installed",))
    assert table.remarks[0] == "11 times: a sound of 11 seconds"
    assert table.remarks[-2:] == (
        "6 times: other errors, which the JSON names",
        "the recordings are not installed",
    )
    assert len(table.remarks) == 10
    assert json.loads(table.to_json())["failures"] == failures


def test_a_terminal_shows_every_row() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(TABLE)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("held-out split, 200 questions a row", "what", "awb", "two seeds", "90.0 %", "as read"):
        assert words in shown

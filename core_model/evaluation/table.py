"""The table that an evaluation ends in: rows with intervals and floors, for terminals and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import rich.table
from rich.markup import escape

from omni_agent.core_model.evaluation.scores import Share

__all__ = ["Row", "Table"]

Measure = Literal["right", "word error", "differ"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured thing. `floor` is the least share right, or the most word error, that is wanted."""

    part: str
    name: str
    measure: Measure
    share: Share
    floor: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the measured value keeps to the floor; None without one."""
        if self.floor is None:
            return None
        return (
            self.share.value <= self.floor if self.measure == "word error" else self.share.value >= self.floor
        )

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        low, high = self.share.interval
        return {
            "part": self.part,
            "name": self.name,
            "measure": self.measure,
            "value": round(self.share.value, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "hits": self.share.hits,
            "total": self.share.total,
            "floor": self.floor if self.floor is None else round(self.floor, 4),
            "passed": self.passed,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows of an evaluation and what it was asked for.

    `failures` counts the core's errors by their message; each was a wrong answer.
    """

    rows: tuple[Row, ...]
    split: str
    questions: int
    seed: int
    seconds: float
    failures: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON values."""
        return {
            "split": self.split,
            "questions": self.questions,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "failures": self.failures,
            "rows": [row.as_dict() for row in self.rows],
        }

    def to_json(self) -> str:
        """The table as a JSON document."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """The table as README shows it."""
        lines = [
            "| part | row | measure | value | 95 % interval | of | floor |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += ["| " + " | ".join((row.part, *_cells(row))) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"

    def __rich__(self) -> rich.table.Table:
        table = rich.table.Table(
            title=f"{self.split.replace('_', '-')} split, {self.questions} questions a row, seed {self.seed}",
            caption="\n".join(f"{count} times: {message}" for message, count in self.failures.items())
            or None,
        )
        for name in ("part", "row", "measure"):
            table.add_column(name)
        for name in ("value", "95 % interval", "of", "floor"):
            table.add_column(name, justify="right")
        table.add_column("note")
        for part, rows in _by_part(self.rows):
            for first, row in zip((part, *[""] * len(rows)), rows, strict=False):
                style = {True: "green", False: "red", None: ""}[row.passed]
                name, measure, value, *others = _cells(row)
                shown = f"[{style}]{value}[/]" if style else value
                table.add_row(first, name, measure, shown, *others, escape(row.note))
            table.add_section()
        return table


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    low, high = row.share.interval
    floor = (
        "" if row.floor is None else f"{'≤' if row.measure == 'word error' else '≥'} {100 * row.floor:.0f} %"
    )
    value = f"{100 * row.share.value:.1f} %"
    return row.name, row.measure, value, f"{100 * low:.0f} to {100 * high:.0f}", str(row.share.total), floor


def _by_part(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.part, []).append(row)
    return list(parts.items())

"""The table that an evaluation ends in: rows with intervals and what is wanted, for terminals and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import rich.table
from rich.markup import escape

from omni_agent.core_model.evaluation.scores import Share, WordErrors

__all__ = ["Row", "Table"]

Measure = Literal["right", "word error", "differ"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured thing. `wanted` is the least share right, or the most word error, that would do."""

    part: str
    name: str
    measure: Measure
    share: Share | WordErrors
    wanted: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the measured value is as wanted; None where nothing is."""
        if self.wanted is None:
            return None
        if self.measure == "word error":
            return self.share.value <= self.wanted
        return self.share.value >= self.wanted

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
            "wanted": self.wanted if self.wanted is None else round(self.wanted, 4),
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

    def __rich__(self) -> rich.table.Table:
        table = rich.table.Table(
            title=f"{self.split.replace('_', '-')} split, {self.questions} questions a row, seed {self.seed}",
            caption="\n".join(f"{count} times: {message}" for message, count in self.failures.items())
            or None,
        )
        for name in ("part", "row", "measure"):
            table.add_column(name)
        for name in ("value", "95 % interval", "of", "wanted"):
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
    sign = "≤" if row.measure == "word error" else "≥"
    wanted = "" if row.wanted is None else f"{sign} {100 * row.wanted:.0f} %"
    value = f"{100 * row.share.value:.1f} %"
    return row.name, row.measure, value, f"{100 * low:.0f} to {100 * high:.0f}", str(row.share.total), wanted


def _by_part(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.part, []).append(row)
    return list(parts.items())

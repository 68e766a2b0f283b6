"""The table that an evaluation ends in: rows with intervals and what is wanted, for terminals and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import rich.table
from rich.markup import escape

from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.scores import Estimate, Share, WordErrors

__all__ = ["Cells", "Measure", "Row", "Table"]

Measure = Literal["right", "word error", "differ", "share", "points"]
"""What a row's value is. Points are points, all others are shares of 1."""


MESSAGES = 8
"""A message may name a length, or a file: there can be one for each question."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured thing. `wanted` is the least value, or the most word error, that would do."""

    part: str
    name: str
    measure: Measure
    share: Share | WordErrors | Estimate
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

    @property
    def cells(self) -> Cells:
        """The row as it is shown."""
        low, high = self.share.interval
        scale, unit, digits = (1, "", 1) if self.measure == "points" else (100, " %", 0)
        sign = "≤" if self.measure == "word error" else "≥"
        return Cells(
            name=self.name,
            measure=self.measure,
            value=f"{scale * self.share.value:.1f}{unit}",
            interval=f"{scale * low:.{digits}f} to {scale * high:.{digits}f}",
            total=str(self.share.total),
            wanted="" if self.wanted is None else f"{sign} {scale * self.wanted:.0f}{unit}",
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
            "wanted": self.wanted if self.wanted is None else round(self.wanted, 4),
            "passed": self.passed,
            "note": self.note,
        }


class Cells(NamedTuple):
    """A row in words and figures, without its part and note."""

    name: str
    measure: str
    value: str
    interval: str
    total: str
    wanted: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows of an evaluation and what it was asked for.

    Attributes:
        rows: what was measured.
        model: its name or path, where it was asked for by that.
        suite: which suite they are of.
        source: the folder or file that was asked from; of the world, which makes its own questions, empty.
        split: of the world.
        questions: how many a row of the world; of other suites how many in all.
        seed: of the world's questions.
        seconds: how long it took.
        settings: what the core was told other than by default, by task and name.
        failures: counts the core's errors by their message; each was a wrong answer.
        left_out: what could not be measured, and why.
        cases: what to look at: failures, and a little that was right.
    """

    rows: tuple[Row, ...]
    model: str = ""
    suite: str = "world"
    source: str = ""
    split: str = ""
    questions: int
    seed: int = 0
    seconds: float
    settings: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()

    @property
    def title(self) -> str:
        """What it was asked for, in a line."""
        if self.suite == "world":
            asked = (
                f"{self.split.replace('_', '-')} split, {self.questions} questions a row, seed {self.seed}"
            )
        else:
            asked = f"{self.suite}, {self.source}: {self.questions} questions"
        what = ", ".join([asked, *(f"{name} {value}" for name, value in self.settings.items())])
        return f"{self.model}: {what}" if self.model else what

    @property
    def remarks(self) -> tuple[str, ...]:
        """What went wrong, a line each, the most frequent first."""
        often = sorted(self.failures.items(), key=lambda each: -each[1])
        lines = [f"{count} times: {message}" for message, count in often[:MESSAGES]]
        if rest := sum(count for _, count in often[MESSAGES:]):
            lines.append(f"{rest} times: other errors, which the JSON names")
        return (*lines, *self.left_out)

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON values, without the cases."""
        return {
            "model": self.model,
            "suite": self.suite,
            "source": self.source,
            "split": self.split,
            "questions": self.questions,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "settings": dict(self.settings),
            "failures": dict(self.failures),
            "left_out": list(self.left_out),
            "rows": [row.as_dict() for row in self.rows],
        }

    def to_json(self) -> str:
        """The table as a JSON document."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"

    def __rich__(self) -> rich.table.Table:
        notes = [f"{row.part}, {row.name}: {row.note}" for row in self.rows if row.note]
        table = rich.table.Table(
            title=escape(self.title),
            caption=escape("\n".join([*notes, *self.remarks])) or None,
            caption_justify="left",
        )
        for name in ("part", "row", "measure"):
            table.add_column(name, overflow="fold")
        for name in ("value", "95 % interval", "of", "wanted"):
            table.add_column(name, justify="right")
        for part, rows in self.by_part():
            for first, row in zip((part, *[""] * len(rows)), rows, strict=False):
                style = {True: "green", False: "red", None: ""}[row.passed]
                name, measure, value, *others = row.cells
                shown = f"[{style}]{value}[/]" if style else value
                table.add_row(escape(first), escape(name), measure, shown, *others)
            table.add_section()
        return table

    def by_part(self) -> list[tuple[str, list[Row]]]:
        """The rows, by the part they belong to."""
        parts: dict[str, list[Row]] = {}
        for row in self.rows:
            parts.setdefault(row.part, []).append(row)
        return list(parts.items())

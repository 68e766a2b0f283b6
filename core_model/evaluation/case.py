"""Single cases behind the rows: what was asked, wanted and given, kept for those who look at the failures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from omni_agent.core import Value

__all__ = ["Asked", "Case", "Gallery"]

Asked: TypeAlias = Value | str | Path
"""What a question was made of. A file is named, not held: a suite has thousands."""

FAILURES = 24
SUCCESSES = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question and what came of it.

    `given` is None where the core gave nothing; `judged` is what a judge heard or saw in it, where one was
    asked.
    """

    part: str
    row: str
    turn: int
    asked: tuple[Asked, ...]
    wanted: str
    given: Value | str | None
    judged: str = ""
    right: bool


class Gallery:
    """The first failures of every row, and a few of what was right. Others are counted and let go."""

    def __init__(self) -> None:
        self.seen = 0
        self._kept: defaultdict[tuple[str, str, bool], dict[int, Case]] = defaultdict(dict)

    def add(self, case: Case) -> None:
        """Keep a case if it is among the first of its row, in the order of asking."""
        self.seen += 1
        kept = self._kept[case.part, case.row, case.right]
        kept[case.turn] = case
        if len(kept) > (SUCCESSES if case.right else FAILURES):
            del kept[max(kept)]

    def cases(self, rows: Iterable[tuple[str, str]]) -> tuple[Case, ...]:
        """What was kept of these rows, named by part and name: failures first, in the order of asking."""
        return tuple(
            kept[turn]
            for part, row in rows
            for right in (False, True)
            for kept in (self._kept[part, row, right],)
            for turn in sorted(kept)
        )

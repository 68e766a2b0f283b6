"""Evaluating a core on the world: every row of README's table, asked through the public verbs alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from rich.progress import Progress

from omni_agent.core import Core
from omni_agent.core_model.evaluation.answering import (
    describing,
    questions_about,
    spoken_questions,
    sums_typed,
)
from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.drawing import drawing, drawing_spoken
from omni_agent.core_model.evaluation.hearing_and_speaking import hearing, speaking, spoken_answers
from omni_agent.core_model.evaluation.table import Row, Table
from omni_agent.core_model.evaluation.through_tokenizer import through_tokenizer
from omni_agent.core_model.world import Split
from omni_agent.errors import InputError

__all__ = ["GROUPS", "ROWS", "evaluate"]

ROWS: dict[str, Callable[[Bench], Awaitable[list[Row]]]] = {
    "what": questions_about("what"),
    "count": questions_about("count"),
    "one or zero": questions_about("one or zero"),
    "where": questions_about("where"),
    "left or right": questions_about("left or right"),
    "is there": questions_about("is there"),
    "sum": sums_typed,
    "describe": describing,
    "hearing": hearing,
    "speaking": speaking,
    "spoken questions": spoken_questions,
    "spoken answers": spoken_answers,
    "image tokenizer": through_tokenizer,
    "drawing": drawing,
    "drawing spoken": drawing_spoken,
}
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(ROWS),
    "answers": tuple(ROWS)[:8],
    "speech": ("hearing", "speaking", "spoken questions", "spoken answers"),
    "pictures": ("image tokenizer", "drawing", "drawing spoken"),
}


async def evaluate(
    core: Core,
    rows: str | Iterable[str] = "all",
    questions: int = 200,
    seed: int = 0,
    *,
    split: Split = "held_out",
    concurrency: int = 4,
    progress: Progress | None = None,
) -> Table:
    """Measures a core that is entered already.

    Args:
        core: what is measured; only its verbs are used.
        rows: a row or group of rows (`ROWS` and `GROUPS` name them), or several.
        questions: how many for each row; sums are always all 155.
        seed: of the questions. The same seed asks the same, whatever else is measured.
        split: the held-out split measures; the development split is for choosing models and thresholds.
        concurrency: requests at the core at once.
        progress: where progress is shown.

    Raises:
        InputError: an unknown name of rows, or fewer than one question.
        NotAvailable: a voice or the emoji font is not installed.
    """
    if questions < 1 or concurrency < 1:
        raise InputError(f"given {questions} questions, {concurrency} at once; wanted at least one of each")
    bench = Bench(
        core=core,
        split=split,
        questions=questions,
        seed=seed,
        concurrency=concurrency,
        progress=progress,
        failures=Counter(),
    )
    started = time.monotonic()
    measured = [row for name in _named(rows) for row in await ROWS[name](bench)]
    seconds = time.monotonic() - started
    return Table(
        rows=tuple(measured),
        split=split,
        questions=questions,
        seed=seed,
        seconds=seconds,
        failures=dict(bench.failures),
    )


def _named(rows: str | Iterable[str]) -> list[str]:
    """The rows that are asked for, each once, in the table's order."""
    names = [rows] if isinstance(rows, str) else list(rows)
    for name in names:
        if name not in GROUPS and name not in ROWS:
            raise InputError(f"given the rows {name!r}; wanted one of {', '.join([*GROUPS, *ROWS])}")
    wanted = {row for name in names for row in GROUPS.get(name, (name,))}
    return [row for row in ROWS if row in wanted]

"""Evaluating a core on the world: every row of README's table, asked through the public verbs alone."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection

from rich.progress import Progress

from omni_agent.core import Core
from omni_agent.core_model.evaluation.answering import describing, questions_about, sums_typed
from omni_agent.core_model.evaluation.bench import WorldBench
from omni_agent.core_model.evaluation.drawing import drawing, drawing_spoken
from omni_agent.core_model.evaluation.hearing_and_speaking import hearing, speaking
from omni_agent.core_model.evaluation.overrides import NONE, Overrides
from omni_agent.core_model.evaluation.recorded_words import missing_recordings, recorded_words
from omni_agent.core_model.evaluation.spoken_questions import (
    spoken_answers,
    spoken_by_kind,
    spoken_questions,
)
from omni_agent.core_model.evaluation.table import Row, Table
from omni_agent.core_model.evaluation.through_tokenizer import through_tokenizer
from omni_agent.core_model.world import Split
from omni_agent.errors import InputError

__all__ = ["GROUPS", "ROWS", "evaluate"]

ROWS: dict[str, Callable[[WorldBench], Awaitable[list[Row]]]] = {
    "what": questions_about("what"),
    "count": questions_about("count"),
    "one or zero": questions_about("one or zero"),
    "where": questions_about("where"),
    "left or right": questions_about("left or right"),
    "is there": questions_about("is there"),
    "sum": sums_typed,
    "describe": describing,
    "hearing": hearing,
    "recorded words": recorded_words,
    "speaking": speaking,
    "spoken by kind": spoken_by_kind,
    "spoken questions": spoken_questions,
    "spoken answers": spoken_answers,
    "image tokenizer": through_tokenizer,
    "drawing": drawing,
    "drawing spoken": drawing_spoken,
}
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(ROWS),
    "answers": tuple(ROWS)[:8],
    "speech": (
        "hearing",
        "recorded words",
        "speaking",
        "spoken by kind",
        "spoken questions",
        "spoken answers",
    ),
    "pictures": ("image tokenizer", "drawing", "drawing spoken"),
}


async def evaluate(
    core: Core,
    rows: str | Collection[str] = "all",
    questions: int = 200,
    seed: int = 0,
    *,
    split: Split = "held_out",
    overrides: Overrides = NONE,
    concurrency: int = 4,
    progress: Progress | None = None,
) -> Table:
    """Measures a core that is entered already.

    Args:
        core: what is measured; only its verbs are used.
        rows: a row or group of rows (`ROWS` and `GROUPS` name them), or several.
        questions: how many for each row; sums are always all 155. None is asked twice while there is another;
            a row's note says so where there are fewer different ones.
        seed: of the questions. The same seed asks the same, whatever else is measured.
        split: the held-out split measures; the development split is for choosing models and thresholds.
        overrides: settings by task, other than the defaults.
        concurrency: requests at the core at once.
        progress: where progress is shown.

    Raises:
        InputError: an unknown name of rows, or fewer than one question.
        NotAvailable: a voice or the emoji font is not installed, or the recordings of "recorded words" are
            not; as a part of a group these are left out instead, and the table says so.
    """
    if questions < 1 or concurrency < 1:
        raise InputError(f"given {questions} questions, {concurrency} at once; wanted at least one of each")
    bench = WorldBench(
        core=core, split=split, questions=questions, seed=seed, concurrency=concurrency, progress=progress
    )
    names = _named(rows)
    missing = missing_recordings() if "recorded words" in names else None
    if missing is not None and "recorded words" not in ([rows] if isinstance(rows, str) else rows):
        names.remove("recorded words")
    started = time.monotonic()
    with overrides.applied():
        measured = [row for name in names for row in await ROWS[name](bench)]
    return Table(
        rows=tuple(measured),
        split=split,
        questions=questions,
        seed=seed,
        seconds=time.monotonic() - started,
        settings=overrides.shown,
        failures=dict(bench.failures),
        left_out=() if missing is None else (missing,),
        cases=bench.gallery.cases((row.part, row.name) for row in measured),
    )


def _named(rows: str | Collection[str]) -> list[str]:
    """The rows that are asked for, each once, in the table's order."""
    names = [rows] if isinstance(rows, str) else list(rows)
    for name in names:
        if name not in GROUPS and name not in ROWS:
            raise InputError(f"given the rows {name!r}; wanted one of {', '.join([*GROUPS, *ROWS])}")
    wanted = {row for name in names for row in GROUPS.get(name, (name,))}
    return [row for row in ROWS if row in wanted]

"""Evaluating a core on a suite in a published format."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.progress import Progress

from omni_agent.core import Core
from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.overrides import NONE, Overrides
from omni_agent.core_model.evaluation.reading_back import Recogniser
from omni_agent.core_model.evaluation.suites.mme import mme, read_mme
from omni_agent.core_model.evaluation.suites.normalising import Normaliser
from omni_agent.core_model.evaluation.suites.pope import pope, read_pope
from omni_agent.core_model.evaluation.suites.recognition import recognition
from omni_agent.core_model.evaluation.suites.speaking import speaking, world_judge
from omni_agent.core_model.evaluation.suites.utterances import read_texts, read_utterances
from omni_agent.core_model.evaluation.table import Row, Table
from omni_agent.errors import InputError

__all__ = ["SUITES", "Prepared", "evaluate_prepared", "evaluate_suite", "prepared"]

SUITES = ("recognition", "speaking", "pope", "mme")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A suite whose files are read: any number of cores may be measured on it."""

    suite: str
    source: Path
    measure: Callable[[Bench], Awaitable[list[Row]]]


async def evaluate_suite(
    core: Core,
    suite: str,
    source: Path | None,
    *,
    questions: int | None = None,
    recogniser: Recogniser | None = None,
    spelling: Mapping[str, str] | None = None,
    overrides: Overrides = NONE,
    concurrency: int = 4,
    progress: Progress | None = None,
) -> Table:
    """Measures a core that is entered already on the files of a suite.

    Args:
        core: what is measured; only its verbs are used.
        suite: one of `SUITES`.
        source: the folder, or one file of it.
        questions: at most so many of each file or task, the first ones; None asks all.
        recogniser: writes down what the core says, for "speaking"; None takes the world's judge, which knows
            the world's words alone.
        spelling: British spellings with American ones in their place, for the word errors of "recognition"
            and "speaking": the content of a Whisper checkpoint's `normalizer.json`.
        overrides: settings by task, other than the defaults.
        concurrency: requests at the core at once.
        progress: where progress is shown.

    Raises:
        InputError: as `prepared`.
        MissingExtra: as `prepared`.
    """
    read = await asyncio.to_thread(
        prepared, suite, source, questions=questions, recogniser=recogniser, spelling=spelling
    )
    return await evaluate_prepared(
        core, read, overrides=overrides, concurrency=concurrency, progress=progress
    )


async def evaluate_prepared(
    core: Core,
    read: Prepared,
    *,
    overrides: Overrides = NONE,
    concurrency: int = 4,
    progress: Progress | None = None,
) -> Table:
    """Measures a core on a suite whose files are read; the arguments are those of `evaluate_suite`."""
    bench = Bench(core=core, concurrency=concurrency, progress=progress)
    started = time.monotonic()
    with overrides.applied():
        rows = await read.measure(bench)
    return Table(
        rows=tuple(rows),
        suite=read.suite,
        source=str(read.source),
        questions=bench.gallery.seen,
        seconds=time.monotonic() - started,
        settings=overrides.shown,
        failures=dict(bench.failures),
        cases=bench.gallery.cases((row.part, row.name) for row in rows),
    )


def prepared(
    suite: str,
    source: Path | None,
    *,
    questions: int | None = None,
    recogniser: Recogniser | None = None,
    spelling: Mapping[str, str] | None = None,
) -> Prepared:
    """Reads a suite's files, without a core: all that can be wrong with them is said before one is loaded.

    The arguments are those of `evaluate_suite`.

    Raises:
        InputError: an unknown suite, no source, fewer than one question, files that are not the suite's, or
            texts with words that the world's judge does not know.
        MissingExtra: what counts word errors, or reads back, is not installed.
    """
    if suite not in SUITES:
        raise InputError(f"given the suite {suite!r}; wanted one of world, {', '.join(SUITES)}")
    if source is None:
        raise InputError(f"given no data for the suite {suite}; wanted its folder, or a file of it")
    if questions is not None and questions < 1:
        raise InputError(f"given {questions} questions; wanted at least one")
    measure: Callable[[Bench], Awaitable[list[Row]]]
    match suite:
        case "pope":
            measure = partial(pope, questions=read_pope(source), most=questions)
        case "mme":
            measure = partial(mme, tasks=read_mme(source), most=questions)
        case "recognition":
            sounds = read_utterances(source)[:questions]
            normalise = Normaliser(spelling)
            measure = partial(recognition, name=source.stem, utterances=sounds, normalise=normalise)
        case _:
            texts = read_texts(source)[:questions]
            measure = partial(
                speaking,
                name=source.stem,
                utterances=texts,
                normalise=Normaliser(spelling),
                recogniser=recogniser or world_judge([each.text for each in texts]),
            )
    return Prepared(suite=suite, source=source, measure=measure)

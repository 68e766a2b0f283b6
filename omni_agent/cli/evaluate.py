"""`omni-agent evaluate`: a model's scores on the world of omni-tiny or on a suite's files, as a table, as
JSON and as a page.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from omni_agent.cli.output import check_place, make_folder, write_text
from omni_agent.cli.session import Loader
from omni_agent.errors import InputError

if TYPE_CHECKING:
    from omni_agent.core_model.evaluation import Table

__all__ = ["evaluate"]

QUESTIONS = 200


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A checkpoint's name or path.")] = "omni-tiny",
    suite: Annotated[
        str,
        typer.Option("--suite", metavar="NAME", help="world, recognition, speaking, pope or mme."),
    ] = "world",
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="The suite's folder, or a file of it; world needs none."),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--rows", metavar="NAME", help="Of world: a row or a group of rows; may be given again. Else all."
        ),
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(
            "--questions",
            metavar="N",
            help=f"How many for each row of world, {QUESTIONS} by default; of each file or task of others.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Of world's questions.")
    ] = None,
    development: Annotated[
        bool,
        typer.Option(
            "--development",
            help="World's split for choosing models and settings, not the held-out one.",
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TASK.NAME=VALUE", help="A setting, as draw.num_steps=16; may be given again."
        ),
    ] = None,
    compared: Annotated[
        list[str] | None,
        typer.Option(
            "--beside",
            metavar="TASK.NAME=VALUE,...",
            help="Measure again with these, and print both; may be given again.",
        ),
    ] = None,
    recogniser: Annotated[
        str | None,
        typer.Option(
            "--recogniser",
            metavar="MODULE:FUNCTION",
            help="Of speaking: reads back, given samples and rate. Else the world's judge.",
        ),
    ] = None,
    spelling: Annotated[
        Path | None,
        typer.Option(
            "--spelling", metavar="FILE", help="Spellings for word errors: Whisper's normalizer.json."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the table as JSON too.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FOLDER", help="Write a page with the table and what went wrong."),
    ] = None,
) -> None:
    """Measure a model: on what it never saw of its world, or on your files of a suite. Takes half an hour."""
    if json_file is not None:
        check_place(json_file, (".json",))
    if page is not None:
        make_folder(page)
    if suite == "world":
        _refuse(suite, {"--data": data, "--recogniser": recogniser, "--spelling": spelling})
    else:
        _refuse(suite, {"--rows": rows, "--seed": seed, "--development": development or None})
        if suite != "speaking":
            _refuse(suite, {"--recogniser": recogniser})
        if suite not in ("speaking", "recognition"):
            _refuse(suite, {"--spelling": spelling})
    given = _Given(
        suite=suite,
        data=data,
        rows=tuple(rows or ["all"]),
        questions=questions,
        seed=seed or 0,
        development=development,
        recogniser=None if recogniser is None else _function(recogniser),
        spelling=None if spelling is None else _spellings(spelling),
    )
    measured = asyncio.run(_measured(context.obj, model, given, settings or [], compared or []))
    table = replace(measured, model=model)
    Console().print(table)
    if json_file is not None:
        write_text(json_file, table.to_json())
    if page is not None:
        from omni_agent.core_model.evaluation import write_page

        write_page(table, page)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What the options ask for."""

    suite: str
    data: Path | None
    rows: tuple[str, ...]
    questions: int | None
    seed: int
    development: bool
    recogniser: Callable[..., str] | None
    spelling: Mapping[str, str] | None

    def prepared(self) -> Callable[..., Awaitable[Table]]:
        """What measures a core that is entered already; a suite's files are read, or refused, before one is
        loaded, which may take minutes.
        """
        from omni_agent.core_model.evaluation import evaluate
        from omni_agent.core_model.evaluation.suites import evaluate_prepared, prepared

        if self.suite == "world":
            return partial(
                evaluate,
                rows=self.rows,
                questions=QUESTIONS if self.questions is None else self.questions,
                seed=self.seed,
                split="development" if self.development else "held_out",
            )
        read = prepared(
            self.suite,
            self.data,
            questions=self.questions,
            recogniser=self.recogniser,
            spelling=self.spelling,
        )
        return partial(evaluate_prepared, read=read)


async def _measured(
    load: Loader, model: str, given: _Given, settings: list[str], compared: list[str]
) -> Table:
    from omni_agent.core_model.evaluation import Overrides, beside  # needs torch, which --help does not

    measured = given.prepared()
    first = Overrides.of(settings)
    others = [Overrides.of(each.split(",")) for each in compared]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        async with load(model) as core:
            table = await measured(core, overrides=first, progress=progress)
            tables = [
                await measured(core, overrides=other.over(first), progress=progress) for other in others
            ]
    return beside(table, list(zip((other.words for other in others), tables, strict=True)))


def _refuse(suite: str, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} was given for the suite {suite}, which has no use for it; leave it out")


def _function(name: str) -> Callable[..., str]:
    """The function that ``module:function`` names; the present folder's modules are found."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise InputError(f"given the recogniser {name!r}; wanted module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute, None)
    except ImportError as error:
        raise InputError(f"given the recogniser {name!r}, which cannot be imported: {error}") from error
    if not callable(found):
        raise InputError(f"given the recogniser {name!r}; {module_name} has no function {attribute!r}")
    function: Callable[..., str] = found
    return function


def _spellings(file: Path) -> Mapping[str, str]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: no spellings could be read ({error})") from error
    if not isinstance(read, dict) or not all(isinstance(each, str) for each in read.values()):
        raise InputError(f"{file}: wanted a JSON object of spellings, as {{'colour': 'color'}}")
    return read

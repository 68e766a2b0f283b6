"""`omni-agent evaluate`: a model's scores on the world of omni-tiny, as a table and as JSON."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from omni_agent.cli.output import check_place, write_text
from omni_agent.cli.session import Loader

if TYPE_CHECKING:
    from omni_agent.core_model.evaluation import Table
    from omni_agent.core_model.world import Split

__all__ = ["evaluate"]


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A checkpoint's name or path.")] = "omni-tiny",
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--rows", metavar="NAME", help="A row or a group of rows; may be given again. All rows otherwise."
        ),
    ] = None,
    questions: Annotated[int, typer.Option("--questions", metavar="N", help="How many for each row.")] = 200,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the questions.")] = 0,
    development: Annotated[
        bool,
        typer.Option(
            "--development", help="On the split for choosing models and settings, not the held-out one."
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the table as JSON too.")
    ] = None,
) -> None:
    """Measure a model on what it never saw: questions, hearing, speaking, drawing. Takes half an hour."""
    if json_file is not None:
        check_place(json_file, (".json",))
    load: Loader = context.obj
    split: Split = "development" if development else "held_out"
    table = asyncio.run(_measured(load, model, rows or ["all"], questions, seed, split))
    if json_file is not None:
        write_text(json_file, table.to_json())
    Console().print(table)


async def _measured(
    load: Loader, model: str, rows: list[str], questions: int, seed: int, split: Split
) -> Table:
    from omni_agent.core_model.evaluation import evaluate as measure  # needs torch, which --help does not

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        async with load(model) as core:
            return await measure(core, rows, questions, seed, split=split, progress=progress)

"""`omni-agent runs ...`: what a store of runs holds."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from omni_agent.cli.commands import AsJson
from omni_agent.cli.output import print_json
from omni_agent.errors import InputError
from omni_agent.graph.store import RunInfo, RunStore

__all__ = ["runs"]

Store = Annotated[
    str, typer.Argument(metavar="STORE", help="A SQLite file, or postgresql://user@host/database.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]

runs = typer.Typer(help="List, show, export and delete the runs of a store.", no_args_is_help=True)


@runs.command("list")
def list_(
    store: Store,
    graph: Annotated[str | None, typer.Option("--graph", metavar="NAME", help="Only of this graph.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the one written last first."""
    found = asyncio.run(_opened(store).list(graph=graph, limit=limit))
    if as_json:
        print_json({"runs": [_fields(info) for info in found]})
        return
    rows = [(i.id, i.graph, i.status, str(i.steps), f"{i.updated:%Y-%m-%d %H:%M:%S}") for i in found]
    _print_table(("run", "graph", "status", "steps", "written"), rows)


@runs.command()
def show(store: Store, run: RunId, as_json: AsJson = False) -> None:
    """Show a run and its steps."""
    document = asyncio.run(_opened(store).document(run))
    if as_json:
        print_json(document)
        return
    for name in ("id", "graph", "status", "created", "updated", "seed", "forked_from", "error"):
        if document[name] is not None:
            print(f"{name + ':':12} {document[name]}")
    for name, value in document["inputs"].items():
        print(f"{name + ':':12} {_brief(value)}")
    rows = [
        ("/".join(map(str, each["path"])), each["outcome"], f"{each['seconds']:.2f}", _brief(each["value"]))
        for each in document["steps"]
    ]
    _print_table(("step", "outcome", "seconds", "value"), rows)


@runs.command()
def export(
    store: Store,
    run: RunId,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new folder, or a name in .zip.")],
) -> None:
    """Write a run as run.json, with its media as files beside it."""
    asyncio.run(_opened(store).export(run, target))
    print(target)


@runs.command()
def delete(
    store: Store, ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="The runs' ids.")]
) -> None:
    """Delete runs. Their media stays until `collect`."""
    opened = _opened(store)

    async def work() -> None:
        async with opened:
            for each in ids:
                await opened.delete(each)

    asyncio.run(work())


@runs.command()
def collect(store: Store, as_json: AsJson = False) -> None:
    """Delete the media that no run uses any more."""
    collected = asyncio.run(_opened(store).collect())
    if as_json:
        print_json(asdict(collected))
    else:
        print(f"{collected.media} deleted, {collected.bytes:,} bytes")


def _opened(url: str) -> RunStore:
    path = Path(url.removeprefix("sqlite:///"))
    if "://" not in str(url.removeprefix("sqlite:///")) and not path.is_file():
        raise InputError(f"{path}: there is no such store; wanted a SQLite file that a run was stored in")
    return RunStore(url)


def _fields(info: RunInfo) -> dict[str, Any]:
    times = {"created": info.created.isoformat(), "updated": info.updated.isoformat()}
    return {**asdict(info), **times}


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _print_table(names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(each.replace("[", r"\[") for each in row))
    # read by people in a terminal, and whole by what it is piped to
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, soft_wrap=width is not None).print(table)

"""`omni-agent parity`: whether this core computes what the published code computes, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import rich.table
import typer
from rich.console import Console
from rich.markup import escape

from omni_agent.cli.output import make_folder

__all__ = ["parity"]


def parity(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Golden cases: cases.json and *.npz files.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Write what was computed there, in files of the same names."
        ),
    ] = None,
) -> None:
    """Compare this core with golden vectors of the published code. Exit status 1 if any case fails."""
    from omni_agent.core_model.parity import check_folder  # needs torch, which --help does not

    if out is not None:
        make_folder(out)
    failed = False
    table = rich.table.Table("case", "largest difference", "steps", "verdict")
    for column in (1, 2):
        table.columns[column].justify = "right"
    with Console(stderr=True).status("comparing") as status:
        for verdict in check_folder(folder, out):
            failed = failed or not verdict.passed
            said = "[green]equal[/]" if verdict.passed else f"[red]{escape('; '.join(verdict.faults))}[/]"
            table.add_row(escape(verdict.case), f"{verdict.difference:.2g}", str(verdict.steps or ""), said)
            status.update(f"compared {escape(verdict.case)}")
    Console().print(table)
    if failed:
        raise typer.Exit(1)

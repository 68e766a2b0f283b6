"""`omni-agent parity`: whether this core computes what the published code computes, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import rich.table
import typer
from rich.console import Console

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

    console, failed = Console(), False
    table = rich.table.Table("case", "largest difference", "steps", "verdict")
    for column in (1, 2):
        table.columns[column].justify = "right"
    with console.status("comparing") as status:
        for verdict in check_folder(folder, out):
            failed = failed or not verdict.passed
            said = "[green]equal[/]" if verdict.passed else f"[red]{'; '.join(verdict.faults)}[/]"
            table.add_row(verdict.case, f"{verdict.difference:.2g}", str(verdict.steps or ""), said)
            status.update(f"compared {verdict.case}")
    console.print(table)
    if failed:
        raise typer.Exit(1)

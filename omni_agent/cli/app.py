"""All commands, with the options that stand before a command's name."""

from __future__ import annotations

from functools import partial
from importlib import metadata
from typing import Annotated

import typer

from omni_agent.cli.commands import ask, describe, draw, speak, transcribe
from omni_agent.cli.demo import demo
from omni_agent.cli.evaluate import evaluate
from omni_agent.cli.graphs import graph
from omni_agent.cli.parity import parity
from omni_agent.cli.runs import runs
from omni_agent.cli.train import train
from omni_agent.errors import InputError

__all__ = ["app"]

app = typer.Typer(
    name="omni-agent",
    help="Ask, listen, look, draw and speak with one masked-diffusion model, on this machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_WITHOUT_A_CORE = ("graph", "parity", "runs", "train")


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        print("omni-agent", metadata.version("omni-agent-diffusion"))
    except metadata.PackageNotFoundError:
        print("omni-agent, from a folder that is not installed")
    raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="Where the weights go: cpu, cuda, cuda:1.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="TYPE", help="What they are held as: float32, bfloat16, float16."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    wanted = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
    if wanted and context.invoked_subcommand in _WITHOUT_A_CORE:
        raise InputError(f"{context.invoked_subcommand} loads no core: --device and --dtype are not for it")
    if wanted:
        context.obj = partial(context.obj, **wanted)


for command in (ask, transcribe, speak, describe, draw, demo, evaluate, parity):
    app.command()(command)
app.add_typer(train, name="train")
app.add_typer(graph, name="graph")
app.add_typer(runs, name="runs")

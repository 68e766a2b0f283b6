"""Graphs by their names on the command line, and the commands about them."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from omni_agent import recipes
from omni_agent.cli.commands import AsJson
from omni_agent.cli.output import print_json
from omni_agent.errors import InputError
from omni_agent.graph import Graph
from omni_agent.graph.names import listed, nearest

__all__ = ["found", "graph"]

graph = typer.Typer(name="graph", help="Look at graphs.", no_args_is_help=True)


@graph.callback()
def _graph() -> None:
    """Look at graphs."""


@graph.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name, or module:graph.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="F.svg", help="The file to draw it to: .svg, or .mmd for Mermaid."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a graph, with the types of what goes from step to step. Without a file, as Mermaid text."""
    drawing = found(name).draw()
    if out is not None:
        drawing.save(out)
    if as_json:
        print_json({"mermaid": drawing.mermaid, "file": None if out is None else str(out)})
    elif out is not None:
        print("drawing:", out)
    else:
        print(drawing.mermaid, end="")


def found(name: str) -> Graph:
    """The graph of a recipe, or the one that ``module:graph`` names.

    Raises:
        InputError: there is none.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        return _of_recipe(name)
    if not module_name or not attribute:
        raise InputError(f"{name!r} names no graph; wanted module:graph, as in 'my_graphs:assistant'")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: one's own modules are in this folder
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise InputError(f"there is no module {module_name!r} here or among what is installed") from error
        raise
    held: object = module
    for part in attribute.split("."):
        held = getattr(held, part, None)
    if not isinstance(held, Graph):
        graphs = [key for key, value in vars(module).items() if isinstance(value, Graph)]
        raise InputError(
            f"module {module_name!r} has no graph {attribute!r}; its graphs are {listed(graphs)}."
            f" {nearest(attribute, graphs)}".rstrip()
        )
    return held


def _of_recipe(name: str) -> Graph:
    names = sorted(each.name for each in pkgutil.iter_modules(recipes.__path__))
    if name not in names:
        raise InputError(
            f"there is no recipe {name!r}; there are {listed(names)}. {nearest(name, names)}".rstrip()
            + " A graph of your own is module:graph."
        )
    module = importlib.import_module(f"omni_agent.recipes.{name}")
    graphs = [value for value in vars(module).values() if isinstance(value, Graph)]
    main = [each for each in graphs if not any(each is not other and other.holds(each) for other in graphs)]
    if len(main) != 1:
        raise InputError(f"recipe {name!r} is no graph by itself: run python -m omni_agent.recipes.{name}")
    return main[0]

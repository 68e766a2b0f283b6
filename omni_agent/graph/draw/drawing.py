"""A graph, drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.draw.mermaid import mermaid_of
from omni_agent.graph.draw.sketch import Sketch, sketch_of
from omni_agent.graph.draw.svg import svg_of
from omni_agent.graph.plan import Plan

__all__ = ["Drawing"]

NONE: Mapping[tuple[str, ...], str] = MappingProxyType({})
SUFFIXES = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}


class Drawing:
    """A graph, drawn: a notebook shows it by itself.

    Args:
        plan: the checked graph.
        states: how far a run has come: ``running``, ``finished``, ``failed``, ``skipped``, ``cancelled`` or
            ``awaited``, by the path of a step without indices and rounds.
    """

    def __init__(self, plan: Plan, states: Mapping[tuple[str, ...], str] = NONE) -> None:
        self._plan = plan
        self._states = dict(states)

    @cached_property
    def mermaid(self) -> str:
        """As a Mermaid flowchart, for pages that draw these."""
        return mermaid_of(self._sketch, self._states)

    @cached_property
    def svg(self) -> str:
        """As an SVG document. It needs no font and no file beside it."""
        return svg_of(self._sketch, self._states)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the drawing: SVG to ``.svg``, Mermaid to ``.mmd``.

        Raises:
            InputError: another ending, or the file cannot be written.
        """
        place = Path(path)
        form = SUFFIXES.get(place.suffix.lower())
        if form is None:
            raise InputError(f"{place} ends in {place.suffix!r}; wanted one of {', '.join(SUFFIXES)}")
        try:
            place.write_text(self.svg if form == "svg" else self.mermaid, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{place} cannot be written ({error.strerror})") from error

    @cached_property
    def _sketch(self) -> Sketch:
        return sketch_of(self._plan)

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/vnd.mermaid": self.mermaid, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<Drawing of {self._plan.graph!r}: {len(self._plan.nodes)} steps>"

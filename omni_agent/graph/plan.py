"""A graph after `check()`: every name an edge, every type resolved. What a run follows; holds no logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Edge", "Plan", "PlannedStep"]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One parameter of a step that reads another step or an input."""

    parameter: str
    source: str
    wraps_text: bool
    """Whether a plain `str` that comes along must be wrapped as `Text`."""


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step, ready to be called."""

    name: str
    function: Callable[..., Any]
    edges: tuple[Edge, ...]
    resources: Mapping[str, type]
    """Parameters that take a resource, with the declared type it is matched by."""
    positional: tuple[str, ...]
    """Parameters that cannot be given by keyword, in order."""
    returns: Any
    is_async: bool
    is_output: bool

    @property
    def sources(self) -> frozenset[str]:
        """The steps and inputs it reads."""
        return frozenset(edge.source for edge in self.edges)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked graph."""

    graph: str
    inputs: Mapping[str, Any]
    resources: tuple[type, ...]
    steps: Mapping[str, PlannedStep]
    """In an order in which they could run one by one."""

    def needed(self, given: Mapping[str, Any]) -> frozenset[str]:
        """The steps to run and the inputs to have when some steps' values are given.

        All others are read by nobody that runs.
        """
        read = {source for step in self.steps.values() for source in step.sources}
        reached: set[str] = set()
        ahead = [name for name, step in self.steps.items() if step.is_output or name not in read]
        while ahead:
            name = ahead.pop()
            if name in reached or name in given:
                continue
            reached.add(name)
            if name in self.steps:
                ahead.extend(self.steps[name].sources)
        return frozenset(reached)

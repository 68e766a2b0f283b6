"""Who wants to know what a run does, and how long, as intervals in each other."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from omni_agent.core import Generation, Request
from omni_agent.graph.context import Path

__all__ = ["Tracer"]


@runtime_checkable
class Tracer(Protocol):
    """Each method is a context: entered when something begins, left when it ends, with what it raised.

    A step is entered in the context (of `contextvars`) of what holds it, and its function and its requests
    are called in the step's. `omni_agent.reach.opentelemetry` has one.
    """

    def run(self, *, graph: str, run_id: str) -> AbstractContextManager[None]:
        """A run of a graph."""

    def step(self, *, step: str, path: Path) -> AbstractContextManager[None]:
        """A step, an item of a map, a loop, or a graph inside, with all of its attempts."""

    def request(self, request: Request, generation: Generation) -> AbstractContextManager[None]:
        """What a step's function asked of a core."""

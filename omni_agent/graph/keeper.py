"""What a run tells to whoever remembers it, and asks of them: the seam for durable runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from omni_agent.core import Begin, Generation, Request
from omni_agent.graph.context import Path, StepContext

__all__ = ["Keeper", "Kept"]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a step's function came to; of a step that yields, all its chunks."""

    value: Any
    confidence: float | None
    """The lowest of its core calls; None where there were none."""


class Keeper(Protocol):
    """Remembers one run. Values are known by their paths, as each path is worked out once.

    What a method raises fails the run.
    """

    async def begin(self) -> Mapping[Path, Any]:
        """The run begins; gives the late inputs that arrived in an earlier attempt at it."""

    async def stored(self, path: Path) -> Kept | None:
        """What a step came to earlier: asked before its function is called for the first time."""

    async def keep(self, path: Path, kept: Kept) -> None:
        """A step's function returned, and its value was found right; nobody has seen it yet."""

    async def receive(self, path: Path, value: Any) -> None:
        """A late input arrived; its sender goes on when this returns."""

    def ask(self, context: StepContext, request: Request, begin: Begin) -> Generation:
        """A step's function asks a core for something: begin it, or answer otherwise."""

    async def end(self, *, outputs: Mapping[str, Any] | None, error: BaseException | None) -> None:
        """The run ended: with its outputs, with an error, or, with neither, before it was done."""

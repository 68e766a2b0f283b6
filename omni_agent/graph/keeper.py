"""What a run tells to whoever remembers it, and asks of them: the seam for durable runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from omni_agent.core import Begin, Core, Generation, Request
from omni_agent.graph.context import Path, StepContext

__all__ = ["Begun", "Keeper", "Kept", "Memory"]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a step's function came to; of a step that yields, all its chunks."""

    value: Any
    confidence: float | None
    """The lowest of its core calls; None where there were none."""
    attempt: int = 1
    """Which call of the function it was, from 1."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What is remembered of a run when it begins, or goes on."""

    late: Mapping[Path, Any]
    """The late inputs that arrived before, also of a run that finished."""
    outputs: Mapping[str, Any] | None = None
    """The outputs by step, where the run finished before; those that were skipped are not in it."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered of a step before its function is called."""

    kept: Kept | None = None
    """What it came to, if it did."""
    chunks: Sequence[Any] = ()
    """What it yielded, where it did not come to its end."""


class Keeper(Protocol):
    """Remembers one run. Values are known by their paths, as each path is worked out once.

    What a method raises fails the run. Values come with the type they are declared as.
    """

    async def begin(self, lost: Callable[[Exception], None]) -> Begun:
        """The run begins. Should the keeper lose the run, it says so by `lost`, and the run is to end."""

    async def remembered(self, path: Path, hint: Any, chunk: Any | None) -> Memory:
        """What is known of a step: asked before its function is called for the first time.

        Args:
            path: where it stands.
            hint: the type of its value.
            chunk: of one that yields, the type of its chunks.
        """

    async def keep(self, path: Path, kept: Kept, hint: Any) -> None:
        """A step's function returned, and its value was found right; nobody has seen it yet."""

    def has_left_out(self, path: Path) -> bool:
        """Whether an item failed earlier, and is left out of its list."""

    async def leave_out(self, path: Path) -> None:
        """An item failed, and is left out of its list."""

    async def keep_chunk(self, path: Path, number: int, chunk: Any, hint: Any) -> None:
        """A step yielded a chunk; nobody has seen it yet. It need not be stored when this returns, but before
        anything that comes after it."""

    async def drop_chunks(self, path: Path) -> None:
        """A step that yields begins again, and nobody has seen its chunks."""

    async def receive(self, path: Path, value: Any) -> None:
        """A late input arrived; its sender goes on when this returns."""

    def ask(self, context: StepContext, core: Core, request: Request, begin: Begin) -> Generation:
        """A step's function asks a core for something: begin it, or answer otherwise."""

    async def end(self, *, outputs: Mapping[str, Any] | None, error: BaseException | None) -> None:
        """The run ended: with its outputs, with an error, or, with neither, before it was done."""

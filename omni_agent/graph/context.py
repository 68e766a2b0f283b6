"""What a running step can reach from inside its function: `emit`, `cancelled` and its `StepContext`.

The first two do nothing outside of a run, so that a step's function can be called and tested alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from omni_agent.core import Begin, Core, Generation, Request

__all__ = ["Path", "StepContext", "UnderWay", "cancelled", "current", "emit"]

Path = tuple[str | int, ...]
"""Where in a run something happens: steps, indices of maps and rounds of loops, the outermost first."""


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """Where a step stands in its run. A parameter of this type is given it, as a resource is."""

    step: str
    path: Path
    attempt: int
    """Counts the calls of the function for this path, from 1."""
    run_id: str

    @property
    def key(self) -> str:
        """Names this step of this run, whatever the attempt: the idempotency key of its side effects."""
        return "/".join((self.run_id, *map(str, self.path)))


class UnderWay:
    """One call of a step's function: what it has asked of cores, and whether it should stop.

    Args:
        emit: tells the run's reader something.
        ask: begins a request in the step's name.
        watch: looks at a request until it is done.
    """

    __slots__ = ("_ask", "_watch", "_watching", "cancelled", "emit", "generations", "is_open")

    def __init__(
        self,
        emit: Callable[[Any], None],
        ask: Callable[[Core, Request, Begin], Generation] | None = None,
        watch: Callable[[Request, Generation], Awaitable[None]] | None = None,
    ) -> None:
        self.emit = emit
        self.cancelled = False
        self.is_open = True
        self.generations: list[Generation] = []
        self._ask = ask
        self._watch = watch
        self._watching: list[asyncio.Future[None]] = []

    def asked(self, core: Core, request: Request, begin: Begin) -> Generation:
        """Begin a request, and remember it. Fits `omni_agent.core.caller`."""
        if not self.is_open:  # a task that the step left behind
            return begin(request)
        generation = begin(request) if self._ask is None else self._ask(core, request, begin)
        self.generations.append(generation)
        if self._watch is not None:
            self._watching.append(asyncio.ensure_future(self._watch(request, generation)))
        return generation

    @property
    def confidence(self) -> float | None:
        """The lowest confidence of the requests that are done; None where no request told one."""
        told = [each.confidence for each in self.generations]
        return min((each for each in told if each is not None), default=None)

    async def close(self) -> None:
        """End it: requests that still go on are cancelled, nothing more is told."""
        self.is_open = False
        for generation in self.generations:
            generation.cancel()
        if self._watching:
            await asyncio.wait(self._watching)


current: ContextVar[UnderWay | None] = ContextVar("omni_agent.graph.current", default=None)


def emit(data: Any) -> None:
    """Tell the run's reader something, as a `Custom` event of the running step."""
    under_way = current.get()
    if under_way is not None:
        under_way.emit(data)


def cancelled() -> bool:
    """Whether the run wants the running step to stop.

    For long sync steps: a thread cannot be stopped from outside, and the run waits for it.
    """
    under_way = current.get()
    return under_way is not None and under_way.cancelled

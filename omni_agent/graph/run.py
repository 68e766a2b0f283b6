"""One run of a graph, as its user holds it: events, the result, and leaving it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from omni_agent.graph.events import Event
from omni_agent.graph.execution import Execution
from omni_agent.graph.result import Result

__all__ = ["Run"]


class Run:
    """One execution of a graph, made by `Graph.start`. Enter it once.

    Iterate it for its events, from the first to the terminal one; iteration never raises, and a second loop
    goes on where the first stopped. `result` waits for the outputs and raises what the run failed with.
    Leaving its ``async with`` cancels the steps that still run, with their requests at the core, and waits
    for them.
    """

    def __init__(self, execution: Execution, names: Callable[[Callable[..., Any]], tuple[str, ...]]) -> None:
        self._execution = execution
        self._names = names
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a run can be entered once: call Graph.start again for another")
        self._task = asyncio.create_task(self._execution.carry_out(), name=f"run of {self._execution.graph}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        cut: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError as cancelled:
                cut = cancelled  # steps are never abandoned: they come first
        # a task cancelled before its first line says nothing itself
        self._execution.conclude()
        if cut is not None:
            raise cut

    async def result(self) -> Result:
        """Wait for the outputs.

        Raises:
            StepError: a step failed; steps that failed at the same time are in its `others`.
            RunTimedOut: the run took longer than its options allow.
            asyncio.CancelledError: the run was left before it was done.
        """
        await asyncio.wait({self._check_begun()})
        if self._execution.error is not None:
            raise self._execution.error
        if self._execution.outputs is None:
            raise asyncio.CancelledError("the run was left before it was done")
        return Result(self._execution.graph, self._execution.outputs, self._names)

    async def send(self, path: str | tuple[str | int, ...], value: Any) -> None:
        """Give a late input to the run. It is stored, if the run is, when this returns.

        The same value may be sent again, to the run itself or to one that goes on with it, and changes
        nothing. A value that no step comes to need is stored, and not read.

        Args:
            path: its name; inside of other graphs, the path that `InputAwaited` tells, as a tuple or joined
                by "/": ``"game/2/guess"``. It may be sent before anything waits for it.
            value: of the declared type.

        Raises:
            InputError: there is no such late input, it is of another type, another value was sent before, or
                it is new and the run is over.
            StoreError: the run ended as its store did not let it go on: another process holds it, say.
        """
        self._check_begun()
        await self._execution.send(path, value)

    @property
    def states(self) -> Mapping[tuple[str, ...], str]:
        """How far each step has come: ``running``, ``finished``, ``failed``, ``skipped``, ``cancelled``; of a
        late input ``awaited``. By its path without indices and rounds; steps that wait are not among them.
        """
        return self._execution.log.progress.states

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events, each to one reader: two that wait at the same time are an error.

        Raises:
            RuntimeError: the run was not entered, and would tell none; or another reader waits for the next.
        """
        self._check_begun()
        return self

    async def __anext__(self) -> Event:
        self._check_begun()
        event = await self._execution.log.next()
        if event is None:
            raise StopAsyncIteration
        return event

    def _check_begun(self) -> asyncio.Task[None]:
        if self._task is None:
            raise RuntimeError("the run has not begun: enter it with `async with`")
        return self._task

"""Tasks that end together: the first failure cancels the others, and all that failed is one error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, Self

from omni_agent.errors import StepError

__all__ = ["Siblings"]


class Siblings:
    """A task group whose tasks end with `failed` instead of raising.

    Raising would make the group cancel the task that waits for it, too, and in Python 3.11 that task could
    not tell it from being cancelled from outside.

    Args:
        parent: the siblings of the task that enters this. What fails here while all of it is being
            cancelled is told there.
    """

    def __init__(self, parent: Siblings | None = None) -> None:
        self._parent = parent
        self._group = asyncio.TaskGroup()
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order they started
        self.failures: list[StepError] = []
        self.aftermath: list[StepError] = []
        """Steps that failed while they were being cancelled."""
        self._waiting: asyncio.Task[Any] | None = None
        """The task that waits for these."""

    async def __aenter__(self) -> Self:
        self._waiting = asyncio.current_task()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all tasks.

        Raises:
            StepError: the first failure; the others are in its `others`.
            asyncio.CancelledError: the waiting task was cancelled, and nothing had failed before.
        """
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            if self.failures:
                first, *others = self.failures
                first.others = (*first.others, *others, *self.aftermath)
                raise first
            if self._parent is not None:
                self._parent.aftermath.extend(self.aftermath)

    def start(self, work: Coroutine[Any, Any, None], *, name: str, context: Context) -> asyncio.Task[None]:
        """Run a coroutine as one of these tasks."""
        task = self._group.create_task(work, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    def failed(self, error: StepError) -> None:
        """The current task failed: the others are cancelled. It is to return after this."""
        current = asyncio.current_task()
        if current is not None and current.cancelling() and self.are_ending:
            self.aftermath.append(error)
            return
        self.failures.append(error)
        if len(self.failures) == 1:
            # not at once: what fails in the same moment has failed too, and was not cancelled
            asyncio.get_running_loop().call_soon(self._cancel)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    @property
    def are_ending(self) -> bool:
        """Whether all of them are being cancelled, or will be: one failed, or who waits for them is.

        A task of them that cancelled itself does not count.
        """
        return bool(self.failures) or (self._waiting is not None and self._waiting.cancelling() > 0)

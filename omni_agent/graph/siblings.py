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
    """A task group whose tasks fail with `StepError`, and which then fails with the first of these.

    Args:
        parent: the siblings of the task that enters this. What fails here while all of it is being
            cancelled is told there.
    """

    def __init__(self, parent: Siblings | None = None) -> None:
        self._parent = parent
        self._group = asyncio.TaskGroup()
        self.failures: list[StepError] = []
        self.aftermath: list[StepError] = []
        """Steps that failed while they were being cancelled."""

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup:
            if self.failures:
                first, *others = self.failures
                first.others = (*first.others, *others, *self.aftermath)
                raise first from first.__cause__
            if not self.aftermath:
                raise
            # cancelled, and untidy about it: cancellation is what those outside have to see
            if self._parent is not None:
                self._parent.aftermath.extend(self.aftermath)
            raise asyncio.CancelledError from None

    def start(self, work: Coroutine[Any, Any, None], *, name: str, context: Context) -> asyncio.Task[None]:
        """Run a coroutine as one of these tasks."""
        return self._group.create_task(work, name=name, context=context)

    def failed(self, error: StepError) -> None:
        """Note what the current task is about to raise."""
        (self.aftermath if _is_cancelled() else self.failures).append(error)

    @property
    def are_ending(self) -> bool:
        """Whether no task may be started any more, seen from one of them."""
        return bool(self.failures) or _is_cancelled()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

"""Calling a sync step in a worker thread that is never abandoned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any

from omni_agent.graph.context import UnderWay

__all__ = ["call_in_thread"]

PATIENCE = 5.0
"""Seconds after which a cancelled step that goes on is mentioned in the log."""

log = logging.getLogger("omni_agent.graph")


async def call_in_thread(call: Callable[[], Any], *, name: str, step: UnderWay, threads: Executor) -> Any:
    """Call in a thread, with the context variables of the caller.

    Cancelled, it sets ``step.cancelled``, waits until the call has returned, drops what it returned or
    raised, and only then raises `asyncio.CancelledError`.
    """

    def caught() -> tuple[Any, BaseException | None]:
        # a future cannot carry StopIteration, so no exception travels in one
        try:
            return call(), None
        except BaseException as error:
            return None, error

    future = asyncio.get_running_loop().run_in_executor(threads, copy_context().run, caught)
    try:
        value, error = await asyncio.shield(future)
    except asyncio.CancelledError:
        step.cancelled = True
        await _outlast(future, name)
        raise
    if error is not None:
        raise error
    return value


async def _outlast(future: asyncio.Future[Any], name: str) -> None:
    patience: float | None = PATIENCE
    while not future.done():
        try:
            await asyncio.wait({future}, timeout=patience)
        except asyncio.CancelledError:
            continue  # the caller raises it, once the thread is done
        if not future.done() and patience is not None:
            log.warning(
                "step %r was cancelled %.0f s ago and still runs in its thread; the run waits for it."
                " Let long sync steps return when omni_agent.cancelled() is true.",
                name,
                PATIENCE,
            )
            patience = None

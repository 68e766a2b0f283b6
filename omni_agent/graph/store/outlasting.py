"""Waiting for what must not be cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["outlasting"]

T = TypeVar("T")


async def outlasting(work: Awaitable[T]) -> T:
    """Wait for `work` to its end, and raise what cut the waiting only after it."""
    task = asyncio.ensure_future(work)
    cut: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cut = error
    if cut is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # the cut goes before what the work failed with
    raise cut

"""Waiting for what must not be cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["outlasting"]


async def outlasting(work: Coroutine[Any, Any, None]) -> None:
    """Wait for `work`, and raise what cut the waiting only after it."""
    task = asyncio.ensure_future(work)
    cut: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if not task.done():
                cut = error
        except Exception:
            break  # its own: raised below
    if cut is not None:
        if not task.cancelled():
            task.exception()
        raise cut
    task.result()

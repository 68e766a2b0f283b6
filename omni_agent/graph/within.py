"""A time for something, and an error that says how long it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["within"]


@asynccontextmanager
async def within(seconds: float | None) -> AsyncIterator[None]:
    """Cancel what is inside after so many seconds; None is as long as it takes.

    Raises:
        TimeoutError: it took longer.
    """
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            yield
    except TimeoutError:
        if deadline.expired():
            raise TimeoutError(f"it took longer than its {seconds:g} s") from None
        raise

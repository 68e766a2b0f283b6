"""Reading back what is said: a recogniser, which hears one sound at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from omni_agent.values import Speech

__all__ = ["Recogniser", "one_at_a_time"]

Recogniser: TypeAlias = Callable[[NDArray[np.float32], int], str]
"""Writes down a sound: mono samples within [-1, 1], and how many there are a second. It is called in a
thread, for one sound at a time."""


def one_at_a_time(recogniser: Recogniser) -> Callable[[Speech | None], Awaitable[str]]:
    """What a recogniser hears in a sound, nothing where there is none. It need not be thread-safe."""
    reading = asyncio.Lock()

    async def heard(sound: Speech | None) -> str:
        if sound is None:
            return ""
        async with reading:
            return await asyncio.to_thread(recogniser, sound.samples, sound.rate)

    return heard

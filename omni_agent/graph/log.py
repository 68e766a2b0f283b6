"""The events of one run on their way to its reader."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from omni_agent.graph.events import CanvasChanged, Event
from omni_agent.graph.progress import Progress

__all__ = ["EventLog"]


class EventLog:
    """Numbers events and keeps them until they are read.

    Of a canvas, only the newest change waits: a reader that is slower than the core never makes the log
    grow with the core's steps. Every other event waits as long as it takes. Used from the event loop only.

    Args:
        kept: whether anybody can read; a log that nobody reads keeps no values alive.
    """

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._sequence = 0
        self.progress = Progress()
        self._waiting: OrderedDict[Hashable, Event] = OrderedDict()
        self._news = asyncio.Event()
        self._is_read = False
        self.is_closed = False

    def add(self, kind: type[Event], path: tuple[str | int, ...] = (), **fields: Any) -> None:
        """Number an event and put it behind the others."""
        sequence = self._sequence
        self._sequence += 1
        if not self._kept:
            return
        event = kind(sequence=sequence, path=path, **fields)
        self.progress.see(event)
        key: Hashable = sequence
        if isinstance(event, CanvasChanged):
            key = (path, event.change.request)
            self._waiting.pop(key, None)
        self._waiting[key] = event
        self._news.set()

    def close(self) -> None:
        """Let the reader stop after what is waiting."""
        self.is_closed = True
        self._news.set()

    async def next(self) -> Event | None:
        """The oldest event that waits, once there is one; None after the last.

        Raises:
            RuntimeError: somebody else waits for the next one.
        """
        if self._is_read:
            raise RuntimeError(
                "another reader waits for this run's events, and each is told once: let one reader hand them"
                " on, or read one after the other"
            )
        self._is_read = True
        try:
            while not self._waiting:
                if self.is_closed:
                    return None
                self._news.clear()
                await self._news.wait()
        finally:
            self._is_read = False
        return self._waiting.popitem(last=False)[1]

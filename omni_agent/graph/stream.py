"""The chunks of a step that yields, as its followers read them while they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, TypeVar

from omni_agent.graph.names import counted

__all__ = ["Stream", "StreamLog"]

T = TypeVar("T")


class Stream(Generic[T]):
    """Chunks to iterate, from the first on, while they come; again as often as wanted.

    A step's parameter of this type reads a step that yields. To call such a function alone, give it
    ``Stream([chunk, ...])``, which has come to its end.
    """

    def __init__(self, chunks: Iterable[T] = ()) -> None:
        self._log = StreamLog(chunks)
        self._log.end()

    async def __aiter__(self) -> AsyncIterator[T]:
        """The chunks so far and then the others.

        Raises:
            asyncio.CancelledError: the step that yields was stopped before its end.
        """
        log = self._log
        place = 0
        while True:
            if place < len(log.chunks):
                log.was_read = True
                chunk: T = log.chunks[place]
                place += 1
                yield chunk
            elif log.has_ended:
                return
            else:
                await log.news()

    async def collect(self) -> list[T]:
        """All chunks, once the last has come."""
        return [chunk async for chunk in self]

    def __repr__(self) -> str:
        so_far = "" if self._log.has_ended else " so far"
        return f"<Stream of {counted(len(self._log.chunks), 'chunk')}{so_far}>"


class StreamLog:
    """The side of a stream that is written."""

    def __init__(self, chunks: Iterable[Any] = ()) -> None:
        self.chunks: list[Any] = list(chunks)
        self.has_ended = False
        self.was_read = False
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, chunk: Any) -> None:
        """Put a chunk behind the others."""
        self.chunks.append(chunk)
        self._wake()

    def end(self) -> None:
        """Let readers stop after the last chunk."""
        self.has_ended = True
        self._wake()

    async def news(self) -> None:
        """Wait for the next chunk or the end."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def reader(self) -> Stream[Any]:
        """The side that is read."""
        stream: Stream[Any] = Stream.__new__(Stream)
        stream._log = self
        return stream

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

"""Speech that is still being made: its sound is there before its last word is decided."""

from __future__ import annotations

import asyncio
import io
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni_agent.errors import InputError
from omni_agent.values.speech import Speech

__all__ = ["GrowingSpeech", "SpeechChunk"]

# What a WAV says of its length while that is not known: as much as it can say.
UNKNOWN = 0xFFFFFFFF
HEADER = 44


@dataclass(frozen=True, kw_only=True)
class SpeechChunk:
    """A piece of a growing speech. Laid end to end in their order, its chunks are the whole sound.

    Args:
        speech: the sound of the piece, at least one sample.
        start: which sample of the whole it begins with.
        last: whether nothing comes after it.
    """

    speech: Speech
    start: int
    last: bool

    @property
    def samples(self) -> NDArray[np.float32]:
        """Its samples, (n,) float32 within [-1, 1], read-only."""
        return self.speech.samples

    @property
    def rate(self) -> int:
        """Samples a second, the same for all chunks of a speech."""
        return self.speech.rate


class GrowingSpeech(ABC):
    """Speech while it is made: iterate it for its chunks, await it for the whole.

    Any number of readers may iterate it, each from its first chunk on and as slowly as it likes: chunks are
    kept, and no reader holds up who makes them. Iterating and awaiting raise what the speech failed with, and
    `asyncio.CancelledError` where it was cancelled: sound that ends early is never mistaken for all of it.
    """

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        """Its chunks from the first one on, each as soon as it is there."""

    @abstractmethod
    def __await__(self) -> Generator[Any, None, Speech]:
        """Wait for the whole: its chunks as one `Speech`, with the core's tokens."""

    @property
    @abstractmethod
    def chunks(self) -> tuple[SpeechChunk, ...]:
        """Those that there are by now."""

    @property
    def samples(self) -> NDArray[np.float32]:
        """The sound that there is by now, (n,) float32 within [-1, 1]; all of it in the end."""
        return np.concatenate([np.zeros(0, np.float32), *(chunk.samples for chunk in self.chunks)])

    async def write(self, file: BinaryIO) -> Speech:
        """Write it as WAV with 16 bits while it grows, chunk by chunk, and return the whole.

        A file that can seek is told its length in the end, however that comes about; a pipe is told that it
        is not known, which players take for "until it ends".

        Args:
            file: open for writing bytes; written to in a thread, as a pipe may have to wait for its reader.

        Raises:
            InputError: it is not open for writing bytes.
        """
        if not hasattr(file, "seekable") or isinstance(file, io.TextIOBase):
            raise InputError(f"write was given {file!r}; wanted a file open for bytes: open(path, 'wb')")
        start = file.tell() if file.seekable() else None
        size = rate = 0
        try:
            async for chunk in self:
                head = b"" if size else _header(chunk.rate, UNKNOWN)
                rate = chunk.rate
                data = _data(chunk)
                await asyncio.to_thread(file.write, head + data)
                await asyncio.to_thread(file.flush)
                size += len(data)
        finally:
            if start is not None and size:
                file.seek(start)
                file.write(_header(rate, size))
                file.seek(0, 2)
        return await self

    def _repr_html_(self) -> str:
        """The sound that there is by now, to be played in a notebook."""
        chunks = self.chunks
        return Speech(self.samples, chunks[0].rate)._repr_html_() if chunks else "no sound yet"


def _data(chunk: SpeechChunk) -> bytes:
    """Its samples with 16 bits, as `Speech.save` rounds them."""
    data = io.BytesIO()
    soundfile.write(data, chunk.samples, chunk.rate, format="RAW", subtype="PCM_16", endian="LITTLE")
    return data.getvalue()


def _header(rate: int, size: int) -> bytes:
    """Of a WAV with one channel of 16 bits and `size` bytes of them."""
    whole = UNKNOWN if size == UNKNOWN else size + HEADER - 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", size)

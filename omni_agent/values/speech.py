"""Spoken words, and any other sound with one channel."""

from __future__ import annotations

import io
import os
from html import escape
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from omni_agent.errors import InputError
from omni_agent.values.data_uri import DataURI
from omni_agent.values.files import check_file, read_file, write_file
from omni_agent.values.media import Media
from omni_agent.values.tokens import Tokens

__all__ = ["Speech", "sound_seconds"]

MOST_SECONDS = 300
LEAST_RATE = 1_000
MOST_RATE = 192_000
MOST_CHANNELS = 8
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
MEDIA_TYPES = {
    "WAV": "audio/wav",
    "WAVEX": "audio/wav",
    "FLAC": "audio/flac",
    "OGG": "audio/ogg",
    "MP3": "audio/mpeg",
}
BLOCK = 1 << 16


class Speech(Media):
    """Sound with one channel: samples with their rate, a core's tokens, or both.

    Immutable, and equal to another where the representation it was made from is equal.

    Args:
        samples: (n,) floating-point, each within [-1, 1]; kept as float32.
        rate: samples a second.
        tokens: the tokens these samples were decoded from, if they were.

    Raises:
        InputError: not one channel of floating-point samples within [-1, 1], none at all, more than 300
            seconds, or a rate outside 1,000 to 192,000.
    """

    __slots__ = ("_rate",)

    TYPE, NAME, ELEMENTS, MOST_BYTES = "audio", "sound", "samples", 256 * 2**20

    _rate: int

    def __init__(
        self, samples: NDArray[np.floating[Any]], rate: int, *, tokens: Tokens | None = None
    ) -> None:
        self._set(_checked(samples, rate), None, tokens)
        self._rate = int(rate)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Speech:
        """Read sound from any file libsndfile reads (WAV, FLAC, Ogg, MP3, ...). URLs are never followed.

        Several channels are averaged to one.

        Raises:
            InputError: no such file, not sound, damaged, above 256 MiB, no samples, or more than 300 seconds
                (known from the header, before anything is decoded).
        """
        return cls._from_encoded(read_file(path, what="sound file", most_bytes=cls.MOST_BYTES), str(path))

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Speech:
        """Read sound from the bytes of a file; the rest as `open`."""
        return cls._from_encoded(bytes(encoded), "the sound")

    @property
    def samples(self) -> NDArray[np.float32]:
        """The samples, (n,) float32 within [-1, 1], read-only.

        Raises:
            NotDecoded: the speech holds only tokens.
        """
        return self._elements()

    @property
    def rate(self) -> int:
        """Samples a second. Raises `NotDecoded` where the speech holds only tokens."""
        _ = self.samples
        return self._rate

    @property
    def seconds(self) -> float:
        """How long it lasts. Raises `NotDecoded` where the speech holds only tokens."""
        return len(self.samples) / self._rate

    def resampled(self, rate: int) -> Speech:
        """The same sound at another rate (soxr, high quality); itself where the rate is this one already.

        Raises:
            NotDecoded: the speech holds only tokens.
            InputError: the rate is outside 1,000 to 192,000.
        """
        samples = self.samples
        _check_rate(rate, "the rate")
        if rate == self._rate:
            return self
        # a filter rings past full scale by a little where the sound was at it
        resampled = np.clip(soxr.resample(samples, self._rate, rate, quality="HQ"), -1, 1)
        # soxr rounds the number of samples down, to none for a very short sound
        return Speech(resampled if len(resampled) else samples[:1], rate)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sound in the format its name ends with (.wav with 16 bits, .flac, .ogg or .mp3).

        Raises:
            NotDecoded: the speech holds only tokens.
            InputError: the name ends otherwise, the format does not take the rate, or the file cannot be
                written.
        """
        kind = FORMATS.get(Path(path).suffix.lower())
        if kind is None:
            raise InputError(f"{str(path)!r}: a sound's name must end in {', '.join(FORMATS)}")
        try:
            encoded = _encode(self.samples, self._rate, kind)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise InputError(
                f"{str(path)!r}: {kind} cannot hold {self._rate} samples a second ({error}):"
                " resample it, or save it as .wav"
            ) from error
        write_file(path, encoded)

    def _repr_html_(self) -> str:
        if not self.is_decoded:
            return escape(repr(self))
        wav = DataURI(media_type="audio/wav", data=_encode(self.samples, self._rate, "WAV"))
        return f'<audio controls src="{wav}"></audio>'

    @classmethod
    def _from_encoded(cls, encoded: bytes, name: str) -> Self:
        speech = cls.__new__(cls)
        samples, speech._rate = _decode(encoded, name)
        speech._set(samples, encoded, None)
        return speech

    def _losslessly_encoded(self) -> bytes:
        subtype = "PCM_16" if _fits_16_bits(self.samples) else "FLOAT"
        return _encode(self.samples, self._rate, "WAV", subtype)

    @staticmethod
    def _media_type(encoded: bytes) -> str:
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            return MEDIA_TYPES.get(file.format, f"audio/x-{file.format.lower()}")

    def _shape(self) -> str:
        return f"{self._rate}:"

    def _size(self) -> str:
        return f"{self.seconds:.2f} s at {self._rate} Hz"


def sound_seconds(path: str | os.PathLike[str]) -> float:
    """How long a sound's file lasts, by its header alone.

    Raises:
        InputError: as `Speech.open`, but for damage behind the header.
    """
    file = check_file(path, what="sound file", most_bytes=Speech.MOST_BYTES)
    with _opened(file, str(path)) as sound:
        return int(sound.frames) / int(sound.samplerate)


def _check_rate(rate: object, name: str) -> None:
    if (
        not isinstance(rate, int | np.integer)
        or isinstance(rate, bool)
        or not LEAST_RATE <= rate <= MOST_RATE
    ):
        raise InputError(
            f"{name}: {rate!r} samples a second; wanted an integer from {LEAST_RATE:,} to {MOST_RATE:,}"
        )


def _check_length(count: int, rate: int, name: str) -> None:
    if count < 1:
        raise InputError(f"{name}: no samples; wanted at least one")
    if count > MOST_SECONDS * rate:
        raise InputError(
            f"{name}: {count / rate:.1f} seconds of sound; the limit is {MOST_SECONDS} seconds: cut it first"
        )


def _checked(samples: NDArray[Any], rate: int) -> NDArray[np.float32]:
    if not isinstance(samples, np.ndarray):
        raise InputError(
            f"Speech was made from {type(samples).__name__}; wanted an array (n,) of float32."
            " Speech.open reads a file, Speech.from_bytes its bytes"
        )
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise InputError(
            f"the samples are {samples.shape} of {samples.dtype}; wanted (n,) of float32 within [-1, 1]:"
            " average the channels, divide 16-bit integers by 32768"
        )
    _check_rate(rate, "the rate")
    _check_length(len(samples), int(rate), "the samples")
    kept = np.array(samples, dtype=np.float32, order="C")
    if not np.isfinite(kept).all():
        raise InputError("the samples hold infinities or not-a-numbers; wanted finite numbers within [-1, 1]")
    peak = float(np.abs(kept).max())
    if peak > 1:
        raise InputError(f"the samples reach {peak:g}; wanted them within [-1, 1]: scale or clip them")
    return kept


def _decode(encoded: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    if len(encoded) > Speech.MOST_BYTES:
        raise InputError(f"{name}: {len(encoded):,} bytes; the limit is {Speech.MOST_BYTES:,} bytes")
    if not encoded:
        raise InputError(f"{name}: empty (0 bytes); wanted an encoded sound")
    with _opened(_Encoded(encoded), name) as file:
        rate = int(file.samplerate)
        blocks: list[NDArray[np.float32]] = []
        count = 0
        try:
            # by blocks, since a header may promise less than the file holds, and many channels need room
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1) if file.channels > 1 else block[:, 0])
                count += len(block)
                _check_length(count, rate, name)
        except soundfile.LibsndfileError as error:
            raise InputError(f"{name}: the sound is damaged ({error})") from error
    _check_length(count, rate, name)
    samples = np.concatenate(blocks)
    if not np.isfinite(samples).all():
        raise InputError(f"{name}: the sound holds infinities or not-a-numbers; wanted finite samples")
    # lossy codecs overshoot full scale
    return np.clip(samples, -1, 1), rate


def _opened(source: Path | _Encoded, name: str) -> soundfile.SoundFile:
    """A sound's file whose header is as wanted."""
    try:
        file = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise InputError(f"{name}: not a sound file; wanted WAV, FLAC, Ogg or MP3") from error
    try:
        _check_rate(int(file.samplerate), name)
        if file.channels > MOST_CHANNELS:
            raise InputError(f"{name}: {file.channels} channels; the limit is {MOST_CHANNELS}")
        _check_length(int(file.frames), int(file.samplerate), name)
    except InputError:
        file.close()
        raise
    return file


class _Encoded(io.BytesIO):
    """Bytes in which libsndfile may seek as damaged headers tell it to, without tracebacks on the console."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _encode(samples: NDArray[np.float32], rate: int, kind: str, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def _fits_16_bits(samples: NDArray[np.float32]) -> bool:
    scaled = samples * np.float32(32768)
    return bool(
        (scaled == np.rint(scaled)).all()
        and scaled.max() <= 32767
        and not np.signbit(samples[samples == 0]).any()
    )

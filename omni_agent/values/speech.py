"""Spoken words, and any other sound with one channel."""

from __future__ import annotations

import hashlib
import io
import os
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from omni_agent.errors import InputError, NotDecoded
from omni_agent.values.data_uri import (
    DataURI,
    tokens_document,
    tokens_from_document,
    tokens_from_parameter,
    tokens_parameter,
)
from omni_agent.values.files import read_file, write_file
from omni_agent.values.tokens import Tokens

__all__ = ["Speech"]

MOST_SECONDS = 300
MOST_BYTES = 256 * 2**20
LEAST_RATE = 1_000
MOST_RATE = 192_000
MOST_CHANNELS = 8
TOKENS_TYPE = "application/vnd.omni-agent.speech-tokens+json"
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
MEDIA_TYPES = {
    "WAV": "audio/wav",
    "WAVEX": "audio/wav",
    "FLAC": "audio/flac",
    "OGG": "audio/ogg",
    "MP3": "audio/mpeg",
}
BLOCK = 1 << 16


class Speech:
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

    __slots__ = ("_encoded", "_rate", "_samples", "_tokens")

    _encoded: bytes | None
    _samples: NDArray[np.float32] | None
    _rate: int
    _tokens: Tokens | None

    def __init__(
        self, samples: NDArray[np.floating[Any]], rate: int, *, tokens: Tokens | None = None
    ) -> None:
        self._encoded = None
        self._tokens = tokens
        self._samples = _checked(samples, rate)
        self._samples.flags.writeable = False
        self._rate = int(rate)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Speech:
        """Read sound from any file libsndfile reads (WAV, FLAC, Ogg, MP3, ...). URLs are never followed.

        Several channels are averaged to one.

        Raises:
            InputError: no such file, not sound, damaged, above 256 MiB, no samples, or more than 300 seconds
                (known from the header, before anything is decoded).
        """
        return cls._from_encoded(read_file(path, what="sound file", most_bytes=MOST_BYTES), str(path))

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Speech:
        """Read sound from the bytes of a file; the rest as `open`."""
        return cls._from_encoded(bytes(encoded), "the sound")

    @classmethod
    def from_tokens(cls, tokens: Tokens) -> Speech:
        """Speech not decoded yet: `await core.decoded(speech)` gives it samples."""
        speech = cls.__new__(cls)
        speech._encoded = speech._samples = None
        speech._rate = 0
        speech._tokens = tokens
        return speech

    @classmethod
    def from_data_uri(cls, uri: str) -> Speech:
        """Read sound from a data URI, e.g. one `to_data_uri` wrote.

        Raises:
            InputError: not a data URI, or not of sound.
        """
        parts = DataURI.parse(uri, most_bytes=MOST_BYTES)
        if parts.media_type == TOKENS_TYPE:
            return cls.from_tokens(tokens_from_document(parts.data))
        if not parts.media_type.startswith("audio/"):
            raise InputError(f"the data URI's media type is {parts.media_type!r}; wanted sound (audio/...)")
        speech = cls.from_bytes(parts.data)
        if "tokens" in parts.parameters:
            speech._tokens = tokens_from_parameter(parts.parameters["tokens"])
        if parts.parameters.get("original") == "samples":
            speech._encoded = None
        return speech

    @classmethod
    def _from_encoded(cls, encoded: bytes, name: str) -> Speech:
        speech = cls.__new__(cls)
        speech._encoded = encoded
        speech._tokens = None
        speech._samples, speech._rate = _decode(encoded, name)
        speech._samples.flags.writeable = False
        return speech

    @property
    def samples(self) -> NDArray[np.float32]:
        """The samples, (n,) float32 within [-1, 1], read-only.

        Raises:
            NotDecoded: the speech holds only tokens.
        """
        if self._samples is None:
            raise NotDecoded(
                "this speech holds only a core's tokens, no samples:"
                " decode it with `await core.decoded(speech)`"
            )
        return self._samples

    @property
    def rate(self) -> int:
        """Samples a second. Raises `NotDecoded` where the speech holds only tokens."""
        _ = self.samples
        return self._rate

    @property
    def seconds(self) -> float:
        """How long it lasts. Raises `NotDecoded` where the speech holds only tokens."""
        return len(self.samples) / self._rate

    @property
    def tokens(self) -> Tokens | None:
        """The core's tokens, where the speech came from a core."""
        return self._tokens

    @property
    def is_decoded(self) -> bool:
        """Whether the speech has samples."""
        return self._samples is not None

    @property
    def content_hash(self) -> str:
        """SHA-256, in hexadecimal, of what the speech was made from: tokens, encoded bytes or samples."""
        if self._tokens is not None:
            return self._tokens.content_hash
        if self._encoded is not None:
            return hashlib.sha256(self._encoded).hexdigest()
        return hashlib.sha256(f"{self._rate}:".encode() + self.samples.tobytes()).hexdigest()

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

    def to_data_uri(self) -> str:
        """The sound as a data URI that `from_data_uri` reads back to equal speech."""
        if self._samples is None:
            assert self._tokens is not None
            return str(DataURI(media_type=TOKENS_TYPE, data=tokens_document(self._tokens)))
        parameters = {}
        if self._tokens is not None:
            parameters["tokens"] = tokens_parameter(self._tokens)
        if self._encoded is not None:
            return str(
                DataURI(media_type=_media_type(self._encoded), data=self._encoded, parameters=parameters)
            )
        parameters["original"] = "samples"
        subtype = "PCM_16" if _fits_16_bits(self._samples) else "FLOAT"
        encoded = _encode(self._samples, self._rate, "WAV", subtype)
        return str(DataURI(media_type="audio/wav", data=encoded, parameters=parameters))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Speech) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __copy__(self) -> Speech:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Speech:
        return self

    def __repr__(self) -> str:
        if self._samples is None:
            assert self._tokens is not None
            return f"<Speech of {len(self._tokens.ids)} tokens, not decoded>"
        return f"<Speech {self.seconds:.2f} s at {self._rate} Hz>"

    def _repr_html_(self) -> str:
        if self._samples is None:
            return escape(repr(self))
        wav = DataURI(media_type="audio/wav", data=_encode(self._samples, self._rate, "WAV"))
        return f'<audio controls src="{wav}"></audio>'

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from_uri = core_schema.no_info_after_validator_function(cls.from_data_uri, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=from_uri,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_uri]),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_data_uri, when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "format": "data-uri", "description": "Sound as a data URI."}


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
    if len(encoded) > MOST_BYTES:
        raise InputError(f"{name}: {len(encoded):,} bytes; the limit is {MOST_BYTES:,} bytes")
    if not encoded:
        raise InputError(f"{name}: empty (0 bytes); wanted an encoded sound")
    try:
        file = soundfile.SoundFile(_Encoded(encoded))
    except (soundfile.LibsndfileError, TypeError) as error:
        raise InputError(f"{name}: not a sound file; wanted WAV, FLAC, Ogg or MP3") from error
    with file:
        rate = int(file.samplerate)
        _check_rate(rate, name)
        if file.channels > MOST_CHANNELS:
            raise InputError(f"{name}: {file.channels} channels; the limit is {MOST_CHANNELS}")
        _check_length(int(file.frames), rate, name)
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


def _media_type(encoded: bytes) -> str:
    with soundfile.SoundFile(io.BytesIO(encoded)) as file:
        return MEDIA_TYPES.get(file.format, f"audio/x-{file.format.lower()}")

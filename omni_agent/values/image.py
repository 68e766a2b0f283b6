"""Pictures."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps
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

__all__ = ["Image"]

MOST_SIDE = 8192
MOST_PIXELS = 64_000_000
MOST_BYTES = 64 * 2**20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
TOKENS_TYPE = "application/vnd.omni-agent.image-tokens+json"
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}


class Image:
    """A picture: RGB pixels, a core's tokens, or both.

    Immutable, and equal to another where the representation it was made from is equal. Transparent pictures
    are laid on white, animated ones are their first frame, and a camera's orientation mark is applied.

    Args:
        source: an encoded picture (PNG, JPEG, WebP, GIF, BMP, TIFF or PPM), an array (H, W, 3) of uint8, or
            a Pillow image.
        tokens: the tokens these pixels were decoded from, if they were.

    Raises:
        InputError: not a picture, damaged, a side above 8192 pixels, above 64 million pixels, or above
            64 MiB encoded. Sizes are checked before anything is decompressed.
    """

    __slots__ = ("_encoded", "_pixels", "_tokens")

    _encoded: bytes | None
    _pixels: NDArray[np.uint8] | None
    _tokens: Tokens | None

    def __init__(
        self, source: bytes | NDArray[np.uint8] | PilImage.Image, *, tokens: Tokens | None = None
    ) -> None:
        self._encoded = None
        self._tokens = tokens
        if isinstance(source, bytes | bytearray | memoryview):
            self._encoded = bytes(source)
            self._pixels = _decode(self._encoded, "the picture")
        elif isinstance(source, PilImage.Image):
            _check_size(source.width, source.height, "the picture")
            self._pixels = _rgb(source, "the picture")
        elif isinstance(source, np.ndarray):
            self._pixels = _checked(source)
        else:
            raise InputError(
                f"an Image was made from {type(source).__name__}; wanted encoded bytes, an array (H, W, 3) of"
                " uint8 or a Pillow image. Image.open reads a file"
            )
        self._pixels.flags.writeable = False

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Image:
        """Read a picture from a file. URLs are never followed.

        Raises:
            InputError: there is no such file, or `Image` cannot be made of it.
        """
        encoded = read_file(path, what="picture", most_bytes=MOST_BYTES)
        image = cls._blank()
        image._encoded = encoded
        image._pixels = _decode(encoded, str(path))
        image._pixels.flags.writeable = False
        return image

    @classmethod
    def from_tokens(cls, tokens: Tokens) -> Image:
        """A picture not decoded yet: `await core.decoded(image)` gives it pixels."""
        image = cls._blank()
        image._tokens = tokens
        return image

    @classmethod
    def from_data_uri(cls, uri: str) -> Image:
        """Read a picture from a data URI, e.g. one `to_data_uri` wrote.

        Raises:
            InputError: not a data URI, or not of a picture.
        """
        parts = DataURI.parse(uri, most_bytes=MOST_BYTES)
        if parts.media_type == TOKENS_TYPE:
            return cls.from_tokens(tokens_from_document(parts.data))
        if not parts.media_type.startswith("image/"):
            raise InputError(
                f"the data URI's media type is {parts.media_type!r}; wanted a picture (image/...)"
            )
        image = cls(parts.data)
        if "tokens" in parts.parameters:
            image._tokens = tokens_from_parameter(parts.parameters["tokens"])
        if parts.parameters.get("original") == "pixels":
            image._encoded = None
        return image

    @classmethod
    def _blank(cls) -> Image:
        image = cls.__new__(cls)
        image._encoded = image._pixels = image._tokens = None
        return image

    @property
    def array(self) -> NDArray[np.uint8]:
        """The pixels, (H, W, 3) uint8, read-only.

        Raises:
            NotDecoded: the picture holds only tokens.
        """
        if self._pixels is None:
            raise NotDecoded(
                "this picture holds only a core's tokens, no pixels:"
                " decode it with `await core.decoded(image)`"
            )
        return self._pixels

    @property
    def pil(self) -> PilImage.Image:
        """The pixels as a new Pillow image.

        Raises:
            NotDecoded: the picture holds only tokens.
        """
        return PilImage.fromarray(self.array)

    @property
    def width(self) -> int:
        """Pixels from left to right. Raises `NotDecoded` where the picture holds only tokens."""
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom. Raises `NotDecoded` where the picture holds only tokens."""
        return int(self.array.shape[0])

    @property
    def tokens(self) -> Tokens | None:
        """The core's tokens, where the picture came from a core."""
        return self._tokens

    @property
    def is_decoded(self) -> bool:
        """Whether the picture has pixels."""
        return self._pixels is not None

    @property
    def content_hash(self) -> str:
        """SHA-256, in hexadecimal, of what the picture was made from: tokens, encoded bytes or pixels."""
        if self._tokens is not None:
            return self._tokens.content_hash
        if self._encoded is not None:
            return hashlib.sha256(self._encoded).hexdigest()
        return hashlib.sha256(f"{self.array.shape}".encode() + self.array.tobytes()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture in the format its name ends with (.png, .jpg, .webp, .gif or .bmp).

        Raises:
            NotDecoded: the picture holds only tokens.
            InputError: the name ends otherwise, or the file cannot be written.
        """
        kind = SUFFIXES.get(Path(path).suffix.lower())
        if kind is None:
            raise InputError(f"{str(path)!r}: a picture's name must end in {', '.join(SUFFIXES)}")
        write_file(path, _encode(self.array, kind))

    def to_data_uri(self) -> str:
        """The picture as a data URI that `from_data_uri` reads back to an equal picture."""
        if self._pixels is None:
            assert self._tokens is not None
            return str(DataURI(media_type=TOKENS_TYPE, data=tokens_document(self._tokens)))
        parameters = {}
        if self._tokens is not None:
            parameters["tokens"] = tokens_parameter(self._tokens)
        if self._encoded is not None:
            return str(
                DataURI(media_type=_media_type(self._encoded), data=self._encoded, parameters=parameters)
            )
        parameters["original"] = "pixels"
        return str(DataURI(media_type="image/png", data=_encode(self._pixels, "PNG"), parameters=parameters))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __copy__(self) -> Image:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Image:
        return self

    def __repr__(self) -> str:
        if self._pixels is None:
            assert self._tokens is not None
            return f"<Image of {len(self._tokens.ids)} tokens, not decoded>"
        return f"<Image {self.width}x{self.height}>"

    def _repr_png_(self) -> bytes | None:
        return None if self._pixels is None else _encode(self._pixels, "PNG")

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
        return {"type": "string", "format": "data-uri", "description": "A picture as a data URI."}


def _check_size(width: int, height: int, name: str) -> None:
    if width > MOST_SIDE or height > MOST_SIDE:
        raise InputError(
            f"{name}: {width:,}x{height:,} pixels; the limit is {MOST_SIDE:,} a side: make it smaller first"
        )
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{name}: {width * height:,} pixels; the limit is {MOST_PIXELS:,} in all: make it smaller first"
        )
    if width < 1 or height < 1:
        raise InputError(f"{name}: {width}x{height} pixels; wanted at least one")


def _checked(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InputError(
            f"the array is {array.shape} of {array.dtype}; wanted (H, W, 3) of uint8, colours from 0 to 255:"
            " scale floats by 255 and round, repeat a single channel three times"
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    return np.array(array, dtype=np.uint8, order="C")


def _decode(encoded: bytes, name: str) -> NDArray[np.uint8]:
    if len(encoded) > MOST_BYTES:
        raise InputError(f"{name}: {len(encoded):,} bytes; the limit is {MOST_BYTES:,} bytes")
    if not encoded:
        raise InputError(f"{name}: empty (0 bytes); wanted an encoded picture")
    # Pillow's warnings, about large pictures and damaged tags, would only repeat the errors below
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with _opened(encoded, name) as picture:
            _check_size(picture.width, picture.height, name)
            return _rgb(picture, name)


def _opened(encoded: bytes, name: str) -> PilImage.Image:
    try:
        return PilImage.open(io.BytesIO(encoded), formats=FORMATS)
    except PilImage.DecompressionBombError as error:
        raise InputError(
            f"{name}: too many pixels; the limit is {MOST_SIDE:,} a side and {MOST_PIXELS:,} in all"
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise InputError(f"{name}: not a picture; wanted one of {', '.join(FORMATS)}") from error
    except Exception as error:  # a damaged header raises whatever its parser stumbles over
        raise InputError(f"{name}: the picture's header is damaged ({error})") from error


def _rgb(picture: PilImage.Image, name: str) -> NDArray[np.uint8]:
    """The pixels of a Pillow image, upright, on white."""
    try:
        return _converted(picture)
    except Exception as error:  # damaged data: OSError, SyntaxError, EOFError, struct.error, ...
        raise InputError(f"{name}: the picture is damaged or cut short ({error})") from error


def _converted(picture: PilImage.Image) -> NDArray[np.uint8]:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        grey = np.asarray(picture, dtype=np.float64)
        # Pillow would clip instead of scale: 16-bit pictures would come out white
        scale = 1.0 if grey.max(initial=0) <= 255 and not picture.mode.startswith("I;16") else 1 / 257
        picture = PilImage.fromarray(np.clip(np.rint(grey * scale), 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = PilImage.alpha_composite(PilImage.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def _encode(array: NDArray[np.uint8], kind: str) -> bytes:
    stream = io.BytesIO()
    PilImage.fromarray(array).save(stream, kind)
    return stream.getvalue()


def _media_type(encoded: bytes) -> str:
    with PilImage.open(io.BytesIO(encoded), formats=FORMATS) as picture:
        return picture.get_format_mimetype() or "image/png"

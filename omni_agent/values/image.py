"""Pictures."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps

from omni_agent.errors import InputError
from omni_agent.values.files import check_file, read_file, write_file
from omni_agent.values.media import Media
from omni_agent.values.tokens import Tokens

__all__ = ["Image", "check_picture"]

MOST_SIDE = 8192
MOST_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}


class Image(Media):
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

    __slots__ = ()

    TYPE, NAME, ELEMENTS, MOST_BYTES = "image", "picture", "pixels", 64 * 2**20

    def __init__(
        self, source: bytes | NDArray[np.uint8] | PilImage.Image, *, tokens: Tokens | None = None
    ) -> None:
        encoded = None
        if isinstance(source, bytes | bytearray | memoryview):
            encoded = bytes(source)
            pixels = _decode(encoded, "the picture")
        elif isinstance(source, PilImage.Image):
            _check_size(source.width, source.height, "the picture")
            pixels = _rgb(source, "the picture")
        elif isinstance(source, np.ndarray):
            pixels = _checked(source)
        else:
            raise InputError(
                f"an Image was made from {type(source).__name__}; wanted encoded bytes, an array (H, W, 3) of"
                " uint8 or a Pillow image. Image.open reads a file"
            )
        self._set(pixels, encoded, tokens)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Image:
        """Read a picture from a file. URLs are never followed.

        Raises:
            InputError: there is no such file, or `Image` cannot be made of it.
        """
        return cls._from_encoded(read_file(path, what="picture", most_bytes=cls.MOST_BYTES), str(path))

    @property
    def array(self) -> NDArray[np.uint8]:
        """The pixels, (H, W, 3) uint8, read-only.

        Raises:
            NotDecoded: the picture holds only tokens.
        """
        return self._elements()

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

    def _repr_png_(self) -> bytes | None:
        return self._losslessly_encoded() if self.is_decoded else None

    @classmethod
    def _from_encoded(cls, encoded: bytes, name: str) -> Self:
        image = cls.__new__(cls)
        image._set(_decode(encoded, name), encoded, None)
        return image

    def _losslessly_encoded(self) -> bytes:
        return _encode(self.array, "PNG")

    @staticmethod
    def _media_type(encoded: bytes) -> str:
        with PilImage.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            return picture.get_format_mimetype() or "image/png"

    def _shape(self) -> str:
        return f"{self.array.shape}"

    def _size(self) -> str:
        return f"{self.width}x{self.height}"


def check_picture(path: str | os.PathLike[str]) -> None:
    """Look at a picture's file by its header alone.

    Raises:
        InputError: as `Image.open`, but for damage behind the header.
    """
    file = check_file(path, what="picture", most_bytes=Image.MOST_BYTES)
    with file.open("rb") as stream, _quiet(), _opened(stream, str(path)) as picture:
        _check_size(picture.width, picture.height, str(path))


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
    if len(encoded) > Image.MOST_BYTES:
        raise InputError(f"{name}: {len(encoded):,} bytes; the limit is {Image.MOST_BYTES:,} bytes")
    if not encoded:
        raise InputError(f"{name}: empty (0 bytes); wanted an encoded picture")
    with _quiet(), _opened(io.BytesIO(encoded), name) as picture:
        _check_size(picture.width, picture.height, name)
        return _rgb(picture, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings about large pictures and damaged tags, which would only repeat the errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _opened(encoded: BinaryIO, name: str) -> PilImage.Image:
    try:
        return PilImage.open(encoded, formats=FORMATS)
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

"""Pictures: what is accepted, what is refused in which words, and that JSON gives back what it was given."""

from __future__ import annotations

import copy
import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image as PilImage
from pydantic import BaseModel, TypeAdapter, ValidationError

from omni_agent import Image, InputError, NotDecoded, Tokens
from omni_agent.values.image import check_picture

JSON = TypeAdapter(Image)
PIXELS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda shape: (*shape, 3)))
TOKENS = st.builds(
    Tokens,
    ids=st.lists(st.integers(0, 2**40), min_size=1, max_size=70).map(tuple),
    tokenizer=st.text(min_size=1).filter(lambda text: text.isprintable()),
)


def png(width: int, height: int, *, color: object = "red", mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    PilImage.new(mode, (width, height), color).save(stream, "PNG", **options)  # type: ignore[arg-type]
    return stream.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@given(PIXELS)
def test_pixels_survive_json_and_make_an_equal_picture(pixels: np.ndarray) -> None:
    image = Image(pixels)
    again = JSON.validate_json(JSON.dump_json(image))
    assert np.array_equal(again.array, pixels)
    assert again == image
    assert hash(again) == hash(image)
    assert again.content_hash == image.content_hash


@given(PIXELS, TOKENS)
def test_a_decoded_picture_keeps_its_tokens_in_json(pixels: np.ndarray, tokens: Tokens) -> None:
    image = Image(pixels, tokens=tokens)
    again = JSON.validate_json(JSON.dump_json(image))
    assert again.tokens == tokens
    assert again == image == Image.from_tokens(tokens)
    assert np.array_equal(again.array, pixels)


@given(TOKENS)
def test_a_picture_of_tokens_survives_json_undecoded(tokens: Tokens) -> None:
    again = JSON.validate_json(JSON.dump_json(Image.from_tokens(tokens)))
    assert again.tokens == tokens
    assert not again.is_decoded


def test_encoded_bytes_survive_json_as_they_are() -> None:
    stream = io.BytesIO()
    PilImage.effect_noise((40, 30), 80).save(stream, "JPEG", quality=40)
    image = Image(stream.getvalue())
    uri = image.to_data_uri()
    assert uri.startswith("data:image/jpeg;base64,")
    assert Image.from_data_uri(uri) == image
    assert Image.from_data_uri(uri).to_data_uri() == uri


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp"])
def test_a_saved_picture_opens_with_the_same_pixels(tmp_path: Path, suffix: str) -> None:
    image = Image(np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8))
    image.save(tmp_path / f"picture{suffix}")
    assert np.array_equal(Image.open(tmp_path / f"picture{suffix}").array, image.array)
    assert np.array_equal(Image.open(str(tmp_path / f"picture{suffix}")).array, image.array)


def test_width_and_height_are_not_exchanged() -> None:
    image = Image(png(4, 3))
    assert (image.width, image.height, image.array.shape, image.pil.size) == (4, 3, (3, 4, 3), (4, 3))
    assert repr(image) == "<Image 4x3>"


def test_nothing_changes_a_picture_from_outside() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    image = Image(pixels)
    pixels[:] = 9
    image.pil.putpixel((0, 0), (9, 9, 9))
    assert not image.array.any()
    with pytest.raises(ValueError, match="read-only"):
        image.array[0] = 1
    assert copy.deepcopy(image) is copy.copy(image) is image


def test_transparent_places_are_white() -> None:
    assert Image(png(1, 1, mode="RGBA", color=(255, 0, 0, 0))).array.tolist() == [[[255, 255, 255]]]
    assert Image(png(1, 1, mode="LA", color=(0, 0))).array.tolist() == [[[255, 255, 255]]]


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    stream = io.BytesIO()
    PilImage.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(stream, "PNG")
    assert Image(stream.getvalue()).array[0, :, 0].tolist() == [0, 128, 255]


def test_a_camera_that_was_held_sideways_is_turned_upright() -> None:
    picture = PilImage.new("RGB", (4, 2))
    exif = picture.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    picture.save(stream, "JPEG", exif=exif)
    assert (Image(stream.getvalue()).width, Image(stream.getvalue()).height) == (2, 4)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "LA"])
def test_every_kind_of_pillow_image_becomes_rgb(mode: str) -> None:
    assert Image(PilImage.new(mode, (3, 2))).array.shape == (2, 3, 3)


def test_tokens_are_told_apart_from_pixels() -> None:
    image = Image.from_tokens(Tokens(ids=(1, 2), tokenizer="t"))
    assert repr(image) == "<Image of 2 tokens, not decoded>"
    assert image._repr_png_() is None
    for ask in (lambda: image.array, lambda: image.pil, lambda: image.width, lambda: image.save("x.png")):
        with pytest.raises(NotDecoded, match=r"await core\.decoded\(image\)"):
            ask()


def test_a_notebook_shows_the_picture() -> None:
    assert Image(png(2, 2))._repr_png_() is not None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "empty"),
        (b"not a picture", "not a picture; wanted one of PNG, JPEG"),
        (png(64, 64, color="blue")[:60], "damaged or cut short"),
        (png(64, 64)[:20], "picture"),
        (png_that_claims(20_000, 20_000), "8,192 a side"),
        (png_that_claims(20_000, 10), "20,000x10 pixels; the limit is 8,192 a side"),
        (png_that_claims(8192, 8192), "67,108,864 pixels; the limit is 64,000,000"),
        (np.zeros((2, 2), np.uint8), r"\(2, 2\) of uint8; wanted \(H, W, 3\)"),
        (np.zeros((2, 2, 4), np.uint8), "wanted"),
        (np.zeros((2, 2, 3), np.float32), "of float32"),
        (np.zeros((0, 2, 3), np.uint8), "at least one"),
        (np.zeros((1, 9000, 3), np.uint8), "8,192 a side"),
        ("picture.png", "Image.open reads a file"),
        (None, "NoneType"),
        (bytes(64 * 2**20 + 1), "the limit is 67,108,864 bytes"),
    ],
)
def test_what_is_no_picture_is_refused(source: object, words: str, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Image(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@given(st.data())
def test_damage_anywhere_is_an_input_error_or_harmless(kind: str, data: st.DataObject) -> None:
    stream = io.BytesIO()
    PilImage.radial_gradient("L").resize((16, 16)).save(stream, kind)
    encoded = bytearray(stream.getvalue())
    for _ in range(3):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        Image(bytes(encoded[: data.draw(st.integers(1, len(encoded)))]))


def test_opening_names_the_file(tmp_path: Path) -> None:
    empty, text, folder = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "folder.png"
    empty.touch()
    text.write_text("hello")
    folder.mkdir()
    for path, words in [
        (empty, r"empty\.png: the file is empty \(0 bytes\)"),
        (text, r"text\.png: not a picture"),
        (folder, r"folder\.png: not a regular file"),
        (tmp_path / "none.png", r"none\.png: no such file"),
        ("http://example.org/a.png", "URLs are never followed"),
        ("data:image/png;base64,AAAA", "from_data_uri"),
        ("a\0b.png", "no such file"),
        ("/dev/zero", "not a regular file"),
        (None, "the path of a picture was NoneType; wanted a str or a Path"),
    ]:
        for look in (Image.open, check_picture):
            with pytest.raises(InputError, match=words):
                look(path)  # type: ignore[arg-type]


def test_a_header_is_looked_at_without_what_is_behind_it(tmp_path: Path) -> None:
    whole = png(9, 5)
    (tmp_path / "half.png").write_bytes(whole[:45])
    check_picture(tmp_path / "half.png")
    with pytest.raises(InputError, match=r"half\.png: the picture is damaged or cut short"):
        Image.open(tmp_path / "half.png")
    (tmp_path / "wide.png").write_bytes(png(9000, 1))
    with pytest.raises(InputError, match=r"wide\.png: 9,000x1 pixels; the limit is 8,192 a side"):
        check_picture(tmp_path / "wide.png")


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(InputError, match="the limit for a picture is 67,108,864 bytes"):
        Image.open(path)


def test_saving_needs_a_name_and_a_place(tmp_path: Path) -> None:
    image = Image(png(1, 1))
    with pytest.raises(InputError, match=r"must end in \.png, \.jpg"):
        image.save(tmp_path / "picture.txt")
    with pytest.raises(InputError, match="could not be written"):
        image.save(tmp_path / "none" / "picture.png")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://example.org/a.png", "URLs are never followed"),
        ("file:///etc/passwd", "URLs are never followed"),
        ("", "wanted a data URI"),
        (None, "NoneType was given; wanted a data URI"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,@@@@", "not base64"),
        ("data:image/png;base64,", "empty"),
        ("data:audio/wav;base64,AAAA", "media type is 'audio/wav'"),
        ("data:image/png;base64,AAAA", "not a picture"),
        ("data:image/png,%41%42", "not a picture"),
        ("data:application/vnd.omni-agent.image-tokens+json;base64,e30=", "tokens are damaged"),
        ("data:application/vnd.omni-agent.image-tokens+json,[[[[", "tokens are damaged"),
        ('data:application/vnd.omni-agent.image-tokens+json,{"ids":[-1],"tokenizer":"t"}', "0 or more"),
    ],
)
def test_what_is_no_data_uri_of_a_picture_is_refused(uri: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Image.from_data_uri(uri)


def test_pydantic_models_hold_pictures() -> None:
    class Page(BaseModel):
        picture: Image

    image = Image(png(2, 2))
    assert Page(picture=image).picture is image
    assert Page.model_validate_json(Page(picture=image).model_dump_json()).picture == image
    assert Page(picture=image).model_dump()["picture"] is image
    assert Page.model_json_schema()["properties"]["picture"]["format"] == "data-uri"
    for wrong in (3, "http://example.org/a.png", b"x"):
        with pytest.raises(ValidationError):
            Page.model_validate({"picture": wrong})

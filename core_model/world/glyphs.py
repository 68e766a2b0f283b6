"""The objects' glyphs from the Noto Color Emoji font, at any size, with their coverage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

from omni_agent.core_model.world.words import Object
from omni_agent.errors import NotAvailable

__all__ = ["Glyph", "glyph"]

# The bitmap font has this one size.
FONT_SIZE = 109
FONT_PATHS = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto-emoji/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Glyph:
    """An object at one size: its colours times its coverage (0 to 255), and its coverage (0 to 1)."""

    covered: Float32[np.ndarray, "h w 3"]
    coverage: Float32[np.ndarray, "h w 1"]

    @property
    def height(self) -> int:
        return int(self.coverage.shape[0])

    @property
    def width(self) -> int:
        return int(self.coverage.shape[1])


@cache
def glyph(shown: Object, size: int) -> Glyph:
    """The object's glyph, cropped to its ink and resized so that its longer side is `size` pixels.

    NotAvailable, naming the Debian package, when the font is not installed.
    """
    inked = _inked(shown.glyph)
    scale = size / max(inked.size)
    width, height = (max(1, round(side * scale)) for side in inked.size)
    pixels = np.asarray(inked.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
    coverage = pixels[:, :, 3:] / np.float32(255)
    return Glyph(covered=pixels[:, :, :3] * coverage, coverage=coverage)


@cache
def _inked(character: str) -> Image.Image:
    image = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(image).text((12, 12), character, font=_font(), embedded_color=True)
    box = image.getbbox()
    if box is None:
        raise NotAvailable(
            f"the emoji font has no glyph for U+{ord(character):X}: "
            "install the Debian package fonts-noto-color-emoji"
        )
    return image.crop(box)


@cache
def _font() -> ImageFont.FreeTypeFont:
    for path in FONT_PATHS:
        if path.is_file():
            return ImageFont.truetype(str(path), FONT_SIZE)
    raise NotAvailable(
        "the world's pictures are drawn with the font Noto Color Emoji, which is not installed: "
        f"looked for {', '.join(map(str, FONT_PATHS))}; install the Debian package fonts-noto-color-emoji"
    )

"""Pictures to the image tokenizer's input and back, as the published pipeline does it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

__all__ = ["from_pixels", "to_pixels"]


def to_pixels(rgb: UInt8[np.ndarray, "h w 3"], size: int) -> Float[Tensor, "1 3 size size"]:
    """Shorter side scaled to `size` (bicubic), centre cropped to a square, values in [-1, 1]."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    scaled = Image.fromarray(rgb)
    if short != size or height != width:
        wanted = [size if side == short else int(size * side / short) for side in (width, height)]
        scaled = scaled.resize((wanted[0], wanted[1]), Image.Resampling.BICUBIC)
    left, top = (round((side - size) / 2) for side in scaled.size)
    cropped = np.asarray(scaled.crop((left, top, left + size, top + size)), dtype=np.float32)
    return ((torch.from_numpy(cropped) / 255 - 0.5) / 0.5).permute(2, 0, 1)[None]


def from_pixels(pixels: Float[Tensor, "1 3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Values about [-1, 1] to RGB: clipped, and truncated rather than rounded, as published."""
    levels = ((pixels[0] + 1) / 2).clamp(0, 1) * 255
    return levels.permute(1, 2, 0).to(torch.uint8).cpu().numpy()

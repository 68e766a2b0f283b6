"""Painting scenes: 64x64 pictures, and beside them what covers which pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int8, UInt8

from omni_agent.core_model.world.crowds import Crowd
from omni_agent.core_model.world.glyphs import glyph
from omni_agent.core_model.world.scenes import Scene
from omni_agent.core_model.world.words import Colour, load_world

__all__ = ["Painting", "paint", "paint_with_alpha"]

NOISE_LEVELS = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Painting:
    """A scene painted: without and with noise, how much of each pixel is object, and which object that is.

    `objects` holds the object's index where it covers at least half of the pixel, -1 elsewhere.
    """

    clean: UInt8[np.ndarray, "64 64 3"]
    noisy: UInt8[np.ndarray, "64 64 3"]
    alpha: Float32[np.ndarray, "64 64"]
    objects: Int8[np.ndarray, "64 64"]


def paint(scene: Scene | Crowd, rng: np.random.Generator | None = None) -> UInt8[np.ndarray, "64 64 3"]:
    """The scene's picture; its background has noise when a random generator is given."""
    canvas = _background(scene.background.top, scene.background.bottom)
    canvas = canvas.copy() if rng is None else canvas + _noise(rng)
    for item in scene.items:
        drawn = glyph(item.object, item.size)
        rows, columns = _covers(item.x, item.y, drawn.width, drawn.height)
        canvas[rows, columns] = canvas[rows, columns] * (1 - drawn.coverage) + drawn.covered
    return _levels(canvas)


def paint_with_alpha(scene: Scene | Crowd, rng: np.random.Generator) -> Painting:
    """The scene's picture with and without noise, and what covers which pixel."""
    size = load_world().size
    alpha = np.zeros((size, size), np.float32)
    objects = np.full((size, size), -1, np.int8)
    for item in scene.items:
        drawn = glyph(item.object, item.size)
        rows, columns = _covers(item.x, item.y, drawn.width, drawn.height)
        coverage = drawn.coverage[:, :, 0]
        alpha[rows, columns] = 1 - (1 - alpha[rows, columns]) * (1 - coverage)
        objects[rows, columns][coverage >= 0.5] = item.object.index
    clean = paint(scene)
    # The noise lies behind the objects, so it shows as far as they do not cover it.
    noisy = paint(scene, rng)
    return Painting(clean=clean, noisy=noisy, alpha=alpha, objects=objects)


def _covers(x: int, y: int, width: int, height: int) -> tuple[slice, slice]:
    left, top = x - width // 2, y - height // 2
    return slice(top, top + height), slice(left, left + width)


@lru_cache(maxsize=64)
def _background(top: Colour, bottom: Colour) -> Float32[np.ndarray, "64 64 3"]:
    size = load_world().size
    share = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    rows = np.asarray(top, np.float32) * (1 - share) + np.asarray(bottom, np.float32) * share
    blend: Float32[np.ndarray, "64 64 3"] = np.broadcast_to(rows, (size, size, 3))
    return blend


def _noise(rng: np.random.Generator) -> Float32[np.ndarray, "64 64 3"]:
    size = load_world().size
    return rng.standard_normal((size, size, 3), dtype=np.float32) * np.float32(NOISE_LEVELS)


def _levels(canvas: Float32[np.ndarray, "64 64 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    levels: UInt8[np.ndarray, "64 64 3"] = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return levels

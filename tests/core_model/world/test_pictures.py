"""Painted scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omni_agent.core_model.world import KINDS, Kind, glyphs, load_world, paint, paint_with_alpha, sample_scene
from omni_agent.errors import NotAvailable


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_paints_the_same_picture(kind: Kind) -> None:
    scene = sample_scene(np.random.default_rng(0), "train", kind)
    first = paint(scene, np.random.default_rng(1))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, paint(scene, np.random.default_rng(1)))
    assert not np.array_equal(first, paint(scene, np.random.default_rng(2)))


def test_without_a_generator_the_background_is_the_worlds_blend() -> None:
    scene = sample_scene(np.random.default_rng(3), None, "count")
    painting = paint_with_alpha(scene, np.random.default_rng(4))
    picture = paint(scene)
    bare = painting.alpha == 0
    assert np.array_equal(picture, painting.clean)
    for row in range(64):
        share = row / 63
        expected = np.rint(
            np.array(scene.background.top) * (1 - share) + np.array(scene.background.bottom) * share
        )
        assert np.abs(picture[row][bare[row]] - expected).max(initial=0) <= 1


def test_noise_has_three_levels_and_lies_behind_the_objects() -> None:
    rng = np.random.default_rng(5)
    scene = sample_scene(rng, None, "one")
    # Snow and night come close to the ends of the scale, where noise is cut off.
    while scene.background.name not in ("grass", "road"):
        scene = sample_scene(rng, None, "one")
    painting = paint_with_alpha(scene, rng)
    difference = painting.noisy.astype(int) - painting.clean.astype(int)
    assert 2.8 < difference[painting.alpha == 0].std() < 3.2
    assert not difference[painting.alpha == 1].any()


def test_coverage_names_the_objects_that_cover() -> None:
    rng = np.random.default_rng(6)
    scene = sample_scene(rng, None, "pair")
    painting = paint_with_alpha(scene, rng)
    left, right = (item.object.index for item in scene.items)
    assert set(np.unique(painting.objects)) == {-1, left, right}
    assert painting.alpha.min() == 0
    assert painting.alpha.max() == 1
    assert ((painting.objects >= 0) == (painting.alpha >= 0.5)).mean() > 0.99
    columns = np.arange(64)[None, :].repeat(64, 0)
    assert columns[painting.objects == left].mean() < columns[painting.objects == right].mean()


def test_all_sixty_objects_look_different() -> None:
    pictures = [glyphs.glyph(shown, 20).covered for shown in load_world().objects]
    assert len({(picture.shape, picture.tobytes()) for picture in pictures}) == 60


def test_a_missing_font_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "FONT_PATHS", (Path("/nowhere/NotoColorEmoji.ttf"),))
    glyphs._font.cache_clear()
    with pytest.raises(NotAvailable, match="install the Debian package fonts-noto-color-emoji"):
        glyphs._font()

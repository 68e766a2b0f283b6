"""Scenes: where things lie."""

from __future__ import annotations

import numpy as np
import pytest

from omni_agent.core_model.world import KINDS, Kind, Scene, load_world, sample_scene
from omni_agent.core_model.world.glyphs import glyph
from omni_agent.core_model.world.scenes import DRAWING_SIZES

SIZES: dict[Kind, tuple[int, int]] = {"one": (34, 50), "count": (17, 20), "pair": (24, 30)}


def boxes(scene: Scene) -> list[tuple[int, int, int, int]]:
    found = []
    for item in scene.items:
        drawn = glyph(item.object, item.size)
        left, top = item.x - drawn.width // 2, item.y - drawn.height // 2
        found.append((left, top, left + drawn.width, top + drawn.height))
    return found


@pytest.mark.parametrize("drawing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_object_is_wholly_inside_and_as_large_as_its_kind_says(kind: Kind, drawing: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = sample_scene(rng, None, kind, drawing=drawing)
        for item, (left, top, right, bottom) in zip(scene.items, boxes(scene), strict=True):
            assert 0 <= left < right <= 64
            assert 0 <= top < bottom <= 64
            if drawing:
                assert item.size == DRAWING_SIZES[kind]
            else:
                assert SIZES[kind][0] <= item.size <= SIZES[kind][1]
            assert max(right - left, bottom - top) == item.size


def test_counts_lie_in_distinct_cells_within_a_pixel_of_their_centres() -> None:
    rng = np.random.default_rng(1)
    numbers = set()
    for _ in range(300):
        scene = sample_scene(rng, None, "count")
        numbers.add(len(scene.items))
        cells = {(round((item.x - 11) / 21), round((item.y - 11) / 21)) for item in scene.items}
        assert len(cells) == len(scene.items)
        for item in scene.items:
            assert abs(item.x - 11 - 21 * round((item.x - 11) / 21)) <= 1
            assert abs(item.y - 11 - 21 * round((item.y - 11) / 21)) <= 1
    assert numbers == {2, 3, 4, 5}


def test_counts_that_are_drawn_lie_at_the_same_pixel_of_a_code_and_not_on_each_other() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        scene = sample_scene(rng, None, "count", drawing=True)
        assert {(item.x % 8, item.y % 8) for item in scene.items} == {(4, 4)}
        middles = [np.array([item.x, item.y]) for item in scene.items]
        apart = [np.abs(a - b).max() for n, a in enumerate(middles) for b in middles[:n]]
        assert min(apart) >= 16


def test_a_pair_is_two_different_objects_left_then_right() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        left, right = sample_scene(rng, None, "pair").items
        assert left.object != right.object
        assert abs(left.x - 17) <= 2
        assert abs(right.x - 47) <= 2


def test_single_objects_reach_every_edge() -> None:
    rng = np.random.default_rng(3)
    found = [boxes(sample_scene(rng, None, "one"))[0] for _ in range(2000)]
    assert min(box[0] for box in found) == 0
    assert min(box[1] for box in found) == 0
    assert max(box[2] for box in found) == 64
    assert max(box[3] for box in found) == 64


def test_what_is_to_be_drawn_has_one_size_and_one_pattern_of_places() -> None:
    rng = np.random.default_rng(4)
    for kind, patterns in (("one", 1), ("count", 4), ("pair", 1)):
        scenes = [sample_scene(rng, None, kind, drawing=True) for _ in range(200)]
        assert len({item.size for scene in scenes for item in scene.items}) == 1
        assert len({tuple((item.x, item.y) for item in scene.items) for scene in scenes}) == patterns


def test_pairs_of_any_size_have_one_as_large_as_a_single_object_and_do_not_overlap() -> None:
    rng = np.random.default_rng(6)
    for _ in range(500):
        scene = sample_scene(rng, "train", "pair", pair_sizes="any")
        left, right = boxes(scene)
        assert 32 <= max(item.size for item in scene.items) <= 48
        assert min(item.size for item in scene.items) >= 16
        for box in (left, right):
            assert min(box) >= 0
            assert max(box) <= 64
        assert left[2] <= right[0]


def test_a_pair_drawn_on_any_colours_has_one_as_a_single_object_is_drawn() -> None:
    rng = np.random.default_rng(7)
    single = sample_scene(rng, "train", "one", drawing=True).items[0]
    main = set()
    for _ in range(40):
        items = sample_scene(rng, "train", "pair", drawing=True, pair_sizes="any").items
        (which,) = (
            n
            for n, item in enumerate(items)
            if (item.x, item.y, item.size) == (single.x, single.y, single.size)
        )
        main.add(which)
        assert items[0].x < items[1].x
    assert main == {0, 1}


def test_the_seed_decides_the_scene() -> None:
    first, second = (
        [sample_scene(np.random.default_rng(seed), "train") for seed in range(20)] for _ in range(2)
    )
    assert first == second
    assert len({scene.items for scene in first}) == 20


def test_random_colours_are_not_a_background_of_the_world() -> None:
    rng = np.random.default_rng(6)
    scene = sample_scene(rng, "train", background_colours="random")
    assert scene.background not in load_world().backgrounds
    assert scene.background.phrase == ""

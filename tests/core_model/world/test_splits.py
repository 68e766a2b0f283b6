"""Which pictures may be trained on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from omni_agent.core_model.world import (
    KINDS,
    Combination,
    Kind,
    Split,
    load_world,
    sample_combination,
    sample_scene,
    split_of,
)
from omni_agent.core_model.world.splits import fifth


def shown(kind: Kind, names: list[str], number: int, background: str) -> Combination:
    world = load_world()
    return Combination(
        kind=kind,
        objects=tuple(world.object(name) for name in names),
        number=number,
        background=world.background(background),
    )


def crc32_bit_by_bit(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("words", "value"),
    [("dog/grass", 948558711), ("dog/one", 1297695185), ("dog/cat", 2842395784), ("apple/three", 3571511524)],
)
def test_a_fifth_is_that_of_the_standard_crc32(words: str, value: int) -> None:
    assert crc32_bit_by_bit(words.encode()) == value
    assert fifth(*words.split("/")) == value % 5


@pytest.mark.parametrize(
    ("combination", "split"),
    [
        # apple/snow 4, apple/three 4
        (shown("count", ["apple"], 3, "snow"), "train"),
        # banana/sand 2, banana/one 1
        (shown("one", ["banana"], 1, "sand"), "development"),
        # dog/grass 1, dog/one 0: held-out wins over development
        (shown("one", ["dog"], 1, "grass"), "held_out"),
        # dog/road 1, cat/road 4, dog/cat 4
        (shown("pair", ["dog", "cat"], 1, "road"), "development"),
    ],
)
def test_splits_of_combinations_worked_out_by_hand(combination: Combination, split: Split) -> None:
    assert split_of(combination) == split


def test_the_order_of_a_pair_matters() -> None:
    assert fifth("dog", "cat") != fifth("cat", "dog")


def test_training_scenes_have_no_held_out_or_development_hash() -> None:
    rng = np.random.default_rng(0)
    numbers = load_world().numbers
    for turn in range(600):
        scene = sample_scene(rng, "train", drawing=turn % 2 == 0)
        names = [item.object.name for item in scene.items]
        words = {f"{name}/{scene.background.name}" for name in names}
        words.add("/".join(names) if scene.kind == "pair" else f"{names[0]}/{numbers[len(names)]}")
        assert not {crc32_bit_by_bit(each.encode()) % 5 for each in words} & {0, 1}


@pytest.mark.parametrize("split", ["train", "development", "held_out"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_split_has_every_object_background_and_number_of_a_kind(split: Split, kind: Kind) -> None:
    rng = np.random.default_rng(1)
    combinations = [sample_combination(rng, split, kind) for _ in range(1500)]
    assert all(split_of(each) == split for each in combinations)
    # One object may have no picture of a kind in a split (say, its "one" is held out); few have none.
    assert len({each.objects[0].name for each in combinations}) > 30
    assert {each.background.name for each in combinations} == {each.name for each in load_world().backgrounds}
    assert {each.number for each in combinations} == ({2, 3, 4, 5} if kind == "count" else {1})


def test_every_object_is_seen_in_training() -> None:
    rng = np.random.default_rng(2)
    seen = Counter(item.name for _ in range(4000) for item in sample_combination(rng, "train").objects)
    assert len(seen) == 60

"""The trained judge of pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from omni_agent.core_model.evaluation import PictureJudge
from omni_agent.core_model.evaluation.picture_judge import JudgeNetwork, as_input
from omni_agent.core_model.evaluation.train_picture_judge import measure
from omni_agent.core_model.world import Scene, load_world, paint, sample_scene


@pytest.fixture(scope="module")
def judge() -> PictureJudge:
    return PictureJudge.load()


@pytest.mark.parametrize("drawing", [False, True])
def test_the_judge_reads_fresh_pictures(judge: PictureJudge, drawing: bool) -> None:
    right = measure(judge, "held_out", scenes=300, seed=11, drawing=drawing)
    assert right["objects"] > 0.99
    # Some single objects are taken for two: they are drawn smaller than the judge was trained on.
    assert right["number"] > (0.98 if drawing else 0.99)
    assert right["background"] > 0.99


def test_the_judge_reads_blurred_pictures(judge: PictureJudge) -> None:
    rng = np.random.default_rng(12)
    scenes = [sample_scene(rng, "held_out") for _ in range(200)]
    blurred = [
        np.asarray(Image.fromarray(paint(scene, rng)).resize((40, 40), Image.Resampling.BILINEAR))
        for scene in scenes
    ]
    read = [seen.objects for seen in judge.read(blurred)]
    wanted = [tuple(shown.name for shown in scene.combination.objects) for scene in scenes]
    assert sum(map(tuple.__eq__, read, wanted)) > 190


def test_an_empty_background_shows_nothing(judge: PictureJudge) -> None:
    empty = [paint(Scene(kind="count", background=each, items=())) for each in load_world().backgrounds]
    assert {seen.layout for seen in judge.read(empty)} == {"nothing"}
    assert {seen.objects for seen in judge.read(empty)} == {()}
    assert [seen.background for seen in judge.read(empty)] == [each.name for each in load_world().backgrounds]


def test_a_pair_is_read_left_first(judge: PictureJudge) -> None:
    scene = sample_scene(np.random.default_rng(13), None, "pair")
    (seen,) = judge.read([paint(scene)])
    assert (seen.layout, seen.number) == ("pair", 2)
    assert seen.objects == tuple(item.object.name for item in scene.items)
    assert 0.5 < seen.confidence <= 1


def test_no_pictures_are_no_readings(judge: PictureJudge) -> None:
    assert judge.read([]) == []


def test_input_is_scaled_from_minus_one_to_one() -> None:
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    pixels[0, 0, 5] = 255
    scaled = as_input(pixels)
    assert scaled.shape == (1, 3, 64, 64)
    assert scaled[0, :, 0, 5].tolist() == [1, 1, 1]
    assert scaled.min() == -1


def test_the_network_has_about_a_million_parameters() -> None:
    assert 0.8e6 < sum(each.numel() for each in JudgeNetwork().parameters()) < 1.2e6
    assert torch.isfinite(JudgeNetwork()(torch.zeros(2, 3, 64, 64)).layout).all()

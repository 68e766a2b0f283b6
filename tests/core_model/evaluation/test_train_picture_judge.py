"""Training the judge of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni_agent.core_model.evaluation import train_picture_judge as training
from omni_agent.core_model.evaluation.picture_judge import as_input
from omni_agent.core_model.world import paint, sample_scene


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(tmp_path / "whole", steps=4, batch=8)
    sampled = training._any_scene
    left = iter(range(3 * 8))

    def interrupted(rng: np.random.Generator) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return sampled(rng)

    monkeypatch.setattr(training, "_any_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(tmp_path / "resumed", steps=4, batch=8, state=tmp_path / "state", save_every=2)
    monkeypatch.setattr(training, "_any_scene", sampled)
    training.train(tmp_path / "resumed", steps=4, batch=8, state=tmp_path / "state", save_every=2)
    whole, resumed = load_file(tmp_path / "whole"), load_file(tmp_path / "resumed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_damage_is_decided_by_the_seed_and_keeps_the_range() -> None:
    rng = np.random.default_rng(0)
    pictures = as_input(np.stack([paint(sample_scene(rng, None), rng) for _ in range(8)]))
    first, second = (training.damaged(pictures, np.random.default_rng(1)) for _ in range(2))
    assert first.shape == pictures.shape
    assert torch.equal(first, second)
    assert not torch.equal(first, pictures)
    assert first.abs().max() <= 1


def test_loosely_placed_objects_stay_inside() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        paint(training._any_scene(rng))

"""What the learner is taught, and what it is deliberately not taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from omni_agent.core import Modality, Task
from omni_agent.core_model.training.learner import Learner
from omni_agent.core_model.training.samples import Layout, Unit, pack
from omni_agent.core_model.training.tiny import tiny_config, tiny_tokenizer

WEIGHTS = Path(__file__).parents[3] / "weights" / "omni_tiny" / "core_learner.safetensors"


def test_the_shipped_weights_are_all_that_a_training_starts_from() -> None:
    wanted = Learner(tiny_config(len(tiny_tokenizer()))).state_dict()
    with safe_open(WEIGHTS, "pt") as file:
        given = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    assert given == {name: list(weight.shape) for name, weight in wanted.items()}


@pytest.mark.parametrize("untold", [0, 1 << 4])
def test_a_word_that_is_never_told_is_not_taught_to_be_wrong(untold: int) -> None:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = tiny_config(len(tokenizer))
    layout = Layout(config, tokenizer)
    (four,) = layout.text("four")
    learner = Learner(config, [[], [], [], [], [four]])
    segment = layout.segment(Task.ANSWER, "how many", Modality.TEXT, layout.text("a dog"))
    unit = Unit(segments=[replace(segment, untold=untold)])
    batch = pack(
        iter([unit] * 4),
        layout.vocabulary,
        np.random.default_rng(0),
        rows=1,
        length=len(segment.ids),
        full=True,
    )
    loss = learner(batch)[Modality.TEXT]
    assert loss.isfinite()
    torch.autograd.backward(loss)
    taught = learner.transformer.lm_head.weight.grad
    assert taught is not None
    assert bool(taught[four].any()) == (untold == 0)
    assert taught[layout.text("dog")[0]].any()

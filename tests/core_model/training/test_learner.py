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
from omni_agent.core_model.training.samples import IGNORED, Heard, Layout, Unit, pack
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


def test_some_heard_words_stand_as_written_ones_in_training_and_none_elsewhere() -> None:
    tokenizer = tiny_tokenizer()
    config = tiny_config(len(tokenizer))
    assert config.speech_encoder is not None
    layout = Layout(config, tokenizer)
    dog, end = layout.text("dog")[0], layout.vocabulary.end
    words = np.array([end, end, dog, dog, end, dog, IGNORED] * 3)
    frames = np.ones((len(words), config.speech_encoder.hidden_size), np.float16)
    heard = Heard(frames=frames, words=words)
    segment = layout.segment(Task.TRANSCRIBE, heard, Modality.TEXT, layout.text("dog"))
    rng = np.random.default_rng(0)
    batch = pack(iter([Unit(segments=[segment])] * 40), layout.vocabulary, rng, rows=20, length=160)
    learner = Learner(config)
    torch.manual_seed(0)
    written, stand = learner._written_words(batch)
    spotted = torch.from_numpy(batch.words == dog)
    assert not written[~spotted].any()
    assert (stand[written] == dog).all()
    assert 0.15 < written[spotted].float().mean() < 0.35
    pairs = written.view(-1, 7)
    assert torch.equal(pairs[:, 2], pairs[:, 3]), "a word stands so as a whole"
    learner.eval()
    states, _ = learner.hidden(batch), torch.manual_seed(1)
    again = learner.hidden(batch)
    assert torch.equal(states[0], again[0])

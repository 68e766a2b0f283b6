"""What the learner is taught, and what it is deliberately not taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from omni_agent.core import Modality, Task
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.speech_encoder import RecognitionHead
from omni_agent.core_model.training.learner import Learner
from omni_agent.core_model.training.samples import IGNORED, Heard, Layout, Unit, pack
from omni_agent.core_model.training.tiny import tiny_config, tiny_tokenizer

WEIGHTS = Path(__file__).parents[3] / "weights" / "omni_tiny" / "core_learner.safetensors"


def head(config: CoreConfig) -> RecognitionHead:
    ears = config.speech_encoder
    assert ears is not None
    return RecognitionHead(ears.hidden_size, ears.ctc_size)


def test_the_shipped_weights_are_all_that_a_training_starts_from() -> None:
    config = tiny_config(tiny_tokenizer())
    wanted = Learner(config, head(config)).state_dict()
    with safe_open(WEIGHTS, "pt") as file:
        given = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    assert given == {name: list(weight.shape) for name, weight in wanted.items()}


@pytest.mark.parametrize("untold", [0, 1 << 4])
def test_a_word_that_is_never_told_is_not_taught_to_be_wrong(untold: int) -> None:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = tiny_config(tokenizer)
    layout = Layout(config, tokenizer)
    (four,) = layout.text("four")
    learner = Learner(config, head(config), [[], [], [], [], [four]])
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


def test_heard_words_enter_as_written_ones_and_the_rest_as_projected() -> None:
    tokenizer = tiny_tokenizer()
    config = tiny_config(tokenizer)
    ears = config.speech_encoder
    assert ears is not None
    layout = Layout(config, tokenizer)
    (dog,) = layout.text("dog")
    spelling = RecognitionHead(ears.hidden_size, ears.ctc_size)
    torch.nn.init.zeros_(spelling.ctc_lo.weight)
    torch.nn.init.zeros_(spelling.ctc_lo.bias)
    spelling.ctc_lo.weight.data[0, 0] = spelling.ctc_lo.weight.data[1 + ears.ctc_tokens.index(dog), 1] = 40
    queries = len(ears.query_rows)
    frames = np.zeros((queries + 3, ears.hidden_size), np.float16)
    frames[:queries, 1] = 1  # as if they spelt "dog"
    frames[queries:, 0], frames[queries + 1] = 1, np.eye(ears.hidden_size)[1]
    heard = Heard(frames=frames, words=np.full(len(frames), IGNORED))
    segment = layout.segment(Task.TRANSCRIBE, heard, Modality.TEXT, layout.text("dog"))
    rng = np.random.default_rng(0)
    batch = pack(iter([Unit(segments=[segment])] * 40), layout.vocabulary, rng, rows=20, length=160)
    learner = Learner(config, spelling)
    with torch.inference_mode():
        embeddings, _ = learner.tables()
        entering = learner._heard(batch, embeddings).view(-1, len(frames), embeddings.shape[1])
        projected = learner.projection(torch.from_numpy(frames).float())
    assert len(entering) > 1
    for utterance in entering:
        torch.testing.assert_close(utterance[queries + 1], embeddings[dog])
        others = [at for at in range(len(frames)) if at != queries + 1]
        torch.testing.assert_close(utterance[others], projected[others])

"""What training packs is what decoding asks: the same tokens, and the same logits as alone."""

from __future__ import annotations

import numpy as np
import torch

from omni_agent.core import Modality, Request, Settings, Task
from omni_agent.core_model.denoising import logits_of
from omni_agent.core_model.training.learner import Learner
from omni_agent.core_model.training.samples import IGNORED, Heard, Layout, Unit, masked_places, pack
from omni_agent.values import Image, Speech, Text
from tests.core_model.random_core import random_model


def test_a_packed_question_has_the_logits_that_decoding_computes() -> None:
    model = random_model()
    layout = Layout(model.config, model.text_tokenizer)
    assert model.speech_encoder is not None
    assert model.speech_encoder.ctc is not None
    learner = Learner(model.config, model.speech_encoder.ctc)
    learner.transformer.load_state_dict(model.transformer.state_dict())
    learner.bits_in.data.zero_()
    learner.bits_out.data.zero_()
    learner.eval()
    rng = np.random.default_rng(0)
    picture = Image(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    speech = Speech(rng.uniform(-0.3, 0.3, 9000).astype(np.float32), 16_000)
    requests = [
        Request(task=Task.ANSWER, content=(picture, Text("what is this")), blank=Modality.TEXT),
        Request(task=Task.ANSWER, content=(picture, speech), blank=Modality.TEXT),
    ]
    heard = model.speech_encoder(model.speech_frontend(speech.samples, speech.rate)[None])[0]
    learner.projection.load_state_dict(model.speech_projection.state_dict())
    segments = [
        layout.segment(Task.ANSWER, given, Modality.TEXT, layout.text("a dog"))
        for given in (
            "what is this",
            Heard(frames=heard.detach().half().numpy(), words=np.full(len(heard), IGNORED)),
        )
    ]
    unit = Unit(prefix=layout.picture(model.image_codes(picture)), segments=segments)
    other = Unit(
        segments=[
            layout.segment(Task.DRAW, "draw a dog", Modality.IMAGE, [layout.vocabulary.image.start] * 4)
        ]
    )
    length = len(unit) + len(other) + 3
    batch = pack(
        iter([other, unit, other, other, other]), layout.vocabulary, rng, rows=1, length=length, full=True
    )
    with torch.inference_mode():
        hidden, head = learner.hidden(batch)
        start = len(other) + len(unit.prefix)
        for request, segment in zip(requests, segments, strict=True):
            canvas = model.canvas(request)
            blank = slice(start + segment.blank, start + len(segment.ids))
            assert batch.ids[0, blank].tolist() == canvas.filled.tolist()
            [alone] = logits_of(model, [model.start(canvas, Settings())])
            packed = (
                hidden[0, blank.start - 1 : blank.stop - 1] @ head[layout.vocabulary.columns(Modality.TEXT)].T
            )
            torch.testing.assert_close(packed, alone, atol=2e-3, rtol=0)
            start += len(segment.ids)


def test_labels_stand_at_masked_places_only_and_say_what_was_there() -> None:
    model = random_model()
    layout = Layout(model.config, model.text_tokenizer)
    segment = layout.segment(Task.ANSWER, "what is this", Modality.TEXT, layout.text("a dog"))
    unit = Unit(segments=[segment])
    batch = pack(iter([unit] * 20), layout.vocabulary, np.random.default_rng(3), rows=2, length=4 * len(unit))
    hidden = batch.labels != IGNORED
    assert hidden.any()
    assert (batch.ids[hidden] == layout.vocabulary.mask).all()
    truth = np.tile(segment.ids, 4)
    for row in range(2):
        np.testing.assert_array_equal(np.where(hidden[row], batch.labels[row], batch.ids[row]), truth)


def test_padding_is_masked_less_often_and_something_always_is() -> None:
    rng = np.random.default_rng(1)
    tail = np.array([False] * 4 + [True] * 8)
    drawn = np.stack([masked_places(rng, tail) for _ in range(4000)])
    assert drawn.any(1).all()
    partial = drawn[~drawn.all(1)]
    assert 0.5 < partial[:, 4:].mean() / partial[:, :4].mean() < 0.7
    assert masked_places(rng, tail, full=True).all()
    alike = np.stack([masked_places(rng, tail, padding=1.0) for _ in range(4000)])
    assert abs(alike[:, tail].mean() - alike[:, ~tail].mean()) < 0.02

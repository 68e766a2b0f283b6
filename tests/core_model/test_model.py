"""A request becomes a canvas, and the canvas a value."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from omni_agent.core import Modality, Request, Settings, Task
from omni_agent.core_model.config import TaskConfig
from omni_agent.core_model.denoising import after_step
from omni_agent.core_model.model import Model
from omni_agent.errors import InputError
from omni_agent.values import Text
from tests.core_model.random_core import picture, random_model


def drawing(model: Model, prompt: str) -> list[int]:
    request = Request(task=Task.DRAW, content=(Text(prompt),), blank=Modality.IMAGE)
    ids: list[int] = model.canvas(request).ids.tolist()
    return ids


def test_a_prompt_gets_its_opening_word_where_it_lacks_it() -> None:
    model = random_model()
    model.config.tasks[Task.DRAW] = model.config.tasks[Task.DRAW].model_copy(update={"opening": "draw"})
    assert drawing(model, "a dog on the grass") == drawing(model, "draw a dog on the grass")
    assert drawing(model, "Draw a dog on the grass") == drawing(model, "draw a dog on the grass")


def test_a_canvas_has_the_picture_first_and_every_place_of_its_blank_masked() -> None:
    model = random_model()
    request = Request(
        task=Task.ANSWER,
        content=(picture(), Text("what is this")),
        blank=Modality.TEXT,
        settings=Settings(length=3),
    )
    canvas = model.canvas(request)
    vocabulary = model.vocabulary
    codes = model.image_codes(picture())
    assert canvas.ids[0] == vocabulary.special["<|begin_of_image|>"]
    assert canvas.ids[1 : 1 + len(codes)].tolist() == [vocabulary.image.start + code for code in codes]
    assert canvas.prefix == len(codes) + 2
    assert canvas.filled.tolist() == [vocabulary.mask] * 3
    assert canvas.ids[canvas.blank.start - 1] == vocabulary.opener(Modality.TEXT)


def test_decoding_commits_each_place_once_and_keeps_it() -> None:
    model = random_model()
    request = Request(task=Task.DRAW, content=(Text("draw a dog"),), blank=Modality.IMAGE)
    decoding = model.start(model.canvas(request), Settings(temperature=1.0, seed=3, guidance_scale=1.0))
    while not decoding.done:
        before = decoding
        [decoding] = model.advance([before])
        kept = ~before.masked
        assert torch.equal(decoding.canvas.filled[kept], before.canvas.filled[kept])
        assert int((before.masked & ~decoding.masked).sum()) == before.steps[before.step].places
    images = model.vocabulary.image
    assert all(token in images for token in decoding.canvas.filled.tolist())


@pytest.mark.parametrize("block", [1, 3, 8, 100])
def test_blocks_are_filled_from_the_left_one_after_the_other(block: int) -> None:
    model = random_model()
    settings = Settings(block_length=block, length=20)
    said = (Text("a dog on the grass"),)
    request = Request(task=Task.SPEAK, content=said, blank=Modality.SPEECH, settings=settings)
    decoding = model.start(model.canvas(request), settings)
    while not decoding.done:
        [decoding] = model.advance([decoding])
        begun = [bool((~decoding.masked[at : at + block]).any()) for at in range(0, 20, block)]
        full = [not bool(decoding.masked[at : at + block].any()) for at in range(0, 20, block)]
        assert all(full[: begun.count(True) - 1]), "a block begins when those before it are full"
        assert not any(begun[begun.count(True) :])
    assert decoding.step == len(decoding.steps) == 20


def test_lengths_are_the_smallest_bucket_that_holds_the_input() -> None:
    task = TaskConfig(lengths=(8, 16, 32), length_offset=2, length_per_unit=1.5)
    assert [task.blank_length(units) for units in (0, 4, 5, 9, 10, 20)] == [8, 8, 16, 16, 32, 32]
    with pytest.raises(InputError, match=r"21 units long.*takes 20 at most"):
        task.blank_length(21)


@pytest.mark.parametrize(("least", "ends"), [(0, True), (1, False)])
def test_a_task_that_must_say_something_never_ends_before_its_first_word(least: int, ends: bool) -> None:
    model = random_model()
    task = model.config.tasks[Task.ANSWER]
    model.config.tasks[Task.ANSWER] = task.model_copy(update={"min_length": least})
    request = Request(task=Task.ANSWER, content=(Text("dog"),), blank=Modality.TEXT)
    decoding = model.start(model.canvas(request), Settings())
    logits = torch.zeros(len(decoding.masked), len(model.vocabulary.columns(Modality.TEXT)))
    logits[:, -1] = 9.0  # the end is by far the likeliest everywhere
    logits[0, -1] = 20.0
    after = after_step(model, decoding, logits)
    while not after.done:
        after = after_step(model, after, logits)
    assert (int(after.canvas.filled[0]) == model.vocabulary.end) is ends


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("ties", [False, True])
def test_at_the_published_vocabulary_a_step_takes_less_than_64_mib_besides_its_model(
    guided: bool, temperature: float, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = random_model().config.transformer.model_copy(update={"vocab_size": 176_264})
    model = random_model(transformer=wide)
    request = Request(
        task=Task.SPEAK,
        content=(Text("what is this " * 30),),
        blank=Modality.SPEECH,
        settings=Settings(
            algorithm="entropy-penalty", guidance_scale=1.0 if guided else 0.0, temperature=temperature
        ),
    )
    decoding = model.start(model.canvas(request), request.settings)
    assert int(decoding.masked.sum()) == 100
    assert (decoding.unconditional is not None) is guided
    if ties:  # so that sorting decides
        head = model.transformer.head
        monkeypatch.setattr(model.transformer, "head", lambda hidden: head(hidden).mul_(8).round_())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        model.advance([decoding])
    taken = [
        (event.start_ns(), event.nbytes())
        for event in watched.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    taken.sort()
    peak = max(accumulate(size for _, size in taken))
    assert 8 * 2**20 < peak < 64 * 2**20

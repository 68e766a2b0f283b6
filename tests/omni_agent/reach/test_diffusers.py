"""The diffusers-style face, by diffusers' own ways."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from omni_agent import (
    Core,
    InputError,
    MissingExtra,
    Modality,
    NotAvailable,
    Request,
    Settings,
    Task,
    Text,
)
from omni_agent.core_model import checkpoints
from omni_agent.reach.diffusers import OmniPipeline, UnmaskingScheduler
from omni_agent.values import Image
from tests.core_model.published_core import published_model
from tests.core_model.random_core import picture, sound


@pytest.fixture(scope="module")
def loaded() -> OmniPipeline:
    return OmniPipeline.from_checkpoint("omni-tiny")


@pytest.fixture
def pipeline(loaded: OmniPipeline) -> OmniPipeline:
    """A pipeline of a test's own, around weights that all share."""
    made = OmniPipeline(loaded.core, loaded.tokenizer, UnmaskingScheduler())
    made.set_progress_bar_config(disable=True)
    return made


async def test_it_makes_what_the_core_makes(pipeline: OmniPipeline) -> None:
    async with Core.load("omni-tiny") as core:
        wanted = await core.draw("draw a cat on the grass")
        drawn = pipeline("draw a cat on the grass").images
        assert isinstance(drawn, list)
        assert np.array_equal(np.asarray(drawn[0]), wanted.array)
        described = pipeline(image=drawn[0], task="describe").texts
        assert described == [await core.describe(Image(drawn[0]))]  # both see pixels, not the tokens behind
        spoken = pipeline("a cat", task="speak").speeches
        assert spoken is not None
        assert np.array_equal(spoken[0].samples, (await core.speak("a cat")).samples)
        assert pipeline(speech=spoken, task="transcribe").texts == [await core.transcribe(spoken[0])]


def test_several_prompts_of_unequal_length_yield_what_each_yields_alone(pipeline: OmniPipeline) -> None:
    prompts = ["draw a cat", "draw three apples in the snow", "draw a dog and a lion on the grass"]
    together = pipeline(prompts, generator=torch.Generator().manual_seed(3), output_type="np").images
    assert isinstance(together, np.ndarray)
    assert together.shape == (3, 64, 64, 3)
    assert 0 <= together.min() < together.max() <= 1
    generator = torch.Generator().manual_seed(3)
    seeds = torch.randint(2**62, (3,), generator=generator).tolist()
    model = pipeline.core.model
    for prompt, seed, given in zip(prompts, seeds, together, strict=True):
        request = Request(task=Task.DRAW, content=(Text(prompt),), blank=Modality.IMAGE)
        decoding = model.start(model.canvas(request), Settings(seed=seed))
        while not decoding.done:
            [decoding] = model.advance([decoding])
        alone = model.decode(model.value(decoding))
        assert np.array_equal(alone.array, np.round(given * 255).astype(np.uint8))


def test_it_saves_and_loads_by_diffusers_own_ways(pipeline: OmniPipeline, tmp_path: Path) -> None:
    pipeline.scheduler = UnmaskingScheduler.from_config(pipeline.scheduler.config, top_k=20)
    pipeline.save_pretrained(tmp_path)
    wanted = pipeline("draw a fox in the snow", output_type="np").images
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "OmniPipeline"
    assert index["core"] == ["omni_agent.reach.diffusers", "CoreModel"]
    assert index["scheduler"] == ["omni_agent.reach.diffusers", "UnmaskingScheduler"]
    assert (tmp_path / "core" / "diffusion_pytorch_model.safetensors").is_file()
    loaded = OmniPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.scheduler.config.top_k == 20
    weights = pipeline.core.model.state_dict()
    assert all(torch.equal(each, weights[name]) for name, each in loaded.core.model.state_dict().items())
    assert np.array_equal(loaded("draw a fox in the snow", output_type="np").images, wanted)
    half = OmniPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.core.model.transformer.lm_head.weight.dtype is torch.bfloat16
    assert half.core.model.eyes.decoder.conv_in.weight.dtype is torch.float32


def test_the_published_core_has_the_same_face(tmp_path: Path) -> None:
    checkpoints.save(published_model(), tmp_path / "published")
    pipeline = OmniPipeline.from_checkpoint(tmp_path / "published")
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(["A dog.", "A dog, and two cats."], num_inference_steps=6).images
    assert isinstance(drawn, list)
    assert [image.size for image in drawn] == [(32, 32)] * 2
    pipeline.save_pretrained(tmp_path / "saved")
    again = OmniPipeline.from_pretrained(tmp_path / "saved")
    again.set_progress_bar_config(disable=True)
    answers = [
        each("What is this?", image=picture().pil, task="answer", num_inference_steps=6).texts
        for each in (pipeline, again)
    ]
    assert answers[0] == answers[1]


def test_the_scheduler_chooses_the_rule_and_is_told_of_every_step(pipeline: OmniPipeline) -> None:
    seen: list[tuple[int, int]] = []

    def look(pipe: OmniPipeline, step: int, timestep: int, state: dict[str, Any]) -> None:
        seen.append((step, int(state["decodings"][0].masked.sum())))

    read = {}
    for algorithm in (None, "maskgit_plus", "entropy"):
        pipeline.scheduler = UnmaskingScheduler(algorithm=algorithm)
        read[algorithm] = pipeline(
            "draw two dogs in the snow", num_inference_steps=8, output_type="np", callback_on_step_end=look
        ).images
    assert [step for step, _ in seen] == [*range(8)] * 3
    assert seen[7][1] == seen[15][1] == seen[23][1] == 0
    assert [masked for _, masked in seen[:8]] == [56, 48, 40, 32, 24, 16, 8, 0]
    assert not np.array_equal(read[None], read["entropy"])
    assert pipeline("draw a cat", return_dict=False, num_inference_steps=2)[0][0].size == (64, 64)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "0 prompts, 0 pictures and 0 sounds were given"),
        ({"prompt": []}, "at least one"),
        ({"prompt": ["a", "b"], "image": [picture()], "task": "answer"}, "2 prompts, 1 pictures"),
        ({"prompt": 7}, "int was given; wanted str"),
        ({"prompt": "a", "task": "sing"}, "task was 'sing'; wanted one of transcribe"),
        ({"prompt": "a", "output_type": "latent"}, "output_type was 'latent'"),
        ({"speech": "a.wav", "task": "transcribe"}, "str was given; wanted Speech"),
        ({"prompt": "a dog", "task": "describe"}, "describe was given Text; it wants Image"),
        ({"prompt": "a dog", "num_inference_steps": 0}, "num_steps was 0"),
        ({"prompt": "a " * 40}, "a text of"),
    ],
)
def test_what_it_cannot_do_is_refused(pipeline: OmniPipeline, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        pipeline(**given)


def test_pictures_come_in_the_forms_diffusers_has_them(pipeline: OmniPipeline) -> None:
    array = picture().array
    forms: list[Any] = [Image(array), PIL.Image.fromarray(array), array, [array], array[None]]
    said = [pipeline("what is this", image=form, task="answer").texts for form in forms]
    assert all(each == said[0] for each in said)
    both = pipeline(["what is this"] * 2, image=np.stack([array, array]), task="answer").texts
    assert both == [said[0][0]] * 2
    assert pipeline(speech=[sound()], task="transcribe").texts is not None


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "omni_agent.reach.diffusers")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"omni-agent-diffusion\[diffusers\]"):
        importlib.import_module("omni_agent.reach.diffusers")


def test_what_needs_parts_to_take_turns_says_that_there_is_one(pipeline: OmniPipeline) -> None:
    for offload in (pipeline.enable_model_cpu_offload, pipeline.enable_sequential_cpu_offload):
        with pytest.raises(NotAvailable, match="has one model"):
            offload()


def test_a_step_is_for_a_sample_that_is_there(pipeline: OmniPipeline) -> None:
    model = pipeline.core.model
    request = Request(task=Task.ANSWER, content=(Text("what is this"),), blank=Modality.TEXT)
    decoding = model.start(model.canvas(request), Settings())
    with pytest.raises(InputError, match="the step 3 was given; the sample is at 0"):
        pipeline.scheduler.step(torch.zeros(1), 3, decoding, model=model)


def test_after_a_cast_pictures_are_looked_at_all_the_same(tmp_path: Path) -> None:
    cast = OmniPipeline.from_checkpoint("omni-tiny").to(torch.bfloat16)
    cast.set_progress_bar_config(disable=True)
    assert cast(image=picture(), task="describe").texts is not None

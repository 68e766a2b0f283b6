"""Parts become a checkpoint, and a checkpoint becomes its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from omni_agent.core_model.checkpoints import load, save
from omni_agent.core_model.training.assemble import assemble, mix, take_apart
from omni_agent.errors import CheckpointError
from tests.core_model.random_core import random_model


def test_a_checkpoint_taken_apart_and_put_together_is_the_same(tmp_path: Path) -> None:
    model = random_model()
    save(model, tmp_path / "first")
    take_apart(tmp_path / "first", tmp_path / "parts")
    codec, table = (
        load_file(tmp_path / "parts" / f"speech_{name}.safetensors") for name in ("codec", "table")
    )
    assert table.keys() == {name for name in codec if not name.startswith("in_context.")}
    assemble(tmp_path / "parts", tmp_path / "second", model.config, model.text_tokenizer)
    first, second = load(tmp_path / "first"), load(tmp_path / "second")
    assert first.fingerprint == second.fingerprint
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)


def test_missing_parts_and_wrong_shapes_are_listed_at_once(tmp_path: Path) -> None:
    model = random_model()
    with pytest.raises(CheckpointError, match=r"lacks core\.safetensors, image_tokenizer\.safetensors"):
        assemble(tmp_path, tmp_path / "out", model.config, model.text_tokenizer)
    save(model, tmp_path / "first")
    take_apart(tmp_path / "first", tmp_path)
    ears = load_file(tmp_path / "speech_frontend.safetensors")
    save_file(
        {"shift": ears["shift"][:3].clone(), "more": ears["scale"]}, tmp_path / "speech_frontend.safetensors"
    )
    with pytest.raises(CheckpointError) as caught:
        assemble(tmp_path, tmp_path / "out", model.config, model.text_tokenizer)
    for fault in (
        "speech_frontend.scale is missing",
        "speech_frontend.more is unexpected",
        "speech_frontend.shift is [3]",
    ):
        assert fault in str(caught.value)


def test_a_mix_has_the_means_of_the_weights_of_two_cores(tmp_path: Path) -> None:
    model = random_model()
    save(model, tmp_path / "first")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict({name: 3 * value for name, value in weights.items()})
    save(model, tmp_path / "second")
    mix(tmp_path / "first", tmp_path / "second", tmp_path / "mixed")
    mixed = load(tmp_path / "mixed").state_dict()
    for name, value in weights.items():
        torch.testing.assert_close(mixed[name], 2 * value, rtol=2e-3, atol=1e-4)
    larger = model.config.model_copy(update={"max_text_tokens": 1000})
    model.config = larger
    save(model, tmp_path / "other")
    with pytest.raises(CheckpointError, match="different configurations; wanted two of one core"):
        mix(tmp_path / "first", tmp_path / "other", tmp_path / "out")

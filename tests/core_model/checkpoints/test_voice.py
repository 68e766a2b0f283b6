"""The published speech codec's files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from omni_agent import CheckpointError, Core, NotAvailable, Settings
from omni_agent.core_model import checkpoints
from omni_agent.core_model.checkpoints.voice import read_pickle
from tests.core_model.published_core import VOICE, published_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a codec that the tests of this file only read."""
    model = published_model(voice=True)
    begin = model.vocabulary.speech.start
    model.transformer.lm_head.weight[begin : begin + 8] *= 3  # so that something is said
    folder = tmp_path_factory.mktemp("voice") / "small"
    checkpoints.save(model, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A folder of a test's own."""
    return Path(shutil.copytree(saved, tmp_path / "small"))


def said_of(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_codec_goes_round_in_its_published_files(saved: Path) -> None:
    there = {
        str(path.relative_to(saved)) for path in saved.rglob("*") if "glm" in str(path) and path.is_file()
    }
    assert there == {
        "glm-4-voice-tokenizer/config.json",
        "glm-4-voice-tokenizer/model.safetensors",
        "glm-4-voice-decoder/config.json",
        "glm-4-voice-decoder/flow.pt",
        "glm-4-voice-decoder/hift.pt",
    }
    wanted, loaded = published_model(voice=True), checkpoints.load(saved)
    assert loaded.config.speech_codec == wanted.config.speech_codec
    given = loaded.state_dict()
    for name, each in wanted.state_dict().items():
        if name.startswith("speech_codec."):
            assert torch.equal(given[name], each), name
            assert given[name].dtype is torch.float32


def test_without_a_word_about_them_sizes_are_those_of_the_weights(saved: Path, folder: Path) -> None:
    (folder / "glm-4-voice-decoder" / "config.json").unlink()
    assert checkpoints.load(folder).config.speech_codec == checkpoints.load(saved).config.speech_codec


async def test_a_published_core_speaks(saved: Path) -> None:
    async with Core.load(saved, dtype="bfloat16") as core:
        spoken = await core.speak("A dog.", settings=Settings(num_steps=5))
        assert spoken.rate == 22_050
        assert spoken.tokens is not None
        assert spoken.seconds == pytest.approx(0.08 * len(spoken.tokens.ids), abs=0.02)
        assert isinstance(await core.transcribe(spoken, settings=Settings(num_steps=5)), str)


@pytest.mark.parametrize(
    "gone",
    ["glm-4-voice-tokenizer/model.safetensors", "glm-4-voice-decoder/flow.pt", "glm-4-voice-decoder/hift.pt"],
)
async def test_without_its_codec_a_core_loads_and_says_nothing(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    async with Core.load(folder) as core:
        assert isinstance(await core.answer("What?", settings=Settings(num_steps=4)), str)
        with pytest.raises(NotAvailable, match="loaded without its speech codec"):
            await core.speak("A dog.", settings=Settings(num_steps=5))


@pytest.mark.parametrize("name", ["flow.pt", "hift.pt"])
@pytest.mark.parametrize("content", [b"", b"nothing", b"\x80\x04K\x01."])
def test_a_damaged_pickle_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / "glm-4-voice-decoder" / name).write_bytes(content)
    assert name in said_of(folder)


def test_every_wrong_weight_of_the_codec_is_in_the_one_error(folder: Path) -> None:
    flow = folder / "glm-4-voice-decoder" / "flow.pt"
    tensors = {name: each.clone() for name, each in read_pickle(flow).items()}
    del tensors["encoder_proj.bias"]
    tensors["stranger"] = torch.zeros(2)
    torch.save(tensors, flow)
    tokenizer = folder / "glm-4-voice-tokenizer" / "model.safetensors"
    weights = load_file(tokenizer)
    save_file(weights | {"layers.1.fc2.bias": torch.zeros(3)}, tokenizer)
    said = said_of(folder)
    for part in (
        "speech_codec.flow.encoder_proj.bias is missing",
        "speech_codec.flow.stranger is unexpected",
        "speech_codec.tokenizer.layers.1.fc2.bias is [3] and should be [64]",
    ):
        assert part in said


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.touched}",)


def test_a_pickle_runs_nothing(folder: Path, tmp_path: Path) -> None:
    for form in (True, False):
        torch.save(
            {"a": Evil(tmp_path / "touched")},
            folder / "glm-4-voice-decoder" / "flow.pt",
            _use_new_zipfile_serialization=form,
        )
        assert "flow.pt" in said_of(folder)
    assert not (tmp_path / "touched").exists()


def test_the_older_form_of_pickles_is_read_too(tmp_path: Path) -> None:
    wanted = {"a": torch.arange(4.0), "b": torch.ones(2, 2)}
    torch.save(wanted, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    read = read_pickle(tmp_path / "old.pt")
    assert all(np.array_equal(read[name], each) for name, each in wanted.items())


def test_a_codec_of_other_codes_than_the_tokens_is_an_error(folder: Path, tmp_path: Path) -> None:
    (folder / "glm-4-voice-decoder" / "config.json").unlink()
    flow = folder / "glm-4-voice-decoder" / "flow.pt"
    tensors = {name: each.clone() for name, each in read_pickle(flow).items()}
    tensors["input_embedding.weight"] = torch.zeros(16, 32)
    torch.save(tensors, flow)
    assert "its tokenizer has 32 speech codes; its speech codec makes 32 and reads 16" in said_of(folder)


def test_sizes_that_no_shape_says_go_round_too(tmp_path: Path) -> None:
    changed = VOICE.model_copy(
        update={
            "flow": VOICE.flow.model_copy(update={"unet_heads": 2, "unet_head_size": 32, "block_length": 5}),
            "num_steps": 4,
            "guidance_scale": 0.2,
            "speaker": (0.3,) * 192,
        }
    )
    model = published_model(voice=True, speech_codec=changed)
    checkpoints.save(model, tmp_path / "other")
    loaded = checkpoints.load(tmp_path / "other")
    assert loaded.config.speech_codec == changed
    assert np.array_equal(loaded.speech_codec.decode([1, 2, 3]), model.speech_codec.decode([1, 2, 3]))  # type: ignore[union-attr]


def test_what_is_saved_over_leaves_nothing_of_its_parts(folder: Path) -> None:
    (folder / "glm-4-voice-decoder" / "notes.txt").write_text("mine")
    checkpoints.save(published_model(), folder)
    assert checkpoints.load(folder).speech_codec is None
    checkpoints.save(published_model(media=False), folder)
    assert checkpoints.load(folder).speech_frontend is None
    left = {str(path.relative_to(folder)) for path in folder.rglob("*/*")}
    assert left == {"glm-4-voice-decoder/notes.txt"}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("encoder_attention_heads", "x"),
        ("encoder_attention_heads", None),
        ("quantize_causal_block_size", 0),
        ("pooling_kernel_size", -1),
    ],
)
def test_a_codec_of_impossible_sizes_is_an_error(folder: Path, name: str, wrong: Any) -> None:
    sizes = folder / "glm-4-voice-tokenizer" / "config.json"
    (folder / "glm-4-voice-decoder" / "config.json").unlink(missing_ok=True)
    sizes.write_text(json.dumps(json.loads(sizes.read_text()) | {name: wrong}))
    assert "say no sizes" in said_of(folder)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_embedding.weight": torch.zeros(3)},
        {"input_embedding.weight": torch.zeros(0, 4)},
        {3: torch.zeros(1)},
        {"encoder_proj.bias": torch.zeros(80, dtype=torch.int8)},
        {"encoder_proj.bias": torch.zeros(80).to_sparse()},
    ],
)
def test_weights_that_cannot_be_are_an_error(folder: Path, wrong: dict[Any, torch.Tensor]) -> None:
    flow = folder / "glm-4-voice-decoder" / "flow.pt"
    (folder / "glm-4-voice-decoder" / "config.json").unlink(missing_ok=True)
    tensors: dict[Any, torch.Tensor] = {name: each.clone() for name, each in read_pickle(flow).items()}
    torch.save(tensors | wrong, flow)
    said_of(folder)

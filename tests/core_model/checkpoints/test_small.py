from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from omni_agent.core_model import checkpoints
from omni_agent.core_model.engine import Engine
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.text import fit
from omni_agent.errors import CheckpointError
from tests.core_model.random_core import one_of_each, random_model

FILES = ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the tests of this file only read."""
    folder = tmp_path_factory.mktemp("checkpoint") / "random"
    checkpoints.save(random_model(), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A folder of a test's own."""
    for name in FILES:
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    return tmp_path


def yields(model: Model) -> list[Any]:
    engine = Engine(model)
    try:
        return [engine.submit(request).result(20) for request in one_of_each()]
    finally:
        engine.close()


def test_what_is_loaded_is_what_was_saved_rounded_to_float16(saved: Path) -> None:
    wanted, loaded = random_model(), checkpoints.load(saved)
    assert loaded.config == wanted.config
    for name, tensor in wanted.state_dict().items():
        given = loaded.state_dict()[name]
        assert given.dtype is tensor.dtype, name
        rounded = tensor.half().to(tensor.dtype) if tensor.is_floating_point() else tensor
        assert torch.equal(given, rounded), name
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_files_are_the_three_and_the_weights_are_float16(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == FILES
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1
    with safe_open(saved / "model.safetensors", framework="pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
    assert kinds <= {"F16", "I64"}
    assert "F16" in kinds


def test_saved_again_nothing_changes_any_more(saved: Path, tmp_path: Path) -> None:
    checkpoints.save(checkpoints.load(saved), tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()
    once, twice = checkpoints.load(saved), checkpoints.load(tmp_path / "again")
    assert once.fingerprint == twice.fingerprint
    assert yields(once) == yields(twice)


def test_the_fingerprint_tells_weights_configurations_and_tokenizers_apart(saved: Path) -> None:
    same, *others = (random_model(), random_model(1), random_model(name="another"), random_model())
    others[-1].text_tokenizer = fit(("other", "words"))
    prints = {each.fingerprint for each in (same, *others)}
    assert len(prints) == 4
    assert random_model().fingerprint == same.fingerprint
    assert checkpoints.load(saved).fingerprint not in prints, "what is loaded is rounded"


def test_saving_over_an_older_one_leaves_the_newer_one_whole(folder: Path) -> None:
    checkpoints.save(random_model(5), folder)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    weights = random_model(5).transformer.state_dict()
    name = next(iter(weights))
    assert torch.equal(checkpoints.load(folder).transformer.state_dict()[name], weights[name].half().float())


def test_every_fault_of_the_weights_is_in_one_error(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(name for name, tensor in tensors.items() if tensor.dim() == 2)
    gone, bent, *_ = names
    del tensors[gone]
    rows, columns = tensors[bent].shape
    tensors[bent] = torch.zeros(rows + 1, columns)
    tensors["a.stranger"] = torch.zeros(1)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(folder)
    said = str(caught.value)
    assert f"{gone} is missing" in said
    assert "a.stranger is unexpected" in said
    assert f"{bent} is [{rows + 1}, {columns}] and should be [{rows}, {columns}]" in said
    assert str(folder / "model.safetensors") in said


def spoilt(name: str, spoil: Callable[[bytes], bytes]) -> Any:
    return pytest.param(name, spoil, id=f"{name}-{spoil.__name__}")


def empty(data: bytes) -> bytes:
    return b""


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def text(data: bytes) -> bytes:
    return b"this is not what you are looking for"


def a_list(data: bytes) -> bytes:
    return b"[1, 2]"


def noise(data: bytes) -> bytes:
    return random.Random(0).randbytes(len(data))


def huge_header(data: bytes) -> bytes:
    return b"\xff" * 8 + data[8:]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [spoilt(name, spoil) for name in FILES for spoil in (empty, cut, text, a_list, noise)]
    + [spoilt("model.safetensors", huge_header)],
)
def test_a_damaged_file_is_named(folder: Path, name: str, spoil: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(spoil((folder / name).read_bytes()))
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("transformer", {}),
        ("text_tokens", "many"),
        ("tasks", {"sing": {"lengths": [1]}}),
        ("speech_encoder", {"ctc_size": 3, "ctc_tokens": [1]}),
        ("new", 1),
    ],
)
def test_a_configuration_that_is_none_is_an_error(folder: Path, field: str, value: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[field] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        checkpoints.load(folder)
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_size_is_an_error(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_tokens"] -= 1
    config["transformer"]["vocab_size"] -= 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json.*says {config['text_tokens']}"):
        checkpoints.load(folder)


@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf")])
def test_what_float16_cannot_hold_is_not_saved(tmp_path: Path, value: float) -> None:
    model = random_model()
    name, parameter = next(iter(model.named_parameters()))
    parameter.view(-1)[0] = value
    with pytest.raises(CheckpointError, match=name):
        checkpoints.save(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("absent", FILES)
def test_a_folder_that_lacks_a_file_is_no_checkpoint(folder: Path, absent: str) -> None:
    (folder / absent).unlink()
    with pytest.raises(CheckpointError, match=rf"lacks {absent}"):
        checkpoints.find(folder)
    with pytest.raises(CheckpointError, match=absent):
        checkpoints.load(folder)


@pytest.mark.parametrize("given", ["omni-huge", "", "a\0b", "x" * 5000, None, 7, b"omni-tiny", "/", "~"])
def test_what_is_no_checkpoint_is_an_error_that_says_what_would_be(given: Any) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        checkpoints.find(given)


def test_a_path_may_be_given_as_text_or_path(saved: Path) -> None:
    assert checkpoints.find(saved) == checkpoints.find(str(saved)) == saved


def test_loading_touches_no_settings_of_torch(saved: Path) -> None:
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    state = torch.random.get_rng_state()
    checkpoints.load(saved)
    assert (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()) == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_packaged_checkpoint_is_small() -> None:
    model = checkpoints.load(checkpoints.find("omni-tiny"))
    assert model.config.name == "omni-tiny"
    assert sum(path.stat().st_size for path in checkpoints.find("omni-tiny").iterdir()) < 40e6


def test_a_speech_encoder_that_spells_what_is_no_text_is_an_error(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["speech_encoder"]["ctc_tokens"][0] = config["text_tokens"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"ctc_tokens name \d+; wanted tokens of text"):
        checkpoints.load(folder)

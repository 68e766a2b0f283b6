"""The core computes what the published code computes, and a core that does not is told so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from omni_agent import InputError
from omni_agent.core_model.config import ImageTokenizerConfig
from omni_agent.core_model.parity import check_folder
from omni_agent.core_model.tokenizers.image import ImageTokenizer

GOLDEN = Path(__file__).parents[2] / "golden" / "core"
CASES = 27


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def faults_of(folder: Path) -> str:
    """What is said of the cases of a folder."""
    return "; ".join(fault for verdict in check_folder(folder) for fault in verdict.faults)


def one_case(folder: Path, name: str = "forward_text") -> Path:
    """A folder with one case, to be changed."""
    folder.mkdir(exist_ok=True)
    for file in ("cases.json", f"{name}.npz"):
        shutil.copy(GOLDEN / file, folder / file)
    return folder / f"{name}.npz"


@pytest.mark.parametrize("number", [1, 2])
def test_every_golden_case_is_equal(number: int, tmp_path: Path, threads: None) -> None:
    torch.set_num_threads(number)
    verdicts = list(check_folder(GOLDEN.parent, tmp_path))
    assert [(verdict.case, verdict.faults) for verdict in verdicts if verdict.faults] == []
    assert len(verdicts) == CASES
    assert sum(verdict.steps for verdict in verdicts) == 288
    for path in GOLDEN.parent.rglob("*.npz"):
        with np.load(path) as wanted, np.load(tmp_path / path.relative_to(GOLDEN.parent)) as made:
            assert made.files == wanted.files
            for key in wanted.files:
                assert made[key].shape == wanted[key].shape
                if path.parent == GOLDEN:
                    np.testing.assert_allclose(made[key], wanted[key], atol=1e-4, rtol=0)


def test_a_listing_of_weights_that_are_not_the_parts_is_told(tmp_path: Path) -> None:
    one_case(tmp_path)
    listing = json.loads((GOLDEN.parent / "speech" / "hift_full_state_dict.json").read_text())
    listing["conv_post.bias"] = [19]
    del listing["ups.0.bias"]
    (tmp_path / "hift_state_dict.json").write_text(json.dumps(listing))
    (tmp_path / "other_state_dict.json").write_text("{}")
    by_name = {verdict.case: verdict.faults for verdict in check_folder(tmp_path)}
    assert by_name["hift_state_dict"] == (
        "ups.0.bias is missing",
        "conv_post.bias is [19] and should be [18]",
    )
    assert "no part of the published models is called that" in by_name["other_state_dict"][0]
    (tmp_path / "other_state_dict.json").write_text("[1]")
    assert "names and shapes" in faults_of(tmp_path)


def test_a_case_is_known_by_what_it_holds_not_by_its_name(tmp_path: Path) -> None:
    settings = json.loads((GOLDEN / "cases.json").read_text())
    names = sorted(path.stem for path in GOLDEN.glob("*.npz") if path.stem != "magvit")
    renamed = {"config": settings["config"]}
    for name, other in zip(names, names[5:] + names[:5], strict=True):
        shutil.copy(GOLDEN / f"{name}.npz", tmp_path / f"{other}.npz")
        if name in settings:
            renamed[other] = settings[name]
    (tmp_path / "cases.json").write_text(json.dumps(renamed))
    assert all(verdict.passed for verdict in check_folder(tmp_path))


def test_what_differs_is_said(tmp_path: Path) -> None:
    for name, key, change in (("forward_text", "logits", 3e-4), ("decode_maskgit_plus", "history", 1)):
        path = one_case(tmp_path / name, name)
        with np.load(path) as file:
            arrays = dict(file)
        arrays[key][1, -1] += np.asarray(change, arrays[key].dtype)
        np.savez(path, **arrays)
        (verdict,) = check_folder(tmp_path / name)
        assert not verdict.passed
        assert verdict.difference >= 0.9 * change
        assert ("first is step 2" if key == "history" else "logits differs by 0.0003") in verdict.faults[0]


def test_arrays_of_no_kind_are_a_fault_and_not_passed_over(tmp_path: Path) -> None:
    np.savez(one_case(tmp_path), something=np.zeros(3))
    (verdict,) = check_folder(tmp_path)
    assert verdict.faults == ("no kind of case has these arrays: something",)


@pytest.mark.parametrize("name", ["forward_text", "decode_maskgit_plus", "image_pixels"])
def test_an_array_that_nothing_computes_is_a_fault_and_is_not_handed_back(name: str, tmp_path: Path) -> None:
    path = one_case(tmp_path / "golden", name)
    with np.load(path) as file:
        np.savez(path, **dict(file), more=np.zeros(3))
    (tmp_path / "out").mkdir()
    (verdict,) = check_folder(tmp_path / "golden", tmp_path / "out")
    assert verdict.faults == ("nothing computes more",)
    with np.load(tmp_path / "out" / path.name) as made:
        assert "more" not in made.files


def test_a_number_that_is_none_is_a_fault(tmp_path: Path) -> None:
    path = one_case(tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["logits"][0, 0, 0] = np.nan
    np.savez(path, **arrays)
    (verdict,) = check_folder(tmp_path)
    assert not verdict.passed
    assert np.isnan(verdict.difference)


def test_what_was_computed_never_goes_over_what_it_is_compared_with(tmp_path: Path) -> None:
    one_case(tmp_path)
    with pytest.raises(InputError, match="give another folder"):
        check_folder(tmp_path, tmp_path / "." / "sub" / "..")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 0.5}, "was decoded by chance"),
        ({"alg": "origin"}, "was decoded by chance"),
        ({"steps": "a"}, "cannot be computed from its settings"),
        ({"config": {"mask": "a"}}, "cannot be computed from its settings"),
        ({"cfg": 1.0}, "lacks the setting 'uncond_ids'"),
        ({"config": {"mask": 1}}, "lacks the size 'vocab' in the config of the case 'decode_entropy'"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    one_case(tmp_path, "decode_entropy")
    settings = json.loads((GOLDEN / "cases.json").read_text())
    settings["decode_entropy"] = {
        name: value for name, value in settings["decode_entropy"].items() if name != "uncond_ids"
    } | change
    (tmp_path / "cases.json").write_text(json.dumps(settings))
    assert said in faults_of(tmp_path)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        check_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no \*\.npz files"):
        check_folder(tmp_path)
    path = one_case(tmp_path)
    for content in (b"no arrays", b"", path.read_bytes()[:2000]):
        path.write_bytes(content)
        assert "cannot be read as arrays" in faults_of(tmp_path)
    one_case(tmp_path)
    (tmp_path / "cases.json").unlink()
    assert "lacks the setting 'config'" in faults_of(tmp_path)
    (tmp_path / "cases.json").write_text("{")
    assert "cannot be read as JSON" in faults_of(tmp_path)
    (tmp_path / "cases.json").write_text("{}")
    assert "lacks the setting 'config' for the case 'forward_text'" in faults_of(tmp_path)
    with np.load(path) as file:
        np.savez(path, **dict(file), frames=np.zeros((3, 560), np.float32))
    shutil.copy(GOLDEN / "cases.json", tmp_path)
    assert "'forward_text' lacks the array 'audio_start'" in faults_of(tmp_path)


def test_the_image_tokenizer_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        ours = {name: list(p.shape) for name, p in ImageTokenizer(ImageTokenizerConfig()).named_parameters()}
    published = json.loads((GOLDEN / "magvit_state_dict.json").read_text())
    assert ours == {name: shape for name, shape in published.items() if not name.startswith("quantize.")}

"""A run of the image tokenizer that is killed ends with the weights of one that was left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omni_agent.core_model.config import ImageTokenizerConfig
from omni_agent.core_model.training.image_tokenizer import train_image_tokenizer
from omni_agent.core_model.world.splits import CHOSEN
from tests.core_model.training.killing import killed_under_way

CRITIC_STEPS, STEPS = 10, 30
NARROW = ImageTokenizerConfig(
    bits=4,
    patch_size=2,
    channels=(8, 8, 8),
    decoder_channels=(8, 8, 8),
    encoder_blocks=(1, 1, 1),
    decoder_blocks=(1, 1, 1),
    num_groups=4,
    image_size=64,
)


def small_run(folder: Path) -> None:
    """A few steps of the critic, then of a narrow tokenizer; kept after every step."""
    torch.set_num_threads(1)
    train_image_tokenizer(
        folder,
        config=NARROW,
        steps=STEPS,
        batch_size=2,
        critic_steps=CRITIC_STEPS,
        save_seconds=0.0,
        report=lambda line: None,
    )


def reached(folder: Path) -> int:
    """Steps so far, the critic's and the tokenizer's."""
    if (folder / "image_tokenizer_state.pt").exists():
        return CRITIC_STEPS + _step(folder / "image_tokenizer_state.pt")
    if (folder / "critic.safetensors").exists():
        return CRITIC_STEPS
    return _step(folder / "critic_state.pt") if (folder / "critic_state.pt").exists() else 0


def _step(file: Path) -> int:
    return int(torch.load(file, weights_only=True)["facts"]["step"])


def test_repainting_leaves_the_codes_what_they_are(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    small_run(first)
    (first / "image_tokenizer_state.pt").unlink()
    train_image_tokenizer(
        again,
        config=NARROW,
        steps=5,
        batch_size=2,
        critic_steps=1,
        splits=CHOSEN,
        repaint=first / "image_tokenizer.safetensors",
        report=lambda line: None,
    )
    before, after = (load_file(folder / "image_tokenizer.safetensors") for folder in (first, again))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("encoder.")} <= same
    assert same < before.keys()


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_five_times_ends_as_one_left_alone(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
    threads = torch.get_num_threads()
    small_run(alone)
    torch.set_num_threads(threads)
    kills = killed_under_way(small_run, killed, reached, apart=4)
    assert kills[0] < CRITIC_STEPS < kills[-1] < CRITIC_STEPS + STEPS, f"killed under way: at {kills}"
    for name in ("critic", "image_tokenizer"):
        wanted, given = (load_file(folder / f"{name}.safetensors") for folder in (alone, killed))
        assert wanted.keys() == given.keys()
        assert all(torch.equal(wanted[key], given[key]) for key in wanted), name

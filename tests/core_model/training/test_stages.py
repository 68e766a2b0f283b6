"""The stages fit together: each finds what the one before it left. How well they learn is not tested here."""

from __future__ import annotations

from pathlib import Path

import pytest

from omni_agent import CheckpointError, InputError
from omni_agent.cli import main
from omni_agent.core_model.training import stages
from omni_agent.core_model.training.core import CoreTraining
from omni_agent.core_model.training.speech_encoder import load_listener
from omni_agent.core_model.training.tiny import said_words


@pytest.mark.timeout(300)
def test_the_stages_of_pictures_lead_to_a_core(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    stages.make_image_tokenizer(tmp_path, steps=1, critic_steps=1, report=lambda line: None)
    stages.make_pools(tmp_path, pictures=64, crowds=64, strangers=64, drawings=64, report=said.append)
    assert said == ["pictures: 64", "crowds: 64", "strangers: 64", "drawings: 64"]
    stages.make_pools(tmp_path, pictures=64, crowds=64, strangers=64, drawings=64, report=said.append)
    assert [line.split(".npz ")[-1][:5] for line in said[4:]] == ["stays"] * 4, "it is not made again"
    stages.train_core_for(tmp_path, CoreTraining(minutes=0.02, workers=2), report=said.append)
    assert (tmp_path / "core.safetensors").exists()
    with pytest.raises(CheckpointError, match=r"lacks speech_codec\.safetensors"):
        stages.make_checkpoint(tmp_path, tmp_path / "checkpoint")
    assert main(["train", "core", str(tmp_path), "--minutes", "0.01"]) == 0, "it goes on"
    (tmp_path / "core_state.pt").unlink()
    start = tmp_path / "core_learner.safetensors"
    brief = CoreTraining(minutes=0.01)
    stages.train_core_for(tmp_path, brief, start_from=start, report=said.append)
    with pytest.raises(CheckpointError, match=r"does not hold a learner's weights: .*bits_in is missing"):
        stages.train_core_for(tmp_path, brief, start_from=tmp_path / "core.safetensors", report=said.append)


def test_a_stage_says_what_to_run_before_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="omni-agent train pools"):
        stages.train_core_for(tmp_path, CoreTraining(minutes=1), report=print)
    with pytest.raises(InputError, match="omni-agent train image-tokenizer"):
        stages.make_pools(tmp_path, report=print)
    with pytest.raises(InputError, match="omni-agent train speech-corpus"):
        stages.make_speech_codec(tmp_path, report=print)
    with pytest.raises(InputError, match="decay"):
        stages.train_core_for(tmp_path, CoreTraining(minutes=1, decay_minutes=2), report=print)
    with pytest.raises(InputError, match="given 2 minutes of decay in 10 steps; wanted decay_steps"):
        stages.train_core_for(tmp_path, CoreTraining(steps=10, decay_minutes=2), report=print)
    with pytest.raises(InputError, match="the device 'warp' cannot be used here"):
        stages.train_core_for(tmp_path, CoreTraining(device="warp"), report=print)
    (tmp_path / "spoken.npz").touch()
    with pytest.raises(InputError, match=r"spoken\.npz has codes of sentences whose sound is not there"):
        stages.make_speech_codec(tmp_path, report=print)
    with pytest.raises(InputError, match=r"speech_encoder\.safetensors"):
        load_listener(tmp_path, said_words())

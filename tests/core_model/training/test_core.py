"""A run of the core that is killed ends with the weights of one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omni_agent.core_model.training.core import CoreTraining, train_core
from omni_agent.core_model.training.tiny import tiny_config, tiny_tokenizer
from tests.core_model.training.killing import killed_under_way

ROOT = Path(__file__).parents[3]
STEPS = 40


def small_run(folder: Path, report: Callable[[str], None] = lambda line: None, steps: int = STEPS) -> None:
    """Forty steps of a core of one narrow layer and on tasks without pools, kept after every step."""
    tokenizer = tiny_tokenizer()
    config = tiny_config(tokenizer)
    narrow = config.transformer.model_copy(
        update={"hidden_size": 32, "num_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32}
    )
    training = CoreTraining(
        steps=steps, decay_steps=15, save_seconds=0.0, rows=2, warmup_steps=5, shares={"sum": 1.0}
    )
    train_core(
        folder,
        config.model_copy(update={"transformer": narrow}),
        tokenizer,
        training,
        report=report,
    )


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_five_times_ends_as_one_left_alone(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    killed.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small_run(alone)
    torch.set_num_threads(threads)
    reached = killed_under_way(small_run, killed, _step)
    assert 3 <= reached[0] < reached[-1] < STEPS, f"killed under way: at {reached}"
    for name in ("core", "core_learner", "core_constant"):
        wanted, given = (load_file(folder / f"{name}.safetensors") for folder in (alone, killed))
        assert wanted.keys() == given.keys()
        assert all(torch.equal(wanted[key], given[key]) for key in wanted), name


def test_the_workers_of_a_run_that_is_killed_end_with_it(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path;"
        f"from {__name__} import small_run; small_run(Path({str(tmp_path)!r}), steps=100_000)"
    )
    # a session of its own, so that what it leaves is known from everything else
    command = [sys.executable, "-c", program]
    run = subprocess.Popen(command, start_new_session=True, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        while _step(tmp_path) < 3:
            assert run.poll() is None, run.stderr and run.stderr.read()
            time.sleep(0.01)
        assert len(_running_in(run.pid)) > 1
        run.kill()
        run.wait()
        until = time.monotonic() + 20
        while _running_in(run.pid):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def _running_in(session: int) -> list[int]:
    """The processes of a session, but for those that ended and are only to be asked how."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == session:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [] if state == "Z" else [int(entry.name)]
        except (ProcessLookupError, FileNotFoundError):
            pass  # gone while it was looked at
    return found


@pytest.mark.parametrize("stopped", [20, 25, 26, 33])
def test_what_is_kept_from_before_the_decay_is_from_before_it(tmp_path: Path, stopped: int) -> None:
    alone, parted = tmp_path / "alone", tmp_path / "parted"
    alone.mkdir()
    parted.mkdir()
    small_run(alone)

    def stop(line: str) -> None:
        """Where a state was just kept; the line after it is what one look gets right."""
        if _step(parted) == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_run(parted, report=stop)
    small_run(parted)
    wanted, given = (load_file(folder / "core_constant.safetensors") for folder in (alone, parted))
    assert all(torch.equal(wanted[key], given[key]) for key in wanted)


def _step(folder: Path) -> int:
    file = folder / "core_state.pt"
    return int(torch.load(file, weights_only=True)["facts"]["step"]) if file.exists() else 0

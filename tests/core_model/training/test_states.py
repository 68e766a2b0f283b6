"""The file that a training goes on from: all of it, or an error that says what to do."""

from pathlib import Path

import pytest
import torch
from torch import nn

from omni_agent.core_model.training.states import State
from omni_agent.errors import CheckpointError


def _learning(path: Path, size: int = 3, seconds: float = 60.0) -> tuple[nn.Linear, State]:
    torch.manual_seed(size)
    learner = nn.Linear(size, size)
    optimiser = torch.optim.AdamW(learner.parameters())
    return learner, State(path, {"learner": learner, "optimiser": optimiser}, seconds=seconds)


def test_a_state_is_restored_with_its_step(tmp_path: Path) -> None:
    learner, state = _learning(tmp_path / "a.state")
    with torch.no_grad():
        learner.weight.fill_(0.25)
    state.keep(7)
    other, again = _learning(tmp_path / "a.state")
    assert again.restore() == 7
    assert torch.equal(other.weight, learner.weight)
    assert [each.name for each in tmp_path.iterdir()] == ["a.state"]


def test_where_nothing_was_kept_a_run_begins_at_the_first_step(tmp_path: Path) -> None:
    learner, state = _learning(tmp_path / "a.state")
    before = learner.weight.clone()
    assert state.restore() == 0
    assert torch.equal(learner.weight, before)
    state.remove()


def test_it_is_due_again_after_so_many_seconds(tmp_path: Path) -> None:
    assert _learning(tmp_path / "a.state", seconds=-1.0)[1].due
    _, state = _learning(tmp_path / "a.state", seconds=3600.0)
    assert not state.due


@pytest.mark.parametrize("how", ["another size", "truncated", "empty", "no state"])
def test_what_is_no_state_of_the_training_is_told_with_its_mend(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.state"
    _learning(path, size=4 if how == "another size" else 3)[1].keep(5)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:400])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no state":
        torch.save([1, 2, 3], path)
    _, state = _learning(path)
    with pytest.raises(CheckpointError, match=r"a\.state, which is no state of this training \(.+remove it"):
        state.restore()

"""The file that a training goes on from: all of it, or an error that says what to do."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from omni_agent.core_model.training import states
from omni_agent.core_model.training.states import State
from omni_agent.errors import InputError


class Learning(NamedTuple):
    learner: nn.Linear
    optimiser: torch.optim.AdamW
    state: State

    def step(self) -> None:
        """So that the optimiser has something to keep."""
        self.learner(torch.ones(self.learner.in_features)).sum().backward()
        self.optimiser.step()


def learning(path: Path, size: int = 3, seconds: float = 60.0) -> Learning:
    torch.manual_seed(size)
    learner = nn.Linear(size, size)
    optimiser = torch.optim.AdamW(learner.parameters())
    state = State(path, {"learner": learner, "optimiser": optimiser}, seconds=seconds)
    return Learning(learner, optimiser, state)


def test_parts_and_facts_are_restored(tmp_path: Path) -> None:
    kept = learning(tmp_path / "a.state")
    kept.step()
    kept.state.keep(step=7, decaying=True)
    other = learning(tmp_path / "a.state")
    assert other.state.restore() == {"step": 7, "decaying": True}
    assert torch.equal(other.learner.weight, kept.learner.weight)
    moments, wanted = (
        each.optimiser.state_dict()["state"][0]["exp_avg"].abs().sum() for each in (other, kept)
    )
    assert moments == wanted > 0
    assert [each.name for each in tmp_path.iterdir()] == ["a.state"]


def test_where_nothing_was_kept_nothing_is_changed(tmp_path: Path) -> None:
    begun = learning(tmp_path / "a.state")
    before = begun.learner.weight.clone()
    assert begun.state.restore() == {}
    assert torch.equal(begun.learner.weight, before)


def test_what_cannot_be_written_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    kept = learning(tmp_path / "a.state")
    kept.state.keep(step=7)
    (tmp_path / "a.new").mkdir()
    with pytest.raises(InputError, match=r"a\.state cannot be written"):
        kept.state.keep(step=8)
    assert kept.state.restore()["step"] == 7


def test_a_state_that_is_removed_is_not_gone_on_from(tmp_path: Path) -> None:
    kept = learning(tmp_path / "a.state")
    kept.state.keep(step=7)
    kept.state.remove()
    kept.state.remove()
    assert not list(tmp_path.iterdir())
    assert learning(tmp_path / "a.state").state.restore() == {}


def test_it_is_due_so_many_seconds_after_it_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(states.time, "monotonic", lambda: now)
    state = learning(tmp_path / "a.state", seconds=60.0).state
    assert not state.due
    now = 161.0
    assert state.due
    state.keep(step=1)
    assert not state.due
    now = 222.0
    assert state.due


@pytest.mark.parametrize("what", ["truncated", "empty", "text", "another thing", "a tensor"])
def test_what_cannot_be_read_is_told_with_its_mend(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.state"
    learning(path).state.keep(step=5)
    if what == "another thing":
        torch.save([1, 2, 3], path)
    elif what == "a tensor":
        torch.save(torch.ones(3), path)
    else:
        path.write_bytes({"truncated": path.read_bytes()[:400], "empty": b"", "text": b"a\n"}[what])
    with pytest.raises(InputError, match=r"a\.state: the state cannot be read; remove it to begin anew"):
        learning(path).state.restore()


def test_a_folder_in_its_place_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the state cannot be read"):
        learning(tmp_path).state.restore()


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    State(path, {"learner": learning(path).learner}, seconds=60.0).keep(step=5)
    with pytest.raises(InputError, match="the state has no optimiser"):
        learning(path).state.restore()


def test_a_part_of_another_size_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    learning(path, size=4).state.keep(step=5)
    with pytest.raises(InputError, match="its learner does not fit"):
        learning(path).state.restore()


def test_a_part_that_is_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    learning(path).state.keep(step=5)
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "optimiser": torch.ones(3)}, path)
    with pytest.raises(InputError, match="its optimiser does not fit"):
        learning(path).state.restore()

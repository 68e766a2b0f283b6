"""The state that a run goes on from, and whether it is one of this run.

Chance needs no place in it: what a step sees, and what else is left to chance in it, follow from the seed and
the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_agent.core_model.training import states
from omni_agent.core_model.training.published.config import TrainingConfig
from omni_agent.core_model.training.published.data import DataFile
from omni_agent.errors import InputError

__all__ = ["FILE", "read_state", "write_state"]

FILE = "state.pt"
FREE = ("out", "save_every", "report_every", "checkpoint_activations")
"""What may be another when a run goes on: a step's numbers do not depend on it."""


def write_state(
    folder: Path, config: TrainingConfig, files: Mapping[Path, DataFile], state: Mapping[str, Any]
) -> None:
    """Put a state in the place of the last one.

    Args:
        folder: of the run.
        config: of the run.
        files: of its data.
        state: tensors and plain values by name.
    """
    states.replace_state(folder / FILE, {**state, "run": _fixed(config, files)})


def read_state(folder: Path, config: TrainingConfig, files: Mapping[Path, DataFile]) -> dict[str, Any] | None:
    """The last state in the folder, its tensors mapped from the file; None where there is none yet.

    Raises:
        InputError: it is not of this configuration and data; says what is different.
    """
    path = folder / FILE
    if not path.exists():
        return None
    state = states.read_state(path, mapped=True)
    if not isinstance(state.get("run"), Mapping):
        raise InputError(
            f"{path}: the state does not say of which run it is; remove it to begin anew, or give another out"
        )
    before = dict(_flat(state["run"]))
    now = dict(_flat(_fixed(config, files)))
    changes = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise InputError(
            f"{path}: the state is of another run ({'; '.join(changes)}): put these back to go on, or give"
            " another out to begin anew"
        )
    return state


def _fixed(config: TrainingConfig, files: Mapping[Path, DataFile]) -> dict[str, Any]:
    """What must not change. Of files that is their names, as a run may be moved with them, and what they
    hold.
    """
    document = config.model_dump(mode="json", exclude=set(FREE))
    document["model"] = Path(config.model).name
    document["batch"].pop("rows_at_once")
    for stage, written in zip(config.stages, document["stages"], strict=True):
        for data, each in zip(stage.data, written["data"], strict=True):
            each["file"] = data.file.name
            each |= {"samples": len(files[data.file]), "content": files[data.file].content}
    return document


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value

"""The state that a run goes on from, and whether it is one of this run.

Chance needs no place in it: what a step sees, and what else is left to chance in it, follow from the seed and
the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from omni_agent.core_model.training.published.config import TrainingConfig
from omni_agent.core_model.training.states import replace_state
from omni_agent.errors import InputError

__all__ = ["FILE", "read_state", "write_state"]

FILE = "state.pt"
FREE = ("out", "save_every", "report_every", "checkpoint_activations")
"""What may be another when a run goes on: the step's numbers do not depend on it."""


def write_state(
    folder: Path, config: TrainingConfig, lines: Mapping[str, int], state: dict[str, Any]
) -> None:
    """Put a state in the place of the last one.

    Args:
        folder: of the run.
        config: of the run.
        lines: how many samples each file has.
        state: tensors and plain values by name.
    """
    whole = state | {"config": _fixed(config), "lines": dict(lines)}
    replace_state(folder / FILE, whole)


def read_state(
    folder: Path, config: TrainingConfig, lines: Mapping[str, int], device: torch.device
) -> dict[str, Any] | None:
    """The last state in the folder; None where there is none yet.

    Raises:
        InputError: it is not of this configuration and data; says what is different.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True, mmap=True)
        was, had = state["config"], state["lines"]
    except Exception as error:  # unpickling raises nothing narrower
        raise InputError(
            f"{path}: the state cannot be read ({error}); remove it to begin anew, or give another out"
        ) from error
    before, now = dict(_flat("", was)), dict(_flat("", _fixed(config)))
    changes = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    changes += [
        f"{name} had {had.get(name)} samples and has {count}"
        for name, count in lines.items()
        if had.get(name) != count
    ]
    if changes:
        raise InputError(
            f"{path}: the state is of another run ({'; '.join(changes)}): put these back to go on, or give"
            " another out to begin anew"
        )
    return state


def _fixed(config: TrainingConfig) -> dict[str, Any]:
    document = config.model_dump(mode="json", exclude=set(FREE))
    document["batch"].pop("rows_at_once")
    return document


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [each for name, part in value.items() for each in _flat(f"{prefix}.{name}", part)]
    if isinstance(value, list):
        return [each for number, part in enumerate(value) for each in _flat(f"{prefix}.{number}", part)]
    return [(prefix.removeprefix("."), value)]

"""What a run tells of itself: lines of JSON in a file, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from omni_agent.core_model.checkpoints.files import replace_file
from omni_agent.core_model.training.published.packing import ABOUT, KINDS, Batch

__all__ = ["FILE", "MetricsFile", "Tally"]

FILE = "metrics.jsonl"


class Tally:
    """Sums of errors since the last line of metrics, by what they are about and by the kind of sample."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, len(ABOUT) + len(KINDS) + 2, device=device)

    def add(self, batch: Batch, errors: Float[Tensor, " masked"]) -> None:
        """Take in the errors of one model call."""
        values = torch.stack([errors, torch.ones_like(errors)])
        self.sums.index_add_(1, batch.about, values)
        self.sums.index_add_(1, batch.kinds + len(ABOUT), values)
        self._add(-2, (errors * batch.weights).sum())

    def add_gradient(self, norm: Tensor) -> None:
        """Take in the norm of a step's gradient."""
        self._add(-1, norm)

    def means(self, sums: Float[Tensor, "2 columns"]) -> dict[str, Any]:
        """The means of sums, which may be of several devices."""
        values, counts = sums.tolist()
        each = [value / count if count else None for value, count in zip(values, counts, strict=True)]
        about = dict(zip(ABOUT, each, strict=False))
        kinds = dict(zip(KINDS, each[len(ABOUT) :], strict=False))
        return {
            "loss": each[-2],
            "gradient": each[-1],
            "by modality": {str(name): mean for name, mean in about.items() if mean is not None},
            "by kind": {str(name): mean for name, mean in kinds.items() if mean is not None},
        }

    def _add(self, column: int, value: Tensor) -> None:
        self.sums[0, column] += value.detach()
        self.sums[1, column] += 1


class MetricsFile:
    """The metrics of a run, in its folder. What an earlier process wrote of steps that will be made again is
    taken out first.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._path = folder / FILE
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = "".join(f"{line}\n" for line in lines if _step(line) <= first)
            replace_file(self._path, lambda path: path.write_text(kept, encoding="utf-8"))
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1)

    def write(self, line: Mapping[str, Any]) -> str:
        """Add a line, and give it as it is written."""
        text = json.dumps({name: _rounded(value) for name, value in line.items()})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        for name, value in _flat(line):
            self._board.add_scalar(name, value, line["step"])
        self._board.flush()
        return text

    def close(self) -> None:
        """Write no more."""
        self._board.close()


def _step(line: str) -> float:
    """The step of a line; one that was cut off by a kill is of none that is kept."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value


def _flat(line: Mapping[str, Any]) -> list[tuple[str, float]]:
    flat: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, dict):
            flat += [(f"{name.removeprefix('by ')}/{each}", mean) for each, mean in value.items()]
        elif isinstance(value, float):
            flat.append((name, value))
    return flat

"""What happens in a run, told in order.

Every event has its number in the run's sequence and its path: where in the run it happened, ``()`` for the
run itself. A run ends with exactly one of `RunFinished`, `RunFailed` and `RunCancelled`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omni_agent.core import CanvasChange
from omni_agent.errors import OmniError

__all__ = [
    "CanvasChanged",
    "Custom",
    "Event",
    "RunCancelled",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "StepCancelled",
    "StepFailed",
    "StepFinished",
    "StepStarted",
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run."""

    sequence: int
    """Counts the run's events from 0. Numbers are missing where canvas changes were left out."""
    path: tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """The run began."""

    graph: str
    steps: tuple[str, ...]
    """The steps that will run, in an order in which they could run one by one."""


@dataclass(frozen=True, kw_only=True)
class StepStarted(Event):
    """A step's function was called."""

    step: str


@dataclass(frozen=True, kw_only=True)
class CanvasChanged(Event):
    """A denoising step was done on a canvas that this step asked for.

    A reader that is slower than the core sees each canvas's newest change only.
    """

    step: str
    change: CanvasChange


@dataclass(frozen=True, kw_only=True)
class Custom(Event):
    """A step's function called `omni_agent.emit`."""

    step: str
    data: Any


@dataclass(frozen=True, kw_only=True)
class StepFinished(Event):
    """A step returned its value. Media is decoded if the step is an output of the graph."""

    step: str
    value: Any
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepFailed(Event):
    """A step failed; the run cancels the others and fails."""

    step: str
    error: OmniError
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepCancelled(Event):
    """A step was stopped because the run was left, timed out, or failed elsewhere."""

    step: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The run's outputs are there."""

    outputs: dict[str, Any]
    """The values of the outputs, by step."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunFailed(Event):
    """The run failed; `Run.result` raises `error`."""

    error: BaseException
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunCancelled(Event):
    """The run was left, or cancelled from outside, before it was done."""

    seconds: float

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
    "InputAwaited",
    "RoundStarted",
    "RunCancelled",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "StepCancelled",
    "StepFailed",
    "StepFinished",
    "StepRetried",
    "StepSkipped",
    "StepStarted",
    "StreamChunk",
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run."""

    sequence: int
    """Counts the run's events from 0. Numbers are missing where canvas changes were left out."""
    path: tuple[str | int, ...]
    """Steps, indices of maps and rounds of loops, the outermost first: ``("game", 2, "guess")``."""


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """The run began."""

    graph: str
    steps: tuple[str, ...]
    """The steps that will run, in an order in which they could run one by one."""


@dataclass(frozen=True, kw_only=True)
class StepStarted(Event):
    """A step's function was called, or a graph inside, a loop or a map began."""

    step: str
    attempt: int
    """Counts the calls of the function, from 1."""


@dataclass(frozen=True, kw_only=True)
class StepRetried(Event):
    """A step failed or was unsure, and its function is called again."""

    step: str
    attempt: int
    """The number of the attempt that follows."""
    error: BaseException | None
    """What the last attempt failed with; None where it was unsure."""
    confidence: float | None
    """How sure the last attempt was; None where it failed."""
    wait: float
    """Seconds until the next attempt."""


@dataclass(frozen=True, kw_only=True)
class StepSkipped(Event):
    """A step does not run, because of its `when` or of what it reads; or an item failed and is left out."""

    step: str
    reason: str
    error: OmniError | None
    """What an item of a map failed with; None otherwise."""


@dataclass(frozen=True, kw_only=True)
class RoundStarted(Event):
    """A loop goes round once more. Its path ends in the round's number."""

    step: str
    round: int
    """From 0."""


@dataclass(frozen=True, kw_only=True)
class InputAwaited(Event):
    """A step waits for nothing but late inputs: send this one to its path by `Run.send`."""

    name: str


@dataclass(frozen=True, kw_only=True)
class StreamChunk(Event):
    """A step that yields came to its next chunk."""

    step: str
    index: int
    """From 0; again from 0 where the step is retried."""
    chunk: Any


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
    confidence: float | None
    """The lowest of what the step asked of a core, 0 to 1; None where it asked nothing that tells one."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepFailed(Event):
    """A step failed; what it is a part of cancels the others and fails too."""

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
    """The values of the outputs that were not skipped, by step."""
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

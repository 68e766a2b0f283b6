"""Graphs of typed steps: building, checking, running and watching them.

`build` declares, `check` turns declarations into a `plan`, `execution` carries the plan out, `run` is what
the user holds meanwhile, `events` is what it tells. Knows cores only by the protocol in `omni_agent.core`.
"""

from omni_agent.graph.build import Graph
from omni_agent.graph.events import (
    CanvasChanged,
    Custom,
    Event,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    StepCancelled,
    StepFailed,
    StepFinished,
    StepStarted,
)
from omni_agent.graph.options import RunOptions
from omni_agent.graph.result import Result
from omni_agent.graph.run import Run
from omni_agent.graph.scope import cancelled, emit
from omni_agent.graph.store import RunInfo, RunStore

__all__ = [
    "CanvasChanged",
    "Custom",
    "Event",
    "Graph",
    "Result",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunFinished",
    "RunInfo",
    "RunOptions",
    "RunStarted",
    "RunStore",
    "StepCancelled",
    "StepFailed",
    "StepFinished",
    "StepStarted",
    "cancelled",
    "emit",
]

"""Graphs of typed steps: building, checking, running and watching them.

`build` declares, `check` turns declarations into a `plan`, `execution` is a run of it: each `scope` of the
run starts what is ready, `forms` carries that out, `call` calls functions. `run` is what the user holds
meanwhile, `events` is what it tells. Knows cores only by the protocol in `omni_agent.core`.
"""

from omni_agent.graph.build import Graph
from omni_agent.graph.context import StepContext, cancelled, emit
from omni_agent.graph.control import Control, Unsure
from omni_agent.graph.draw import Drawing
from omni_agent.graph.events import (
    CanvasChanged,
    Custom,
    Event,
    InputAwaited,
    RoundStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    StepCancelled,
    StepFailed,
    StepFinished,
    StepRetried,
    StepSkipped,
    StepStarted,
    StreamChunk,
)
from omni_agent.graph.options import RunOptions
from omni_agent.graph.result import Result
from omni_agent.graph.run import Run
from omni_agent.graph.store import RunInfo, RunStore
from omni_agent.graph.stream import Stream

__all__ = [
    "CanvasChanged",
    "Control",
    "Custom",
    "Drawing",
    "Event",
    "Graph",
    "InputAwaited",
    "Result",
    "RoundStarted",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunFinished",
    "RunInfo",
    "RunOptions",
    "RunStarted",
    "RunStore",
    "StepCancelled",
    "StepContext",
    "StepFailed",
    "StepFinished",
    "StepRetried",
    "StepSkipped",
    "StepStarted",
    "Stream",
    "StreamChunk",
    "Unsure",
    "cancelled",
    "emit",
]

"""Every error omni-agent raises on purpose, in one tree.

    OmniError
    ├── InputError (ValueError)          a value, file or argument of the user's is not acceptable
    │   ├── CheckpointError              a checkpoint is missing, damaged or of another kind
    │   └── SnapshotMismatch             a snapshot was taken on another core or device
    ├── NotDecoded                       pixels or samples were asked of a value that holds only tokens
    ├── CoreClosed                       the core is not entered yet, or already left
    ├── Overloaded                       the core's queue is full and the caller did not want to wait
    ├── DeadlineExceeded (TimeoutError)  no answer is possible before the deadline
    ├── NotAvailable                     this version has no such thing
    ├── MissingExtra (ImportError)       an optional extra is not installed
    ├── GraphError                       a graph has faults; `.faults` holds all of them
    ├── StepError                        a step failed; its cause is what the step raised
    │   ├── StepTimedOut (TimeoutError)  the same, where the cause is a timeout
    │   └── LoopExhausted                a loop reached its bound before its condition held
    ├── RunTimedOut (TimeoutError)       a run took longer than its options allow
    ├── StoreError                       a store of runs cannot do what was asked
    │   ├── NoSuchRun (LookupError)      the store has no such run, or the run no such step
    │   ├── NotStorable (TypeError)      a value would not come back from the store as it is
    │   ├── RunConflict                  a run of this id was begun with other inputs, or by another graph
    │   └── RunHeld                      another process holds the run, or took it over
    ├── WrongReturn (TypeError)          a step returned another type than it is annotated with
    └── NoSuchResult (LookupError)       a result was asked for what the run does not keep
        └── StepWasSkipped               a result was asked for a step that was skipped

A message says what was given, what was wanted, and what to do. Cancellation is not in the tree: it stays
`asyncio.CancelledError`.
"""

# ruff: noqa: N818 - the names say what happened; only the roots of branches end in Error

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = [
    "CheckpointError",
    "CoreClosed",
    "DeadlineExceeded",
    "Fault",
    "GraphError",
    "InputError",
    "LoopExhausted",
    "MissingExtra",
    "NoSuchResult",
    "NoSuchRun",
    "NotAvailable",
    "NotDecoded",
    "NotStorable",
    "OmniError",
    "Overloaded",
    "RunConflict",
    "RunHeld",
    "RunTimedOut",
    "SnapshotMismatch",
    "StepError",
    "StepTimedOut",
    "StepWasSkipped",
    "StoreError",
    "WrongReturn",
]


FIRST_WORDS, LAST_WORDS = 1500, 300
"""Characters of a cause that a step's error repeats. A traceback shows the cause itself beside it."""

MOST_OTHERS = 10
"""Errors of the same moment that one message lists."""


class OmniError(Exception):
    """The root of the tree: catches everything omni-agent raises on purpose."""


class InputError(OmniError, ValueError):
    """A value, file or argument of the user's is not acceptable. The command line prints it on one line."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or made for something else."""


class SnapshotMismatch(InputError):
    """A snapshot was taken on other weights, or on another kind of device, than those it is to go on with."""


class NotDecoded(OmniError):
    """Pixels or samples were asked of a value that holds only a core's tokens."""


class CoreClosed(OmniError):
    """The core has not been entered with `async with` yet, or was left already."""


class Overloaded(OmniError):
    """The core's queue is full, and the request was made with `wait=False`."""


class DeadlineExceeded(OmniError, TimeoutError):
    """A request cannot be answered before its deadline: not even one denoising step would be in time."""


class NotAvailable(OmniError):
    """What was asked for is not part of this version, or a program it needs is not installed."""


class MissingExtra(OmniError, ImportError):
    """An optional part of omni-agent was used without its extra.

    Args:
        feature: what was used, e.g. ``"omni_agent.tools"``.
        extra: the name of the extra that brings it, e.g. ``"langchain"``.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra {extra!r}: install it with"
            f" `pip install 'omni-agent-diffusion[{extra}]'`"
        )
        self.feature = feature
        self.extra = extra


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a graph, found by `Graph.check()` before anything runs."""

    subject: str
    """What is at fault: a step's parameter, return, name or the graph."""
    given: str
    wanted: str
    mend: str
    places: tuple[str, ...] = ()
    """``file:line`` of the functions involved, the one at fault first."""

    def __str__(self) -> str:
        at = "".join(f"\n      at {place}" for place in self.places)
        return f"{self.subject}: {self.given}; wanted {self.wanted}. {self.mend}{at}"


class GraphError(OmniError):
    """A graph has faults. All of them are in `faults`, and in the message."""

    def __init__(self, graph: str, faults: tuple[Fault, ...]) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        listed = "\n".join(f"  {number}. {fault}" for number, fault in enumerate(faults, start=1))
        super().__init__(f"graph {graph!r} has {count}:\n{listed}")
        self.graph = graph
        self.faults = faults


class StepError(OmniError):
    """A step of a run failed; `__cause__` is what its function raised.

    Attributes:
        step: the step's name.
        path: where in the run it stands, its own name last.
        inputs: what the function that failed was given, each in a few words.
        part: which function that was: the step's own, "", or its ``when``, ``until`` or ``join``.
        others: steps that failed at the same time, in the order they failed.
    """

    def __init__(
        self,
        step: str,
        *,
        cause: BaseException,
        path: tuple[str | int, ...] = (),
        inputs: Mapping[str, str] = MappingProxyType({}),
        part: Literal["", "when", "until", "join"] = "",
    ) -> None:
        self.step = step
        self.path = path or (step,)
        self.inputs = MappingProxyType(dict(inputs))
        self.part = part
        self.others: tuple[StepError, ...] = ()
        given = ", ".join(f"{name}={value}" for name, value in self.inputs.items()) or "nothing"
        failed, who = (f"failed in its `{part}`", "which") if part else ("failed", "it")
        told = "/".join(map(str, self.path))
        super().__init__(f"step {told!r} {failed} with {_said(cause)} ({who} was given {given})")
        self.__cause__ = cause

    def __str__(self) -> str:
        lines = [super().__str__(), *(f"at the same time: {other}" for other in self.others[:MOST_OTHERS])]
        if len(self.others) > MOST_OTHERS:
            lines.append(f"and {len(self.others) - MOST_OTHERS:,} more at the same time: see `others`")
        return "\n  ".join(lines)


def _said(cause: BaseException) -> str:
    """What was raised, in so many words that a message holds them: its first and its last."""
    name = type(cause).__name__
    try:
        text = str(cause)
    except Exception:  # a user's __str__ may raise anything, and must not hide the error being told
        return name
    left_out = len(text) - FIRST_WORDS - LAST_WORDS
    if left_out > 0:
        more = f"[{left_out:,} characters more: see `__cause__`]"
        text = f"{text[:FIRST_WORDS]} ... {more} ... {text[-LAST_WORDS:]}"
    return f"{name}: {text}" if text else name


class StepTimedOut(StepError, TimeoutError):
    """A step failed because something it waited for took too long."""


class LoopExhausted(StepError):
    """A loop ran as many rounds as it may, and its condition never held."""

    def __init__(
        self,
        step: str,
        reason: str,
        *,
        path: tuple[str | int, ...] = (),
        inputs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        mend = "allow more with max_rounds=..., or take the last round's value with on_bound='last'"
        super().__init__(step, cause=OmniError(f"{reason}: {mend}"), path=path, inputs=inputs)


class RunTimedOut(OmniError, TimeoutError):
    """A run took longer than `RunOptions.timeout`; its steps were cancelled."""


class WrongReturn(OmniError, TypeError):
    """A step returned a value of another type than its annotation says."""


class NoSuchResult(OmniError, LookupError):
    """A result was asked for a step whose value the run does not keep, or that the graph does not have."""


class StepWasSkipped(NoSuchResult):
    """A result was asked for a step that was skipped: by its `when`, or because what it reads was skipped."""


class StoreError(OmniError):
    """A store of runs cannot be reached, or cannot do what was asked."""


class NoSuchRun(StoreError, LookupError):
    """The store has no run of this id, or the run no such step."""


class NotStorable(StoreError, TypeError):
    """A value, or all of a declared type, cannot be stored so that it comes back as it is."""


class RunConflict(StoreError):
    """A run of this id was begun with other inputs, or by a graph that has changed since."""


class RunHeld(StoreError):
    """Another process, or another run in this one, holds the run of this id.

    Attributes:
        run_id: the run.
        holder: who holds it: host, process and a number of its own.
        seconds: until its lease expires, if it is not renewed; 0 or less where it was lost to the holder.
    """

    def __init__(self, message: str, *, run_id: str, holder: str, seconds: float) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.holder = holder
        self.seconds = seconds

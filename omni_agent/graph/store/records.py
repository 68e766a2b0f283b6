"""What a store holds, as plain data; no database here."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from omni_agent.errors import InputError

__all__ = [
    "Beginning",
    "CallKey",
    "Outcome",
    "Path",
    "Progress",
    "RunInfo",
    "Status",
    "StoredCall",
    "StoredLate",
    "StoredStep",
    "path_from_text",
    "path_given",
    "path_to_text",
]

Path: TypeAlias = tuple[str | int, ...]
"""Where in a run something is: subgraphs' and steps' names, map indices, loop rounds."""

Status: TypeAlias = Literal["running", "interrupted", "finished", "failed", "cancelled"]
"""What became of a run. One whose lease expired before it ended is interrupted."""

Outcome: TypeAlias = Literal["finished", "left out"]
"""What became of a step: it has a value, or is an item that failed and is left out of its list."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a run is begun, or gone on, with."""

    run_id: str
    graph: str
    fingerprint: Mapping[str, str]
    """By step, what a resumed graph must agree with; other keys for what belongs to no step."""
    inputs: Mapping[str, tuple[object, Any]] = field(default_factory=dict)
    """By name, the value and its declared type."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What a reader of the store may want to know; JSON."""
    seed: int | None = None
    """None: a new run draws one, another keeps its own."""
    stale: Callable[[frozenset[str]], Collection[str]] | None = None
    """Where a graph that changed may go on: given the keys of the fingerprint that changed, the steps whose
    stored values do not hold any more. None: it may not."""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One run in a store, as it is listed."""

    id: str
    graph: str
    status: Status
    created: datetime
    updated: datetime
    steps: int
    """How many are stored."""
    seed: int
    error: str | None
    """What it failed with."""
    forked_from: str | None
    holder: str | None
    """Who runs it: host, process and a number of its own."""


@dataclass(frozen=True, kw_only=True)
class StoredStep:
    """What is stored of a step that came to its end."""

    outcome: Outcome
    value: str | None = None
    """JSON, where it finished."""
    attempt: int = 1
    """The one that finished."""
    confidence: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StoredLate:
    """A late input that was sent."""

    path: Path
    value: str
    """JSON."""


@dataclass(frozen=True, kw_only=True)
class CallKey:
    """What names a core call in a run."""

    path: Path
    """Of the step."""
    attempt: int
    request: str
    """SHA-256 of the request."""
    occurrence: int
    """Counts equal requests of one attempt from 0."""


@dataclass(frozen=True, kw_only=True)
class StoredCall:
    """What is stored of a core call: its value, or its last snapshot."""

    value: str | None = None
    """JSON, where it finished."""
    confidence: float | None = None
    snapshot: str | None = None
    """JSON, where it did not finish."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run came."""

    steps: Mapping[Path, StoredStep]
    late: tuple[StoredLate, ...]
    """In the order they were sent."""
    chunks: frozenset[Path]
    """The steps that have stored chunks."""
    calls: frozenset[Path]
    """The steps that have stored core calls."""
    position: int
    """The next one that is free."""


def path_given(given: object) -> Path:
    """A path as users write it: ``"game/2/guess"`` is ``("game", 2, "guess")``.

    Raises:
        InputError: it is neither a text nor made of names and numbers.
    """
    if isinstance(given, str):
        return tuple(int(part) if part.isascii() and part.isdigit() else part for part in given.split("/"))
    if isinstance(given, tuple | list) and all(type(part) is int or isinstance(part, str) for part in given):
        return tuple(given)
    raise InputError(
        f"the path was {repr(given)[:60]} ({type(given).__name__}); wanted a name, or a path as events tell"
        " it: 'game/2/guess' or ('game', 2, 'guess')"
    )


def path_to_text(path: Path) -> str:
    """A path as it is stored: a JSON list."""
    return json.dumps(path, ensure_ascii=False, separators=(",", ":"))


def path_from_text(text: str) -> Path:
    """The path that `path_to_text` wrote."""
    return tuple(json.loads(text))

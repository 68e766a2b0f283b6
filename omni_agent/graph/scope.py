"""What a running step can reach from inside its function: `emit` and `cancelled`.

Both do nothing outside of a run, so that a step's function can be called and tested alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

__all__ = ["Scope", "cancelled", "emit", "scope"]


class Scope:
    """A step under way, as seen from its function."""

    def __init__(self, emit: Callable[[Any], None]) -> None:
        self.emit = emit
        self.cancelled = threading.Event()


scope: ContextVar[Scope | None] = ContextVar("omni_agent.graph.scope", default=None)


def emit(data: Any) -> None:
    """Tell the run's reader something, as a `Custom` event of the running step."""
    current = scope.get()
    if current is not None:
        current.emit(data)


def cancelled() -> bool:
    """Whether the run wants the running step to stop.

    For long sync steps: a thread cannot be stopped from outside, and the run waits for it.
    """
    current = scope.get()
    return current is not None and current.cancelled.is_set()

"""How far the steps of a run have come, kept while its events pass. For drawings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from omni_agent.graph.events import (
    Event,
    InputAwaited,
    StepCancelled,
    StepFailed,
    StepFinished,
    StepSkipped,
    StepStarted,
)

__all__ = ["Progress"]

ENDS: Mapping[type[Event], str] = {
    StepFinished: "finished",
    StepFailed: "failed",
    StepSkipped: "skipped",
    StepCancelled: "cancelled",
}


class Progress:
    """The state of each step, for all of its items and rounds together."""

    def __init__(self) -> None:
        self._running: Counter[tuple[str, ...]] = Counter()
        self._open: set[tuple[str | int, ...]] = set()
        self._last: dict[tuple[str, ...], str] = {}

    def see(self, event: Event) -> None:
        """Take an event into account."""
        kind, path = type(event), event.path
        if kind is StepStarted:
            if path not in self._open:
                self._open.add(path)
                self._running[_steps(path)] += 1
        elif kind in ENDS:
            steps = _steps(path)
            if path in self._open:
                self._open.discard(path)
                self._running[steps] -= 1
            if self._last.get(steps) != "failed":
                self._last[steps] = ENDS[kind]
        elif kind is InputAwaited:
            self._last[_steps(path)] = "awaited"

    @property
    def states(self) -> dict[tuple[str, ...], str]:
        """By the path without indices and rounds; steps that nothing was told of are not among them."""
        running = {steps: "running" for steps, count in self._running.items() if count > 0}
        return {
            **self._last,
            **{each: state for each, state in running.items() if self._last.get(each) != "failed"},
        }


def _steps(path: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(part for part in path if isinstance(part, str))

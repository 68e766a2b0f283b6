"""The events of a run in a form that tests compare: names, paths, and what matters of each."""

from __future__ import annotations

from omni_agent import Event, Run

__all__ = ["told"]


async def told(run: Run) -> list[str]:
    """``StepStarted heard``, ``StepFinished page/0/drawn``, ... in the order they were told."""
    return [_line(event) async for event in run]


def _line(event: Event) -> str:
    return f"{type(event).__name__} {'/'.join(map(str, event.path))}".rstrip()

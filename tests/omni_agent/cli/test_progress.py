from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from omni_agent import CanvasChange, Task
from omni_agent.cli.progress import LiveProgress, watching
from omni_agent.core import observer

CHANGE = CanvasChange(
    request=1, task=Task.ANSWER, step=1, num_steps=2, committed=1, length=2, preview="[red]a ░"
)


def shown(*, terminal: bool) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=100, color_system=None)
    with LiveProgress(console) as progress:
        with progress.during("loading [/] omni-tiny"):
            pass
        with watching(progress):
            observe = observer.get()
            assert observe is not None
            observe(CHANGE)
            observe(replace(CHANGE, request=2, task=Task.DRAW, step=2))
        assert observer.get() is None
    return screen.getvalue()


def test_a_terminal_sees_each_request_under_way_with_its_canvas() -> None:
    screen = shown(terminal=True)
    assert "answer" in screen
    assert "[red]a ░" in screen, "what the model says is never markup"
    assert "draw" not in screen.rsplit("⠋", 1)[1], "finished requests go"


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    assert shown(terminal=False) == ""

"""What the core is doing, live: one line for each request, its canvas filling up.

Nothing is drawn where the console is not a terminal; results never pass through here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from omni_agent.core import CanvasChange, observer

__all__ = ["LiveProgress", "watching"]

# A row of canvas longer than this would wrap on a terminal of 80 columns.
PREVIEW_WIDTH = 40


class LiveProgress:
    """A bar for each request while the block lasts, taken away at its end.

    What is printed meanwhile to stdout appears above the bars if the console is that of stdout; else it would
    mix with them, so print before or after.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[preview]}"),
            console=console,
            transient=True,
            redirect_stdout=not console.stderr,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )
        self._rows: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """A row that only says what is going on."""
        row = self._progress.add_task(escape(what), total=None, preview="")
        try:
            yield
        finally:
            self._progress.remove_task(row)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Nothing is drawn while the block lasts, so that it may draw."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def changed(self, change: CanvasChange) -> None:
        """Show a canvas after a denoising step. Fits `omni_agent.core.observer`."""
        row = self._rows.get(change.request)
        if row is None:
            row = self._rows[change.request] = self._progress.add_task(change.task, preview="")
        self._progress.update(
            row,
            completed=change.step,
            total=change.num_steps,
            preview=escape(change.preview[:PREVIEW_WIDTH]),
            visible=change.step < change.num_steps,
        )


@contextmanager
def watching(progress: LiveProgress) -> Iterator[None]:
    """Show every request made in this context. Verbs return media as tokens inside: decode with the core."""
    token = observer.set(progress.changed)
    try:
        yield
    finally:
        observer.reset(token)

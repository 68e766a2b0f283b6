"""A command's time with a core: load it, work with progress on stderr, give it back."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import typer
from rich.console import Console

from omni_agent.cli.output import print_json
from omni_agent.cli.progress import LiveProgress, watching
from omni_agent.core import Core
from omni_agent.errors import InputError, OmniError
from omni_agent.values import Text

__all__ = ["Loader", "decoded", "entered", "for_each", "with_core"]

Loader: TypeAlias = Callable[[str], Core]
T = TypeVar("T")
V = TypeVar("V")


def with_core(context: typer.Context, model: str, work: Callable[[Core], Awaitable[T]]) -> tuple[T, float]:
    """What `work` makes with the core of that name, and the seconds it took, loading not counted."""
    load: Loader = context.obj

    async def session() -> tuple[T, float]:
        with LiveProgress(Console(stderr=True)) as progress, watching(progress):
            async with entered(load, model, progress) as core:
                start = time.perf_counter()
                made = await work(core)
                return made, round(time.perf_counter() - start, 3)

    return asyncio.run(session())


@asynccontextmanager
async def entered(load: Loader, model: str, progress: LiveProgress) -> AsyncIterator[Core]:
    """The core of that name, entered. One that takes long to load shows a bar of its own."""
    async with AsyncExitStack() as stack:
        with progress.aside():
            core = await stack.enter_async_context(load(model))
        yield core


async def decoded(core: Core, media: Awaitable[V]) -> V:
    """What a verb gives, as pixels or samples: with progress watched it gives tokens."""
    return await core.decoded(await media)


def for_each(
    context: typer.Context,
    model: str,
    files: Sequence[str],
    open_file: Callable[[str], V],
    verb: Callable[[Core, V], Awaitable[Text]],
    *,
    as_json: bool,
) -> None:
    """Print what a verb says about each file, all of them asked at once; a file that fails, fails alone.

    Raises:
        typer.Exit: some failed; their errors are printed. 2 where one of them is the user's mistake.
    """

    def opened_or_error(file: str) -> V | OmniError:
        try:
            return open_file(file)
        except OmniError as error:
            return error

    opened = [opened_or_error(file) for file in files]
    good = [value for value in opened if not isinstance(value, OmniError)]

    async def work(core: Core) -> list[Text | BaseException]:
        return await asyncio.gather(*(verb(core, value) for value in good), return_exceptions=True)

    said, seconds = with_core(context, model, work) if good else ([], 0.0)
    rest = iter(said)
    outcomes = [value if isinstance(value, OmniError) else next(rest) for value in opened]
    rows: list[dict[str, Any]] = []
    status = 0
    for file, outcome in zip(files, outcomes, strict=True):
        if not isinstance(outcome, BaseException):
            rows.append({"file": file, "text": outcome})
            continue
        if not isinstance(outcome, OmniError):
            raise outcome
        error = " ".join(str(outcome).split())
        if file not in error:
            error = f"{file}: {error}"
        rows.append({"file": file, "error": error})
        status = max(status, 2 if isinstance(outcome, InputError) else 1)
        print("omni-agent:", error, file=sys.stderr)
    if as_json:
        print_json({"results": rows, "seconds": seconds})
    else:
        for row in rows:
            if "text" in row:
                print(row["text"] if len(rows) == 1 else f"{row['file']}: {row['text']}")
    if status:
        raise typer.Exit(status)

"""Runs that are killed under way, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Imports once and forks for each run, as importing takes seconds. No thread is there that a fork could lose.
_FORKS = """
import importlib, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
run = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(Path(line.rstrip("\\n")))
            status = 0
        finally:
            os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def killed_under_way(
    run: Callable[[Path], object],
    folder: Path,
    step: Callable[[Path], int],
    *,
    kills: int = 5,
    apart: int = 3,
) -> list[int]:
    """Run in a folder; kill the run whenever it got some steps further, and let it end after the last kill.

    Args:
        run: a function of a test's module.
        folder: of the run.
        step: how far it is, by what it left there.
        kills: how many.
        apart: steps between them, at least.

    Returns:
        How far it was at each kill.
    """
    reached: list[int] = []
    with _forks(run) as (ask, tell):
        for number in range(kills):
            child = ask(folder)
            before = reached[-1] if reached else 0
            while (now := step(folder)) < before + apart:
                os.kill(child, 0)  # it is there, or the test fails here rather than wait for ever
                time.sleep(0.01)
            time.sleep(0.02 * number)  # not always at the same moment of a step
            os.kill(child, signal.SIGKILL)
            assert tell() == -signal.SIGKILL
            reached.append(now)
        ask(folder)
        assert tell() == 0
    return reached


@contextmanager
def _forks(run: Callable[[Path], object]) -> Iterator[tuple[Callable[[Path], int], Callable[[], int]]]:
    command = [sys.executable, "-c", _FORKS, run.__module__, run.__name__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    source, sink = process.stdout, process.stdin

    def tell() -> int:
        return int(source.readline())

    def ask(folder: Path) -> int:
        print(folder, file=sink, flush=True)
        return tell()

    try:
        assert source.readline() == "ready\n"
        yield ask, tell
    finally:
        sink.close()
        process.wait()
        source.close()

"""Real processes, killed: no finished step is run again, none is lost, and the result is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KILLS = 200
"""On each database."""


def crashes(*arguments: object) -> dict[str, int]:
    """What the program of that name counted. It fails where anything is not as it should be."""
    command = [sys.executable, "-m", "tests.omni_agent.graph.crashes", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


@pytest.mark.timeout(900)
def test_a_run_whose_processes_are_killed_comes_to_the_same_result(url: str, tmp_path: Path) -> None:
    counts = crashes("killed", url, tmp_path, KILLS, 1)
    assert counts["by_countdown"] + counts["by_time"] >= KILLS
    assert min(counts["by_countdown"], counts["by_time"]) > KILLS / 5


def test_of_two_processes_that_go_on_with_a_run_one_is_told_that_it_is_held(url: str, tmp_path: Path) -> None:
    assert crashes("rivals", url, tmp_path, 5, 2) == {"times": 5}

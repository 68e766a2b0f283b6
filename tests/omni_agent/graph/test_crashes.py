"""Real processes, killed: no finished step is run again, none is lost, and the result is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KILLS = 100
"""On each database."""


@pytest.mark.timeout(900)
def test_a_run_whose_processes_are_killed_comes_to_the_same_result(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.omni_agent.graph.crashes", url, str(tmp_path), str(KILLS), "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert counts["by_countdown"] + counts["by_time"] >= KILLS
    assert min(counts["by_countdown"], counts["by_time"]) > KILLS / 5

"""The types of the public names are part of the API: a type checker agrees with `typing_tests`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(600)  # without a cache, a type checker reads every dependency first
def test_a_type_checker_agrees_with_the_typing_tests() -> None:
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "typing_tests").glob("*.py"))
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *files]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr

"""What only shows in a process of its own: how fast help is, signals, closed pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

COMMAND = [sys.executable, "-m", "omni_agent.cli"]


def test_help_does_not_import_torch_or_the_model() -> None:
    code = (
        "import sys; from omni_agent.cli import main; main(['--help'])\n"
        "heavy = {'torch', 'scipy', 'langchain_core', 'omni_agent.core_model.model'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_quiet() -> None:
    process = subprocess.Popen(
        [*COMMAND, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.wait()


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "omni-agent: the output cannot be written (No space left on device)\n"


def test_a_closed_output_is_quiet() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} --version >&-"], stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_the_terminal_cannot_show_does_not_end_the_command() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [*COMMAND, "describe", "--json", "\u732b.png", os.fsdecode(b"\xff.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert [result["file"] for result in json.loads(done.stdout)["results"]] == ["\u732b.png", "\udcff.png"]
    assert "Traceback" not in done.stderr

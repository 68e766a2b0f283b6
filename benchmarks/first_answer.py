"""How soon there is an answer: loading a model, and `omni-agent ask` with a picture and an answer in speech.

    python benchmarks/first_answer.py [--model omni-tiny] [--threads 2] [--runs 5] [--asks 5] [--json FILE]

Each run is a process of its own that imports the package, loads the model, and asks: first once, as a command
does, then again and again, as a program that stays does. Medians over the runs, with the fastest and the
slowest. The question is spoken or typed, and every ask ends with the answer's samples. On other machines than
idle ones the figures say how busy they are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("import", "load", "first, asked aloud", "later, asked aloud", "later, typed")
LIMIT = 2.0
"""Seconds that an answer may take after loading."""


def main() -> None:
    """Measure in new processes, print a table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="omni-tiny", help="a checkpoint's name or path")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--runs", type=int, default=5, help="processes, of which the median counts")
    parser.add_argument("--asks", type=int, default=5, help="later asks of each process")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(asyncio.run(one_run(given.model, given.one, given.threads, given.asks))))
        return
    with tempfile.TemporaryDirectory() as folder:
        question = prepare(Path(folder))
        runs = [in_a_process(given, folder) for _ in range(given.runs)]
    import torch
    from machine import machine_of  # imports torch, whose import is what a run measures

    machine = machine_of(torch.device("cpu"), given.threads)
    busy = os.getloadavg()[0]
    print(f"{given.model}; {question!r}; {machine}; load {busy:.1f}; {given.runs} runs")
    print(f"{'part':<22}{'median':>10}{'fastest':>10}{'slowest':>10}  seconds")
    medians = {}
    for name in PARTS:
        seconds = [run[name] for run in runs]
        medians[name] = statistics.median(seconds)
        print(f"{name:<22}{medians[name]:>10.2f}{min(seconds):>10.2f}{max(seconds):>10.2f}")
    slow = max(medians[name] for name in PARTS[2:])
    print(f"answers after loading: {'within' if slow < LIMIT else 'beyond'} {LIMIT:g} s")
    if given.json is not None:
        found = {"model": given.model, "machine": machine, "load": busy, "medians": medians, "runs": runs}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def prepare(folder: Path) -> str:
    """Leave a picture and a spoken question about it in a folder; gives the question."""
    import numpy as np

    from omni_agent import Image, Speech
    from omni_agent.core_model.training.voices import speak_with
    from omni_agent.core_model.world import paint, sample_scene

    rng = np.random.default_rng(1)
    question = "what is this"
    Image(paint(sample_scene(rng, "held_out", "one"), rng)).save(folder / "picture.png")
    Speech(*speak_with("awb", question)).save(folder / "question.wav")
    (folder / "question.txt").write_text(question)
    return question


def in_a_process(given: argparse.Namespace, folder: str) -> dict[str, float]:
    """One run, with the threads that are asked for."""
    command = [sys.executable, __file__, "--one", folder, "--model", given.model]
    command += ["--threads", str(given.threads), "--asks", str(given.asks)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    run: dict[str, float] = json.loads(done.stdout)
    return run


async def one_run(model: str, folder: Path, threads: int, asks: int) -> dict[str, float]:
    """The seconds of each part; of later asks the median."""
    began = time.perf_counter()
    from omni_agent import Core, Image, Speech

    imported = time.perf_counter()
    core = Core.load(model)  # imports torch
    import torch

    torch.set_num_threads(threads)
    async with core:
        loaded = time.perf_counter()
        picture, spoken = Image.open(folder / "picture.png"), Speech.open(folder / "question.wav")
        typed = (folder / "question.txt").read_text()

        async def ask(question: str | Speech) -> float:
            start = time.perf_counter()
            # as the command does it: heard, answered, spoken
            heard = await core.transcribe(question) if isinstance(question, Speech) else question
            answer = await core.answer(heard, picture)
            speech = await core.speak(answer)
            assert len(speech.samples)
            return time.perf_counter() - start

        first = await ask(spoken)
        return {
            "import": imported - began,
            "load": loaded - imported,
            "first, asked aloud": first,
            "later, asked aloud": statistics.median([await ask(spoken) for _ in range(asks)]),
            "later, typed": statistics.median([await ask(typed) for _ in range(asks)]),
        }


if __name__ == "__main__":
    main()

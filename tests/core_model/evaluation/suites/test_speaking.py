"""Reading back what a core says."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from omni_agent.core import Core, Request, Task
from omni_agent.core_model.evaluation import Table, evaluate_suite
from omni_agent.core_model.evaluation.reading_back import Recogniser
from omni_agent.core_model.training.voices import speak_with
from omni_agent.errors import InputError
from omni_agent.testing import ScriptedCore
from omni_agent.values import Speech

HEARD = {1: "Good morning!", 2: "It is 12.", 3: "hello"}


def lasting(seconds: float) -> Speech:
    return Speech(np.zeros(round(seconds * 1000), np.float32), 1000)


def recogniser(samples: NDArray[np.float32], rate: int) -> str:
    return HEARD[round(len(samples) / rate)]


async def spoken(source: Path, reading_back: Recogniser | None = recogniser, **options: object) -> Table:
    """The table of a core that says the texts in the order of asking: a second, two, ..."""
    sounds = [lasting(n) for n in (1, 2, 3)]
    async with ScriptedCore({Task.SPEAK: sounds}) as core:
        return await evaluate_suite(
            core,
            "speaking",
            source,
            recogniser=reading_back,
            concurrency=1,
            **options,  # type: ignore[arg-type]
        )


async def test_any_recogniser_reads_back(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("good morning\n\nit is twelve\ngood night\n")
    table = await spoken(tmp_path)
    (row,) = table.rows
    assert (row.part, row.measure, row.share.hits, row.share.total) == ("speaking", "word error", 2, 7)
    (wrong,) = [case for case in table.cases if not case.right]
    assert (wrong.wanted, wrong.judged) == ("good night", "heard: hello")
    assert isinstance(wrong.given, Speech)


async def test_sounds_of_all_texts_say_what_the_recogniser_hears_at_best(tmp_path: Path) -> None:
    for n, name in enumerate("ab", start=1):
        lasting(n).save(tmp_path / f"{name}.wav")
    (tmp_path / "texts.tsv").write_text("a.wav\tgood morning\nb.wav\tit was twelve\n")
    table = await spoken(tmp_path)
    assert table.rows[0].note == "2 texts, 5 words; of the sounds given 20.0 %"


async def test_texts_are_taken_from_training_samples_and_transcripts(tmp_path: Path) -> None:
    sample = {
        "messages": [
            {"role": "user", "content": "Convert the text to speech.\ngood morning"},
            {"role": "assistant", "content": "<|audio|>"},
        ],
        "audios": ["not/here.wav"],
    }
    (tmp_path / "speak.jsonl").write_text(json.dumps(sample) + "\n")
    assert (await spoken(tmp_path / "speak.jsonl")).rows[0].note == "1 texts, 2 words"
    (tmp_path / "1.trans.txt").write_text("1-1 GOOD MORNING\n1-2 IT IS TWELVE\n")
    assert (await spoken(tmp_path)).rows[0].share.value == 0


async def test_sounds_are_read_back_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("good morning\n" * 8)
    busy = threading.Lock()

    def alone(samples: NDArray[np.float32], rate: int) -> str:
        assert busy.acquire(blocking=False)
        busy.release()
        return "good morning"

    async with ScriptedCore({Task.SPEAK: lasting(1)}) as core:
        table = await evaluate_suite(core, "speaking", tmp_path, recogniser=alone, concurrency=8)
    assert table.rows[0].share.value == 0


async def test_the_worlds_judge_reads_back_the_world(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a dog on the grass\nthree apples in the snow\n")

    def speak(request: Request) -> Speech:
        return Speech(*speak_with("rms", str(request.content[0])))

    async with ScriptedCore({Task.SPEAK: speak}) as core:
        table = await evaluate_suite(core, "speaking", tmp_path)
    assert table.rows[0].share.value == 0


async def test_omni_tiny_is_understood(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("what is two plus three\ndraw a dog on the grass\n")
    async with Core.load("omni-tiny") as core:
        table = await evaluate_suite(core, "speaking", tmp_path)
    assert table.rows[0].share.value < 0.5


async def test_words_that_the_judge_does_not_know_are_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a zeppelin over the grass\n")
    with pytest.raises(InputError, match="given texts with 'over', 'zeppelin'; the judge knows the words of"):
        await spoken(tmp_path, None)


async def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"given no texts; wanted a \*\.txt with one a line"):
        await spoken(tmp_path)

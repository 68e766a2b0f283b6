"""What mode "fast" costs: omni-tiny's evaluation, each question decoded exactly and fast.

    python benchmarks/fast_cost.py [--questions 250] [--split held_out] [--parts] [--json FILE]

For each row of questions how many are right either way, the difference of the two in points with its 95 %
interval (the questions are the same, so it is a paired one), and how much time decoding took. `--parts` adds
each part of the mode by itself. Thresholds are chosen on the development split.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from engine import omni_tiny

from omni_agent.core import Modality, Request, Settings, Task, Yield
from omni_agent.core_model.evaluation.answering import ROWS, sample, voices_of
from omni_agent.core_model.evaluation.picture_judge import PictureJudge
from omni_agent.core_model.evaluation.scores import agree
from omni_agent.core_model.evaluation.speech_judge import SpeechJudge
from omni_agent.core_model.evaluation.spoken_questions import SPOKEN
from omni_agent.core_model.model import Model
from omni_agent.core_model.training.voices import speak_with
from omni_agent.core_model.world import (
    Combination,
    Kind,
    Scene,
    Split,
    caption,
    draw_prompt,
    paint,
    sample_combination,
    sample_scene,
    sample_sentence,
    sums,
)
from omni_agent.errors import InputError
from omni_agent.values import Image, Speech, Text

PARTS = {
    "prompt_cache": Settings(prompt_cache=True),
    "early_end": Settings(early_end=True),
}
"""Parts that need no figure; thresholds, steps and guidance take the task's own."""


KINDS: tuple[Kind, ...] = ("one", "count", "pair")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, and whether what it yields is right: 1 or 0, or a share of words."""

    task: Task
    content: tuple[Text | Image | Speech, ...]
    blank: Modality
    right: Callable[[Yield | None], float]


def main() -> None:
    """Decode, print a table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=250, help="a row; of sounds and drawings half")
    parser.add_argument("--split", choices=["development", "held_out"], default="held_out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--parts", action="store_true", help="each part of the mode by itself, too")
    parser.add_argument("--rows", default="", help="only these, separated by commas")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = omni_tiny(torch.device("cpu"))
    print(f"{given.split}, seed {given.seed}\n")
    print(
        f"{'row':<26}{'way':<16}{'of':>5}{'exact':>8}{'fast':>8}{'points':>8}{'95 % interval':>18}{'time':>8}"
    )
    results = []
    every = rows(given.questions, given.split, given.seed)
    for name in given.rows.split(",") if given.rows else every:
        for way, scores in compared(model, every[name](), parts=given.parts).items():
            results.append({"row": name, "way": way, **scores})
            low, high = scores["interval"]
            print(
                f"{name:<26}{way:<16}{scores['of']:>5}{scores['exact']:>8.1%}{scores['fast']:>8.1%}"
                f"{scores['points']:>+8.2f}{f'{low:+.2f} to {high:+.2f}':>18}{scores['times']:>7.2f}x",
                flush=True,
            )
    if given.json is not None:
        given.json.write_text(json.dumps({"split": given.split, "rows": results}, indent=2) + "\n")


def compared(model: Model, asked: list[Asked], *, parts: bool) -> dict[str, dict[str, Any]]:
    """For each way of being fast: the shares right, their difference in points, and the times' ratio."""
    task = model.canvas(request(asked[0], Settings())).task_config
    ways = {"fast": Settings(mode="fast")}
    if parts:
        ways |= PARTS
        fast = task.fast
        if fast.threshold < 1:
            ways["threshold"] = Settings(threshold=fast.threshold)
        if fast.num_steps:
            ways["num_steps"] = Settings(num_steps=fast.num_steps)
        if fast.guidance_until < 1:
            ways["guidance_until"] = Settings(guidance_until=fast.guidance_until)
    rights: dict[str, list[float]] = {way: [] for way in ("exact", *ways)}
    seconds = dict.fromkeys(rights, 0.0)
    for number, each in enumerate(asked):
        canvas = model.canvas(request(each, Settings()))
        for way, settings in {"exact": Settings(), **ways}.items():
            before = time.process_time()
            decoding = model.start(canvas, Settings(**{**vars(settings), "seed": number}))
            while not decoding.done:
                [decoding] = model.advance([decoding])
            seconds[way] += time.process_time() - before
            try:
                value = model.whole(model.value(decoding))
            except InputError:  # a blank that ended before it began: a wrong answer
                value = None
            rights[way].append(each.right(value))
    result: dict[str, dict[str, Any]] = {}
    for way in ways:
        differences = 100 * (np.array(rights[way]) - np.array(rights["exact"]))
        half = 1.96 * differences.std(ddof=1) / len(differences) ** 0.5
        result[way] = {
            "of": len(asked),
            "exact": float(np.mean(rights["exact"])),
            "fast": float(np.mean(rights[way])),
            "points": float(differences.mean()),
            "interval": (float(differences.mean() - half), float(differences.mean() + half)),
            "times": seconds["exact"] / seconds[way],
        }
    return result


def request(asked: Asked, settings: Settings) -> Request:
    """What the core is asked."""
    return Request(task=asked.task, content=asked.content, blank=asked.blank, settings=settings)


def rows(questions: int, split: Split, seed: int) -> dict[str, Callable[[], list[Asked]]]:
    """The rows of the evaluation, each to be made when it is its turn, as the sounds of some take time."""
    half = max(questions // 2, 1)

    def chance(name: str) -> np.random.Generator:
        return np.random.default_rng([seed, crc32(name.encode())])

    def typed(name: str) -> list[Asked]:
        return [
            answered((each.picture, Text(each.question.text)), each.question.answer)
            for each in sample(chance(name), name, questions, split)
        ]

    def described_ones() -> list[Asked]:
        rng = chance("describe")
        return [described(sample_scene(rng, split), rng) for _ in range(questions)]

    def spoken() -> list[Asked]:
        rng = chance("spoken question")
        asked = [each for name in SPOKEN for each in sample(rng, name, -(-half // len(SPOKEN)), split)]
        return [
            answered(
                (each.picture, Speech(*speak_with(each.voice, each.question.text))), each.question.answer
            )
            for each in asked
        ]

    def written_ones(voice: str) -> list[Asked]:
        rng = chance(voice)
        return [written(sample_sentence(rng, split), voice) for _ in range(half)]

    def said_ones() -> list[Asked]:
        rng = chance("speaking")
        texts = [sample_sentence(rng, split) for _ in range(half)]
        judge = SpeechJudge(texts)
        return [said(text, judge) for text in texts]

    def drawn_ones(kind: Kind) -> list[Asked]:
        rng, judge = chance(kind), PictureJudge.load()
        return [drawn(sample_combination(rng, split, kind), judge) for _ in range(half)]

    return {
        **{name: partial(typed, name) for name in ROWS},
        "sum": lambda: [answered((Text(each.text),), each.answer) for each in sums()],
        "describe": described_ones,
        "spoken question": spoken,
        **{f"writing down {voice}": partial(written_ones, voice) for voice in voices_of(split)},
        "speaking": said_ones,
        **{f"drawing {kind}": partial(drawn_ones, kind) for kind in KINDS},
    }


def answered(content: tuple[Text | Image | Speech, ...], answer: str) -> Asked:
    """A question and its right answer."""
    return Asked(
        task=Task.ANSWER,
        content=content,
        blank=Modality.TEXT,
        right=lambda value: float(agree(str(value or ""), answer)),
    )


def described(scene: Scene, rng: np.random.Generator) -> Asked:
    """A picture to be described, right in every word."""
    wanted = caption(scene)
    return Asked(
        task=Task.DESCRIBE,
        content=(Image(paint(scene, rng)),),
        blank=Modality.TEXT,
        right=lambda value: float(agree(str(value or ""), wanted)),
    )


def written(text: str, voice: str) -> Asked:
    """A sentence to be written down, right in every word."""
    return Asked(
        task=Task.TRANSCRIBE,
        content=(Speech(*speak_with(voice, text)),),
        blank=Modality.TEXT,
        right=lambda value: float(agree(str(value or ""), text)),
    )


def said(text: str, judge: SpeechJudge) -> Asked:
    """A sentence to be spoken: right where the judge of speech hears every word."""

    def right(value: Yield | None) -> float:
        if not isinstance(value, Speech):
            return 0.0
        return float(agree(judge.transcribe(value.samples, value.rate), text))

    return Asked(task=Task.SPEAK, content=(Text(text),), blank=Modality.SPEECH, right=right)


def drawn(combination: Combination, judge: PictureJudge) -> Asked:
    """A drawing: right where the judge of pictures sees the wanted objects and no others."""
    wanted = tuple(shown.name for shown in combination.objects)

    def right(value: Yield | None) -> float:
        if not isinstance(value, Image):
            return 0.0
        [seen] = judge.read([value.array])
        return float(seen.objects == wanted)

    return Asked(task=Task.DRAW, content=(Text(draw_prompt(combination)),), blank=Modality.IMAGE, right=right)


if __name__ == "__main__":
    main()

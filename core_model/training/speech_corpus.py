"""Spoken sentences of the world, synthesised once and kept in one folder: input for everything that learns
from sound.

`recognition_plan` mixes all training voices at many tempos and pitches, `speaking_plan` has the one voice
that omni-tiny speaks with, and `synthesise` turns a plan into `Utterances`. Noise and rooms are added later,
in training (augment.py). Held-out voices are refused here.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soxr
from jaxtyping import Float32, Int16, Int64

from omni_agent.core_model.training.voices import (
    ESPEAK_VOICES,
    HELD_OUT_VOICES,
    SPEAKING_VOICE,
    TRAINING_VOICES,
    speak_with,
)
from omni_agent.core_model.world import (
    Combination,
    Split,
    caption,
    draw_prompt,
    load_world,
    questions,
    sample_combination,
    sample_sentence,
    split_of,
    sums,
)
from omni_agent.errors import InputError

__all__ = [
    "RATE",
    "SENTENCES",
    "Line",
    "Utterances",
    "hearing_sentences",
    "recognition_plan",
    "speaking_plan",
    "speaking_sentences",
    "synthesise",
    "to_say",
    "trimmed",
]

RATE = 16_000
SENTENCES = 14_000
"""To be heard, and as many to be said, where no other number is asked for."""
# Models of sound are chosen on sentences of training voices kept aside, so the pictures' development split
# may be heard.
_SPLITS: tuple[Split, ...] = ("train", "development")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One sentence to be spoken: by whom, how fast and how high (factors of the voice's own)."""

    text: str
    voice: str
    tempo: float = 1.0
    pitch: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Utterances at 16 kHz, end to end in one (memory-mapped) row; utterance i lies at starts[i]:starts[i
    + 1]."""

    samples: Int16[np.ndarray, " n"]
    starts: Int64[np.ndarray, " utterances+1"]
    lines: tuple[Line, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def sound(self, index: int) -> Float32[np.ndarray, " t"]:
        """The samples of one utterance in [-1, 1]."""
        piece = self.samples[self.starts[index] : self.starts[index + 1]]
        return np.asarray(piece, dtype=np.float32) / 32768

    @classmethod
    def open(cls, folder: Path) -> Utterances:
        """Read what `synthesise` wrote to `folder`; raises InputError where nothing complete lies there."""
        if not (folder / "lines.json").exists():
            raise InputError(
                f"given {folder} without a finished speech corpus; run `omni-agent train speech-corpus`"
            )
        lines = tuple(Line(**line) for line in json.loads((folder / "lines.json").read_text()))
        samples = np.load(folder / "samples.npy", mmap_mode="r")
        return cls(samples=samples, starts=np.load(folder / "starts.npy"), lines=lines)


def hearing_sentences(rng: np.random.Generator, count: int, *, words: float = 0.3) -> list[str]:
    """Sentences as often as they are said in the world, none of a held-out combination.

    Args:
        rng: source of chance.
        count: how many.
        words: the share of single words and short answers, half of them numbers: as often as they are said,
            they are too few to be heard right in a voice that was never heard.
    """
    world = load_world()
    short = [*(place.phrase for place in world.backgrounds), "yes", "no", "left", "right"]
    short += [text for thing in world.objects for text in (thing.name, thing.phrase)]

    def one() -> str:
        if rng.random() >= words:
            return sample_sentence(rng, _SPLITS[int(rng.random() < 0.5)])
        return str(rng.choice(world.numbers if rng.random() < 0.5 else short))

    return [one() for _ in range(count)]


def speaking_sentences(rng: np.random.Generator, count: int) -> list[str]:
    """`count` different sentences in random order: everything short, every caption of one kind, then pairs.

    All words, numbers, sums, questions and answers are among them; captions and drawing prompts of held-out
    combinations are not.
    """
    world = load_world()
    found = dict.fromkeys([*world.numbers, "yes", "no", *(place.phrase for place in world.backgrounds)])
    found |= dict.fromkeys(sum_.text for sum_ in sums())
    for thing in world.objects:
        found |= dict.fromkeys([thing.name, thing.phrase, f"where is the {thing.name}"])
        found |= dict.fromkeys([f"how many {thing.plural} are there"])
        for number in range(1, 6):
            for place in world.backgrounds:
                kind: Literal["one", "count"] = "one" if number == 1 else "count"
                shown = Combination(kind=kind, objects=(thing,), number=number, background=place)
                if split_of(shown) != "held_out":
                    found |= dict.fromkeys([caption(shown), draw_prompt(shown)])
    for kind_ in ("one", "count", "pair"):
        asked = questions(sample_combination(rng, "train", kind_))
        found |= dict.fromkeys(question.text for question in asked)
    if len(found) > count:
        raise InputError(
            f"given room for {count} sentences; wanted at least {len(found)}, one for each short one"
        )
    while len(found) < count:
        shown = sample_combination(rng, _SPLITS[int(rng.random() < 0.5)], "pair")
        found |= dict.fromkeys([caption(shown) if rng.random() < 0.7 else draw_prompt(shown)])
    return [str(text) for text in rng.permutation(list(found))]


def to_say(count: int = SENTENCES) -> list[str]:
    """What a training has the core say: always the same, so that it is known later what was said."""
    return speaking_sentences(np.random.default_rng(1), count)


def recognition_plan(texts: Iterable[str], rng: np.random.Generator) -> list[Line]:
    """Give every text a voice: half espeak-ng's many, half flite's three, at varied tempo and pitch."""
    plan = []
    for text in texts:
        tempo = float(rng.uniform(0.8, 1.3))
        if rng.random() < 0.5:
            voice = ESPEAK_VOICES[rng.integers(len(ESPEAK_VOICES))]
            plan.append(Line(text=text, voice=voice, tempo=tempo, pitch=float(rng.uniform(0.6, 1.7))))
        else:
            # kal16 is the only diphone voice of the training ones: the held-out ked and kal_diphone sound
            # most like it
            voice = str(rng.choice([SPEAKING_VOICE, "slt", "kal16"], p=[0.3, 0.3, 0.4]))
            pitch = float(rng.uniform(0.75, 1.6)) if voice == "kal16" else 1.0
            plan.append(Line(text=text, voice=voice, tempo=tempo, pitch=pitch))
    return plan


def speaking_plan(texts: Iterable[str]) -> list[Line]:
    """Every text by the speaking voice as it is: a varied voice would need more codes for the same words."""
    return [Line(text=text, voice=SPEAKING_VOICE) for text in texts]


def synthesise(
    plan: list[Line],
    folder: Path,
    *,
    measuring: bool = False,
    processes: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Utterances:
    """Speak the plan into `folder` and open it.

    Raises InputError for a line of a held-out voice, or with `measuring` for one of a training voice.
    """
    allowed, name = (
        (HELD_OUT_VOICES, "HELD_OUT_VOICES") if measuring else (TRAINING_VOICES, "TRAINING_VOICES")
    )
    refused = sorted({line.voice for line in plan} - set(allowed))
    if refused:
        raise InputError(
            f"given the voices {refused} for {'measuring' if measuring else 'training'}; wanted {name}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    pieces: list[Int16[np.ndarray, " t"]] = []
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_be_nice) as pool:
        for piece in pool.imap(_spoken, plan, chunksize=50):
            pieces.append(piece)
            if progress is not None and len(pieces) % 500 == 0:
                progress(len(pieces), len(plan))
    np.save(folder / "samples.npy", np.concatenate(pieces))
    np.save(folder / "starts.npy", np.cumsum([0, *map(len, pieces)]).astype(np.int64))
    new = folder / "lines.new.json"
    new.write_text(json.dumps([vars(line) for line in plan]))
    new.replace(folder / "lines.json")  # last: it marks the folder finished
    return Utterances.open(folder)


def trimmed(
    samples: Float32[np.ndarray, " n"], *, margin: float = 0.04, floor: float = 0.02
) -> Float32[np.ndarray, " m"]:
    """Cut the silence before and after an utterance at 16 kHz down to `margin` seconds, padding where there
    is less.

    Silent is what stays below `floor` times the utterance's loudest 10 ms. Silence itself comes back
    unchanged.
    """
    hop = RATE // 100
    padded = np.pad(samples, (0, -len(samples) % hop))
    loudness = np.sqrt(np.mean(padded.reshape(-1, hop) ** 2, axis=1))
    if loudness.size == 0 or loudness.max() == 0:
        return samples
    loud = np.flatnonzero(loudness > floor * loudness.max())
    edge = round(margin * RATE)
    start, stop = int(loud[0]) * hop - edge, (int(loud[-1]) + 1) * hop + edge
    inside = samples[max(start, 0) : min(stop, len(samples))]
    return np.pad(inside, (max(-start, 0), max(stop - len(samples), 0)))


def _be_nice() -> None:
    os.nice(5)


def _spoken(line: Line) -> Int16[np.ndarray, " t"]:
    samples, rate = speak_with(line.voice, line.text, tempo=line.tempo, pitch=line.pitch)
    at_16k = trimmed(soxr.resample(samples, rate, RATE).astype(np.float32))
    peak = max(float(np.abs(at_16k).max(initial=0.0)), 1e-4)
    return np.round(at_16k * (0.8 * 32767 / peak)).astype(np.int16)

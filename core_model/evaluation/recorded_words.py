"""Real people: recorded numbers and names of animals, which Debian has. They measure as they are, and are no
part of this package.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omni_agent.core_model.evaluation.answering import shared
from omni_agent.core_model.evaluation.bench import WorldBench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.scores import agree
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.world import load_world
from omni_agent.errors import MissingExtra, NotAvailable
from omni_agent.values import Speech

__all__ = ["ANIMALS", "NUMBERS", "Recording", "missing_recordings", "recorded_words"]

PART = "hearing"


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Where a package of recordings lies."""

    package: str
    folder: Path
    who: str


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recorded word."""

    text: str
    file: Path


NUMBERS = Recordings(
    package="asterisk-core-sounds-en-g722",
    folder=Path("/usr/share/asterisk/sounds/en_US_f_Allison/digits"),
    who="one speaker",
)
ANIMALS = Recordings(
    package="tuxpaint-stamps-default",
    folder=Path("/usr/share/tuxpaint/stamps"),
    who="several speakers",
)


def missing_recordings() -> str | None:
    """What is not installed, and how to install it; None where all is there."""
    missing = [each.package for each in (NUMBERS, ANIMALS) if not each.folder.is_dir()]
    if not missing:
        return None
    return (
        "the words recorded by real people are left out, as they are not installed:"
        f" apt-get install {' '.join(missing)}"
    )


async def recorded_words(bench: WorldBench) -> list[Row]:
    """How many recorded numbers and animals are written down right.

    Raises NotAvailable, naming the Debian packages, where they are not installed.
    """
    if (missing := missing_recordings()) is not None:
        raise NotAvailable(missing)
    return [
        await _row(bench, "recorded numbers", NUMBERS, _numbers()),
        await _row(bench, "recorded animals", ANIMALS, _animals()),
    ]


async def _row(bench: WorldBench, name: str, where: Recordings, recordings: list[Recording]) -> Row:
    async def right(turn: int, recording: Recording) -> bool:
        sound = await asyncio.to_thread(_opened, recording.file)
        heard = await bench.attempt(bench.core.transcribe(sound))
        hit = agree(_without_article(heard or ""), recording.text)
        bench.gallery.add(
            Case(
                part=PART,
                row=name,
                turn=turn,
                asked=(sound,),
                wanted=recording.text,
                given=heard,
                right=hit,
            )
        )
        return hit

    done = await bench.each(name, recordings, right)
    note = f"words of {where.who}, as recorded; with an article or without; {where.package}"
    return Row(part=PART, name=name, measure="right", share=shared(done), note=note)


def _numbers() -> list[Recording]:
    files = [(word, NUMBERS.folder / f"{n}.g722") for n, word in enumerate(load_world().numbers)]
    return [Recording(text=word, file=file) for word, file in files if file.is_file()]


def _animals() -> list[Recording]:
    """Those stamps that are called as an object of the world: "A frog." is written, and "frog" is said."""
    names = {thing.phrase: thing.name for thing in load_world().objects}
    found: dict[str, Recording] = {}
    for file in sorted(ANIMALS.folder.rglob("*_desc.ogg")):
        text = file.with_name(file.name.removesuffix("_desc.ogg") + ".txt")
        if not text.is_file():
            continue
        called = text.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        phrase = called.strip().rstrip(".!").lower()
        if phrase in names:
            found.setdefault(phrase, Recording(text=names[phrase], file=file))
    return list(found.values())


def _without_article(text: str) -> str:
    return " ".join(word for word in text.split() if word not in ("a", "an"))


def _opened(file: Path) -> Speech:
    if file.suffix != ".g722":
        return Speech.open(file)
    try:
        import av
    except ImportError as error:
        raise MissingExtra("reading recorded numbers", "evaluate") from error
    with av.open(str(file), format="g722") as opened:
        pieces = [frame.to_ndarray()[0] for frame in opened.decode(audio=0)]
        rate = opened.streams.audio[0].rate
    return Speech((np.concatenate(pieces) / 32768).astype(np.float32), rate)

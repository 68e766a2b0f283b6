"""Which pictures may be trained on: the split of a combination of objects, number and background.

A picture has several hashes: object/background for every object in it, object/number word for a single kind
of object, left/right for a pair. If any falls in the fifth that is held out, the picture is held out:
held-out wins over development, so that choosing a model never looks at what measures it. A picture with no
held-out hash and any in the next fifth is for development; the rest is for training. Once everything is
chosen, the last training of a model may add development's pictures (`CHOSEN`); held-out ones are never
trained on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

from omni_agent.core_model.world.words import Background, Object, load_world

__all__ = ["CHOOSING", "CHOSEN", "Combination", "Kind", "Split", "fifth", "split_of", "trained_in_number"]

Kind = Literal["one", "count", "pair"]
Split = Literal["train", "development", "held_out"]

CHOOSING: tuple[Split, ...] = ("train",)
"""What is trained on while something is still to be chosen."""
CHOSEN: tuple[Split, ...] = ("train", "development")
"""What is trained on when nothing is left to choose."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What a picture shows, without where.

    `objects` holds one object for "one" and "count", the left and the right one for "pair". `number` is how
    many of the same object there are: 1 for "one" and for each object of a pair, 2 to 5 for "count".
    """

    kind: Kind
    objects: tuple[Object, ...]
    number: int
    background: Background

    @property
    def combination(self) -> Combination:
        """Itself, so that what reads combinations also reads scenes."""
        return self


def fifth(first: str, second: str) -> int:
    """The fifth, 0 to 4, that a pair of words falls in."""
    return crc32(f"{first}/{second}".encode()) % 5


def split_of(combination: Combination) -> Split:
    """The one split that a picture of this combination belongs to."""
    fifths = {fifth(shown.name, combination.background.name) for shown in combination.objects}
    if combination.kind == "pair":
        left, right = combination.objects
        fifths.add(fifth(left.name, right.name))
    else:
        fifths.add(fifth(combination.objects[0].name, load_world().numbers[combination.number]))
    return _split(min(fifths))


def trained_in_number(thing: Object, number: int, splits: Collection[Split] = CHOOSING) -> bool:
    """Whether so many of the object alone, 1 to 5, may be trained on, on one background or another."""
    return _split(fifth(thing.name, load_world().numbers[number])) in splits


def _split(lowest: int) -> Split:
    """The split of what has this for the lowest of its fifths."""
    if lowest == 0:
        return "held_out"
    return "development" if lowest == 1 else "train"

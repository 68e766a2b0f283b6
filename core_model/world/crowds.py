"""Crowds: pictures of several kinds of objects, several of each, that only training shows.

In the world's own pictures, how many dogs there are is also a matter of which numbers of dogs were trained
on, and whether there is a dog is one bit a question. In a crowd neither can be guessed: the name must be
found, its likes told from the others, and counted. Crowds lie on colours that mean nothing, and none has
two or more of an object that are not trained on alone.

Crowds of strangers teach to count without knowing what: their objects are none of the world's and have no
name, and of each there may be any number up to five.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Int8

from omni_agent.core_model.world.language import Question, how_many, is_there
from omni_agent.core_model.world.scenes import Placed, in_cell, meaningless_background
from omni_agent.core_model.world.splits import CHOOSING, Split, trained_in_number
from omni_agent.core_model.world.words import Background, Object, load_world

__all__ = ["MOST", "Crowd", "crowd_question", "sample_crowd", "sample_strangers"]

MOST = 7
"""Objects in the largest crowd."""

# Emoji of food, animals, vehicles.
STRANGERS = (
    (0x1F32D, 0x1F37F),
    (0x1F400, 0x1F43D),
    (0x1F680, 0x1F6A4),
    (0x1F950, 0x1F96F),
    (0x1F980, 0x1F9AE),
)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A picture of a crowd before it is painted."""

    background: Background
    items: tuple[Placed, ...]

    @property
    def numbers(self) -> Int8[np.ndarray, " objects"]:
        """How many there are of each object of the world; of strangers, of each in this crowd."""
        shown = [item.object.index for item in self.items]
        return np.bincount(shown, minlength=len(load_world().objects)).astype(np.int8)


def sample_crowd(rng: np.random.Generator, splits: Collection[Split] = CHOOSING) -> Crowd:
    """Two to seven objects of two to four kinds, in distinct cells, each of a size of its own. Two or more of
    an object only where so many alone are in one of the splits.
    """
    shown = _some(rng, splits)
    while len(set(shown)) < 2 or len(shown) > MOST:
        shown = _some(rng, splits)
    return _crowd(rng, shown, rng.integers(17, 21, len(shown)).tolist())


def sample_strangers(rng: np.random.Generator) -> Crowd:
    """Strangers, in half of the crowds two to five of one kind and one size, else one to seven of up to four
    kinds. They are numbered from 0 in each crowd, by kind.
    """
    alike = rng.random() < 0.5
    glyphs = rng.permutation(_strange_glyphs())[: 1 if alike else 4].tolist()
    numbers = [0] * len(glyphs)
    while not 0 < sum(numbers) <= MOST or (alike and sum(numbers) == 1):
        numbers = rng.integers(0, 6, len(glyphs)).tolist()
    shown = [
        Object(index=index, name="", plural="", article="", group="", glyph=each)
        for index, (each, number) in enumerate(zip(glyphs, numbers, strict=True))
        for _ in range(number)
    ]
    sizes = rng.integers(17, 21, 1 if alike else len(shown)).tolist()
    return _crowd(rng, shown, sizes * (len(shown) // len(sizes)))


@cache
def _strange_glyphs() -> tuple[str, ...]:
    known = {thing.glyph for thing in load_world().objects}
    there = (chr(code) for first, last in STRANGERS for code in range(first, last + 1))
    return tuple(each for each in there if each not in known)


def _crowd(rng: np.random.Generator, shown: Sequence[Object], sizes: Sequence[int]) -> Crowd:
    cells = rng.permutation(9)[: len(shown)].tolist()
    return Crowd(
        background=meaningless_background(rng),
        items=tuple(
            in_cell(thing, cell, rng.integers(-1, 2, 2).tolist(), size)
            for thing, cell, size in zip(shown, cells, sizes, strict=True)
        ),
    )


def crowd_question(rng: np.random.Generator, numbers: Int8[np.ndarray, " objects"]) -> Question:
    """A question about a crowd: whether there is one of an object (half of them are), or how many (three in
    four are there).
    """
    world = load_world()
    wanted = is_there if rng.random() < 0.35 else how_many
    there = rng.random() < (0.5 if wanted is is_there else 0.75)
    asked = world.objects[int(rng.choice(np.flatnonzero((numbers > 0) == there)))]
    return wanted(asked, int(numbers[asked.index]))


def _some(rng: np.random.Generator, splits: Collection[Split]) -> list[Object]:
    """Up to four kinds of objects, each as often as it is shown."""
    objects = load_world().objects
    shown: list[Object] = []
    for index in rng.permutation(len(objects))[: rng.integers(2, 5)].tolist():
        number = int(rng.integers(1, 6))
        if number == 1 or trained_in_number(objects[index], number, splits):
            shown += [objects[index]] * number
    return shown

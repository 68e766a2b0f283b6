"""Crowds: pictures of several kinds of objects, several of each, that only training shows.

In the world's own pictures, how many dogs there are is also a matter of which numbers of dogs were trained
on, and whether there is a dog is one bit a question. In a crowd neither can be guessed: the name must be
found, its likes told from the others, and counted. Crowds lie on colours that mean nothing, and none has
two or more of an object that are not trained on alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8

from omni_agent.core_model.world.language import Question, how_many, is_there
from omni_agent.core_model.world.scenes import Placed, in_cell, meaningless_background
from omni_agent.core_model.world.splits import trained_in_number
from omni_agent.core_model.world.words import Background, Object, load_world

__all__ = ["MOST", "Crowd", "crowd_question", "sample_crowd"]

MOST = 7
"""Objects in the largest crowd."""


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A picture of a crowd before it is painted."""

    background: Background
    items: tuple[Placed, ...]

    @property
    def numbers(self) -> Int8[np.ndarray, " objects"]:
        """How many there are of each object of the world."""
        shown = [item.object.index for item in self.items]
        return np.bincount(shown, minlength=len(load_world().objects)).astype(np.int8)


def sample_crowd(rng: np.random.Generator) -> Crowd:
    """Two to seven objects of two to four kinds, in distinct cells, each of a size of its own."""
    shown = _some(rng)
    while len(set(shown)) < 2 or len(shown) > MOST:
        shown = _some(rng)
    cells = rng.permutation(9)[: len(shown)].tolist()
    return Crowd(
        background=meaningless_background(rng),
        items=tuple(
            in_cell(thing, cell, rng.integers(-1, 2, 2).tolist(), int(rng.integers(17, 21)))
            for thing, cell in zip(shown, cells, strict=True)
        ),
    )


def crowd_question(rng: np.random.Generator, numbers: Int8[np.ndarray, " objects"]) -> Question:
    """A question about a crowd: how many there are in all, whether there is one of an object (half of them
    are), or how many (three in four are there).
    """
    world = load_world()
    kind = rng.random()
    if kind < 0.2:
        return Question(kind="count", text="how many are there", answer=world.numbers[int(numbers.sum())])
    wanted = is_there if kind < 0.5 else how_many
    there = rng.random() < (0.5 if wanted is is_there else 0.75)
    asked = world.objects[int(rng.choice(np.flatnonzero((numbers > 0) == there)))]
    return wanted(asked, int(numbers[asked.index]))


def _some(rng: np.random.Generator) -> list[Object]:
    """Up to four kinds of objects, each as often as it is shown."""
    objects = load_world().objects
    shown: list[Object] = []
    for index in rng.permutation(len(objects))[: rng.integers(2, 5)].tolist():
        number = int(rng.integers(1, 6))
        if number == 1 or trained_in_number(objects[index], number):
            shown += [objects[index]] * number
    return shown

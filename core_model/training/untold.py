"""Words that training never tells where they could be right, and therefore leaves out of the loss there.

Four dogs alone may be held out, and some objects never stand alone in training: cross-entropy would teach
that "four" is never right about dogs, and that "what is this" is never answered by these objects. What is
left out is written as bits: bit n for the number n, and one more, ALONE.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from omni_agent.core_model.world import Object, Split, load_world
from omni_agent.core_model.world.crowds import MOST
from omni_agent.core_model.world.splits import trained_in_number

__all__ = ["ALONE", "excluded", "untold_numbers", "untold_words"]

ALONE = 1 << (MOST + 1)
"""The objects that never stand alone."""


def untold_numbers(thing: Object, splits: Collection[Split]) -> int:
    """The bits of the numbers, two to five, of this object that are in none of these splits."""
    return sum(1 << number for number in range(2, 6) if not trained_in_number(thing, number, splits))


def untold_words(splits: Collection[Split]) -> list[list[str]]:
    """What each bit leaves out where these splits are trained on."""
    world = load_world()
    never = [thing.name for thing in world.objects if not trained_in_number(thing, 1, splits)]
    return [*[[word] for word in world.numbers[: MOST + 1]], never]


def excluded(untold: Int64[Tensor, " n"], classes: Bool[Tensor, "bits classes"]) -> Bool[Tensor, "n classes"]:
    """The classes that are left out by each row's bits, of which each leaves out some."""
    bits = (untold[:, None] >> torch.arange(len(classes), device=untold.device)) & 1
    return bits.float() @ classes.float() > 0

"""Scenes: what a picture shows and where. Sampling them within a split; nothing is painted here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from omni_agent.core_model.world.glyphs import glyph
from omni_agent.core_model.world.splits import Combination, Kind, Split, split_of
from omni_agent.core_model.world.words import Background, Object, load_world

__all__ = [
    "KINDS",
    "Placed",
    "Scene",
    "in_cell",
    "meaningless_background",
    "place",
    "sample_combination",
    "sample_scene",
]

KINDS: tuple[Kind, ...] = ("one", "count", "pair")

# The centres of the columns and rows of the 3x3 grid of 21-pixel cells: with these, objects of 20 pixels stay
# inside the picture when jittered by one.
CELLS = (11, 32, 53)
PAIR_LEFT, PAIR_RIGHT = 17, 47
PAIR_JITTER = 2

# Drawing targets are simpler than what is looked at, one size and one place for each kind (but see
# DRAWING_SMALL): freely placed ones take far longer to learn, and with nine places still only colours were
# learnt where shapes were wanted.
# A single object has the size of one of a pair and fills whole codes of 8 pixels as these do, so that what is
# held out alone is the same few codes, moved.
DRAWING_SIZES: dict[Kind, int] = {"one": 32, "count": 20, "pair": 32}
DRAWING_CENTRE = 32
DRAWING_PAIR = (16, 48)
# A pair with one of its objects where single ones are has the other beside it: two codes by two, at the edge.
DRAWING_SMALL, DRAWING_SIDES = 16, (8, 56)
# The centres of counted objects, one pattern for each number: all of them at the same pixel of a code, so
# that an object is the same three codes by three wherever it stands. In cells of the grid, which begin at
# other pixels of a code, a core drew all that it was trained on, and of the rest three quarters.
DRAWING_CORNERS = ((12, 12), (52, 12), (12, 52), (52, 52))
DRAWING_COUNT: dict[int, tuple[tuple[int, int], ...]] = {
    2: (DRAWING_CORNERS[0], DRAWING_CORNERS[3]),
    3: DRAWING_CORNERS[:3],
    4: DRAWING_CORNERS,
    5: (*DRAWING_CORNERS, (36, 36)),
}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An object in a picture: its centre's column `x` and row `y`, and its longer side, in pixels.

    The glyph, w by h pixels, covers the columns from `x - w // 2` and the rows from `y - h // 2`.
    """

    object: Object
    x: int
    y: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture before it is painted. The items of a pair are left, then right."""

    kind: Kind
    background: Background
    items: tuple[Placed, ...]

    @property
    def combination(self) -> Combination:
        """What the scene shows, without where."""
        if self.kind == "pair":
            objects, number = tuple(item.object for item in self.items), 1
        else:
            objects, number = (self.items[0].object,), len(self.items)
        return Combination(kind=self.kind, objects=objects, number=number, background=self.background)


def sample_scene(
    rng: np.random.Generator,
    split: Split | None,
    kind: Kind | None = None,
    drawing: bool = False,
    background_colours: Literal["world", "random"] = "world",
    pair_sizes: Literal["world", "any"] = "world",
) -> Scene:
    """A scene of that split; of any split when it is None, of any kind, equally likely, when `kind` is None.

    `drawing` gives the simpler scenes that drawing is taught with; paint those without noise. With
    `background_colours="random"` the split is that of a background of the world, but it is painted in two
    colours that mean nothing: for teaching how to see objects, not for questions. `pair_sizes="any"` is for
    the same: one object of a pair as large as a single one, when drawn also in its place, the other as there
    is room for.
    """
    combination = sample_combination(rng, split, kind)
    scene = place(rng, combination, drawing=drawing, pair_sizes=pair_sizes)
    if background_colours == "world":
        return scene
    return Scene(kind=scene.kind, background=meaningless_background(rng), items=scene.items)


def meaningless_background(rng: np.random.Generator) -> Background:
    """A background of two colours that no word describes."""
    top, bottom = rng.integers(0, 256, (2, 3)).tolist()
    return Background(index=-1, name="random", phrase="", top=tuple(top), bottom=tuple(bottom))


def sample_combination(
    rng: np.random.Generator, split: Split | None, kind: Kind | None = None
) -> Combination:
    """What a scene of that split may show: uniform among the split's combinations of a kind."""
    wanted = _choice(rng, KINDS) if kind is None else kind
    while True:
        combination = _any_combination(rng, wanted)
        if split is None or split_of(combination) == split:
            return combination


def place(
    rng: np.random.Generator,
    combination: Combination,
    *,
    drawing: bool = False,
    pair_sizes: Literal["world", "any"] = "world",
) -> Scene:
    """Sizes and places for a combination, every object wholly inside the picture."""
    items: tuple[Placed, ...]
    if combination.kind == "one":
        items = (_place_one(rng, combination.objects[0], drawing),)
    elif combination.kind == "count":
        items = _place_count(rng, combination.objects[0], combination.number, drawing)
    elif pair_sizes == "any":
        place_any = _draw_one_of_a_pair if drawing else _place_pair_of_any_size
        items = place_any(rng, combination.objects)
    else:
        items = _place_pair(rng, combination.objects, drawing)
    return Scene(kind=combination.kind, background=combination.background, items=items)


def _any_combination(rng: np.random.Generator, kind: Kind) -> Combination:
    world = load_world()
    background = _choice(rng, world.backgrounds)
    first = int(rng.integers(len(world.objects)))
    if kind == "pair":
        # One of the others, uniformly: skip over the first.
        second = int(rng.integers(len(world.objects) - 1))
        objects = (world.objects[first], world.objects[second + (second >= first)])
        return Combination(kind=kind, objects=objects, number=1, background=background)
    number = 1 if kind == "one" else int(rng.integers(2, 6))
    return Combination(kind=kind, objects=(world.objects[first],), number=number, background=background)


def _place_one(rng: np.random.Generator, shown: Object, drawing: bool) -> Placed:
    size = _size(rng, "one", 34, 50, drawing)
    if drawing:
        return Placed(object=shown, x=DRAWING_CENTRE, y=DRAWING_CENTRE, size=size)
    drawn = glyph(shown, size)
    return Placed(object=shown, x=_anywhere(rng, drawn.width), y=_anywhere(rng, drawn.height), size=size)


def _place_count(rng: np.random.Generator, shown: Object, number: int, drawing: bool) -> tuple[Placed, ...]:
    size = _size(rng, "count", 17, 20, drawing)
    if drawing:
        return tuple(Placed(object=shown, x=x, y=y, size=size) for x, y in DRAWING_COUNT[number])
    cells = sorted(rng.permutation(9)[:number].tolist())
    jitter = rng.integers(-1, 2, (number, 2)).tolist()
    return tuple(in_cell(shown, cell, shift, size) for cell, shift in zip(cells, jitter, strict=True))


def in_cell(shown: Object, cell: int, shift: Sequence[int], size: int) -> Placed:
    """An object in a cell of the 3x3 grid, numbered by rows, so many columns and rows off its centre."""
    return Placed(object=shown, x=CELLS[cell % 3] + shift[0], y=CELLS[cell // 3] + shift[1], size=size)


def _place_pair(rng: np.random.Generator, objects: Sequence[Object], drawing: bool) -> tuple[Placed, ...]:
    items = []
    for shown, x, drawing_x in zip(objects, (PAIR_LEFT, PAIR_RIGHT), DRAWING_PAIR, strict=True):
        size = _size(rng, "pair", 24, 30, drawing)
        column = drawing_x if drawing else x + int(rng.integers(-PAIR_JITTER, PAIR_JITTER + 1))
        row = DRAWING_CENTRE if drawing else _anywhere(rng, glyph(shown, size).height)
        items.append(Placed(object=shown, x=column, y=row, size=size))
    return tuple(items)


def _place_pair_of_any_size(rng: np.random.Generator, objects: Sequence[Object]) -> tuple[Placed, ...]:
    room = load_world().size
    large = int(rng.integers(32, 49))
    sizes = [large, int(rng.integers(16, room - large + 1))]
    if rng.random() < 0.5:
        sizes.reverse()
    left, right = (glyph(shown, size) for shown, size in zip(objects, sizes, strict=True))
    first = int(rng.integers(room - left.width - right.width + 1))
    second = int(rng.integers(first + left.width, room - right.width + 1))
    return tuple(
        Placed(object=shown, x=edge + drawn.width // 2, y=_anywhere(rng, drawn.height), size=size)
        for shown, drawn, edge, size in zip(objects, (left, right), (first, second), sizes, strict=True)
    )


def _draw_one_of_a_pair(rng: np.random.Generator, objects: Sequence[Object]) -> tuple[Placed, ...]:
    """One of them as a single object is drawn, the other small beside it."""
    main = int(rng.integers(2))
    places = [
        (DRAWING_CENTRE, DRAWING_SIZES["one"]) if which == main else (side, DRAWING_SMALL)
        for which, side in enumerate(DRAWING_SIDES)
    ]
    return tuple(
        Placed(object=shown, x=x, y=DRAWING_CENTRE, size=size)
        for shown, (x, size) in zip(objects, places, strict=True)
    )


def _size(rng: np.random.Generator, kind: Kind, smallest: int, largest: int, drawing: bool) -> int:
    return DRAWING_SIZES[kind] if drawing else int(rng.integers(smallest, largest + 1))


def _anywhere(rng: np.random.Generator, length: int) -> int:
    """A centre at which `length` pixels fit."""
    first, last = length // 2, load_world().size - length + length // 2
    return int(rng.integers(first, last + 1))


def _choice(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]

"""Where things go: a layered layout, from what is read at the top to who reads it below.

After Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures"
(1981): layers by the longest way, an order in each that crosses few lines, and places as straight as the
order allows.
Lines pass through places of their own, wide enough for their labels, so nothing is drawn over anything.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Block", "Layout", "Link", "laid_out"]

GAP = 28.0
"""Between two things in a layer."""
RISE = 26.0
"""Between two layers."""
SWEEPS = 12
FIRMNESS = 8.0
"""How much more a bend in the middle of a line counts than one at its end."""


@dataclass(frozen=True)
class Block:
    """Something with a size, in pixels."""

    width: float
    height: float


THREAD = Block(8.0, 0.0)
"""The place that a line takes in a layer that it only passes."""


@dataclass(frozen=True)
class Link:
    """A line with a label of a size; lines from one block that share a label share its place, too."""

    source: str
    target: str
    label: str
    size: Block


@dataclass(frozen=True)
class Layout:
    """Centres of blocks and of labels, ways of lines as the points they pass, and the size of it all."""

    places: Mapping[str, tuple[float, float]]
    labels: Mapping[tuple[str, str], tuple[float, float]]
    ways: Mapping[Link, Sequence[tuple[float, float]]]
    width: float
    height: float


def laid_out(blocks: Mapping[str, Block], links: Sequence[Link]) -> Layout:
    """Find a place for everything. Links go forward in the order of the blocks."""
    sizes: dict[str, Block] = dict(blocks)
    layer = _layers(blocks, links)
    ways: dict[Link, list[str]] = {}
    for link in links:
        name = f"{link.source}|{link.label}"
        sizes[name], layer[name] = link.size, layer[link.source] + 1
        ways[link] = [link.source, name]
        for between in range(layer[name] + 1, layer[link.target]):
            # lines that share a label go side by side only from where they must part
            step = f"{name}|{link.target}|{between}"
            sizes[step], layer[step] = THREAD, between
            ways[link].append(step)
        ways[link].append(link.target)
    pairs = list(dict.fromkeys(pair for way in ways.values() for pair in pairwise(way)))
    rows = _ordered(layer, pairs)
    across = _across(rows, sizes, pairs, firm=sizes.keys() - blocks.keys())
    down: dict[str, float] = {}
    top = 0.0
    for row in rows:
        height = max((sizes[name].height for name in row), default=0.0)
        for name in row:
            if sizes[name] is THREAD:
                sizes[name] = Block(THREAD.width, height)  # upright past all that stands beside it
            down[name] = top + sizes[name].height / 2
        top += height + RISE
    left = min((across[name] - sizes[name].width / 2 for name in sizes), default=0.0)
    right = max((across[name] + sizes[name].width / 2 for name in sizes), default=0.0)
    spot = {name: (across[name] - left, down[name]) for name in sizes}
    return Layout(
        places={name: spot[name] for name in blocks},
        labels={(link.source, link.label): spot[ways[link][1]] for link in links},
        ways={link: _points(way, spot, sizes) for link, way in ways.items()},
        width=right - left,
        height=max(top - RISE, 0.0),
    )


def _layers(blocks: Mapping[str, Block], links: Sequence[Link]) -> dict[str, int]:
    """Even layers for blocks, by the longest way to them; odd ones are for labels."""
    layer = dict.fromkeys(blocks, 0)
    order = {name: place for place, name in enumerate(blocks)}
    forward = sorted(links, key=lambda link: order[link.source])
    for link in forward:
        layer[link.target] = max(layer[link.target], layer[link.source] + 2)
    # what nothing leads to moves down to where it is read
    led_to = {link.target for link in links}
    for name in blocks:
        readers = [layer[link.target] for link in links if link.source == name]
        if name not in led_to and readers:
            layer[name] = min(readers) - 2
    return layer


def _ordered(layer: Mapping[str, int], pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The order in each layer that crossed the fewest lines, of some that the barycentre rule comes to."""
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name, row in layer.items():
        rows[row].append(name)
    above: dict[str, list[str]] = {name: [] for name in layer}
    below: dict[str, list[str]] = {name: [] for name in layer}
    for source, target in pairs:
        below[source].append(target)
        above[target].append(source)
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(SWEEPS):
        near, way = (above, range(1, len(rows))) if sweep % 2 == 0 else (below, range(len(rows) - 2, -1, -1))
        for number in way:
            other = rows[number - 1 if sweep % 2 == 0 else number + 1]
            spot = {name: place for place, name in enumerate(other)}
            now = {name: place for place, name in enumerate(rows[number])}
            rows[number].sort(key=lambda name: _mean([spot[each] for each in near[name]], now[name]))
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows: Sequence[Sequence[str]], below: Mapping[str, Sequence[str]]) -> int:
    count = 0
    for row, following in pairwise(rows):
        spot = {name: place for place, name in enumerate(following)}
        ends = [spot[target] for name in row for target in sorted(below[name], key=lambda each: spot[each])]
        before: list[int] = []
        for end in ends:
            count += len(before) - bisect_right(before, end)
            insort(before, end)
    return count


def _across(
    rows: Sequence[Sequence[str]],
    sizes: Mapping[str, Block],
    pairs: Sequence[tuple[str, str]],
    firm: Set[str],
) -> dict[str, float]:
    """Horizontal centres: each near the mean of what it is joined to, none over another."""

    def wanted(name: str) -> float:
        weights = [FIRMNESS if {name, each} <= firm else 1.0 for each in near[name]]
        total = sum(weight * across[each] for weight, each in zip(weights, near[name], strict=True))
        return total / sum(weights) if weights else across[name]

    near: dict[str, list[str]] = {name: [] for name in sizes}
    for source, target in pairs:
        near[source].append(target)
        near[target].append(source)
    across: dict[str, float] = {}
    for row in rows:
        across.update(zip(row, _apart(row, [0.0] * len(row), sizes), strict=True))
    for sweep in range(SWEEPS * 8):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            places = _apart(row, [wanted(name) for name in row], sizes)
            across.update(zip(row, places, strict=True))
    return across


def _apart(row: Sequence[str], wanted: Sequence[float], sizes: Mapping[str, Block]) -> list[float]:
    """The places nearest to the wanted ones, in the sense of least squares, that keep the gaps.

    Without the room that each needs, it is isotonic regression: neighbours that would overlap are pooled.
    """
    room = [0.0]
    for first, second in pairwise(row):
        room.append(room[-1] + (sizes[first].width + sizes[second].width) / 2 + GAP)
    pools: list[tuple[float, int]] = []
    for place, needed in zip(wanted, room, strict=False):
        total, count = place - needed, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before, several = pools.pop()
            total, count = total + before, count + several
        pools.append((total, count))
    means = [total / count for total, count in pools for _ in range(count)]
    return [mean + needed for mean, needed in zip(means, room, strict=False)]


def _points(
    way: Sequence[str], spot: Mapping[str, tuple[float, float]], sizes: Mapping[str, Block]
) -> list[tuple[float, float]]:
    """From the bottom of the source, through the places between, to the top of the target."""
    first, last = way[0], way[-1]
    points = [(spot[first][0], spot[first][1] + sizes[first].height / 2)]
    for name in way[1:-1]:
        x, y = spot[name]
        half = sizes[name].height / 2
        points += [(x, y - half), (x, y + half)] if half else [(x, y)]
    points.append((spot[last][0], spot[last][1] - sizes[last].height / 2))
    return points


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise

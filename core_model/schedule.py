"""Schedules: which block each denoising step fills in, and how many of its places commit.

Pure functions of lengths and counts, made before the first step; a deadline makes what is left of one anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from omni_agent.errors import InputError

__all__ = [
    "BlockStep",
    "Reading",
    "anew",
    "as_given",
    "by_chance",
    "check_blocks",
    "check_given",
    "counts",
    "even",
    "published",
]


@dataclass(frozen=True, kw_only=True)
class BlockStep:
    """One denoising step: the block's places, counted from the blank's start, and how many of those still
    masked commit: so many `places` or, where that is None, a share of them; all of them in a block's last
    step.
    """

    start: int
    stop: int
    share: float = 1.0
    last: bool = False
    places: int | None = None

    def count(self, masked: int) -> int:
        """How many of so many masked places of the block commit; by its share in float32, as published, at
        least one, which is one of a later block where this one has none.
        """
        if self.places is not None:
            return min(self.places, masked)
        if self.last:
            return masked
        return max(1, int(np.float32(masked) * np.float32(self.share)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """The places whose logits a denoising step needs.

    Attributes:
        places: counted from the blank's start, ascending.
        ranks: of each, how many masked places are before it.
        masked: masked places of the whole blank.
        inside: how many of `places` are in the step's block: all of them, or none.
    """

    places: Int[Tensor, " m"]
    ranks: Int[Tensor, " m"]
    masked: int
    inside: int

    @staticmethod
    def of(step: BlockStep, masked: Int[Tensor, " masked"]) -> Reading:
        """The masked places of a step's block; all that are masked, where the block has none left.

        Args:
            step: the next one.
            masked: all masked places of the blank, ascending, one at least.
        """
        ranks = ((masked >= step.start) & (masked < step.stop)).nonzero()[:, 0]
        inside = len(ranks)
        if not inside:
            ranks = torch.arange(len(masked), device=masked.device)
        return Reading(places=masked[ranks], ranks=ranks, masked=len(masked), inside=inside)

    def part(self, rows: slice) -> Reading:
        """Some of the places."""
        places = self.places[rows]
        return replace(self, places=places, ranks=self.ranks[rows], inside=len(places) if self.inside else 0)


def even(length: int, num_steps: int, block_length: int | None = None) -> tuple[BlockStep, ...]:
    """Steps that commit as evenly as can be, none without a place.

    A block has its share of the steps, by how many places it has; steps too few leave some without any.

    Args:
        length: masked places, at least 1.
        num_steps: denoising steps wanted, at least 1; no more than `length` are made.
        block_length: places of a block, at least 1; the last one has what is left. None makes one block.
    """
    block, num_steps = min(block_length or length, length), min(num_steps, length)
    steps: list[BlockStep] = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        share = num_steps * stop // length - num_steps * start // length
        steps += _evenly(start, stop, stop - start, share)
    return tuple(steps)


def published(length: int, num_steps: int, block_length: int | None = None) -> tuple[BlockStep, ...]:
    """The steps of the published code for a blank of `length` places, at least 1.

    As published, a block whose share of the steps is below one gets none, and stays masked.
    """
    block, num_steps = min(block_length or length, length), min(num_steps, length)
    steps: list[BlockStep] = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        count = int(np.float32(stop - start) / np.float32(length) * np.float32(num_steps))
        times = torch.linspace(1, 1e-3, count + 1)
        shares = (1 - times[1:] / times[:-1]).tolist()
        steps += [
            BlockStep(start=start, stop=stop, share=share, last=index == count - 1)
            for index, share in enumerate(shares)
        ]
    return tuple(steps)


def check_blocks(steps: Sequence[BlockStep], length: int, num_steps: int, block_length: int | None) -> None:
    """Refuse a schedule of so many steps that leaves a block of the blank without one.

    Raises:
        InputError: it does.
    """
    block = min(block_length or length, length)
    starts = {step.start for step in steps}
    without = [start for start in range(0, length, block) if start not in starts]
    if without:
        raise InputError(
            f"{num_steps} steps are too few for {-(-length // block)} blocks of {block} places; that from"
            f" {without[0]} on gets no step and would stay masked: give more (num_steps=...) or longer"
            " blocks (block_length=...)"
        )


def check_given(counts: Sequence[int], masked: Sequence[int], length: int, block_length: int | None) -> None:
    """Refuse a schedule of which a step reaches into a block that it does not fill: it would take the surest
    places of all its blocks, and what is left of the first one would stay masked.

    Raises:
        InputError: it does.
    """
    block, done = min(block_length or length, length), 0
    for number, count in enumerate(counts, start=1):
        after = done + count
        if after < len(masked):
            first, last = masked[done] // block, masked[after - 1] // block
            if first != last == masked[after] // block:
                raise InputError(
                    f"step {number} of the schedule commits {count} places, from a block of {block} into the"
                    " midst of another; wanted steps inside one block, or to the end of one: give other"
                    " counts, or no block_length"
                )
        done = after


def as_given(
    counts: Sequence[int],
    masked: Sequence[int],
    length: int,
    block_length: int | None = None,
    *,
    at_least: bool = False,
) -> tuple[BlockStep, ...]:
    """Steps that commit so many places each, from the left, in as few blocks as hold them.

    Args:
        counts: for each step, each at least 1.
        masked: the masked places of the blank, ascending.
        length: of the blank.
        block_length: as in `even`.
        at_least: steps may commit more than their count, so the counts need not add up: what is too much is
            left out, and a last step has what is missing.

    Raises:
        InputError: they do not add up to the masked places.
    """
    total, wanted = sum(counts), len(masked)
    if total != wanted and not at_least:
        raise InputError(
            f"a schedule of {total} places in {len(counts)} steps was given for a blank with"
            f" {wanted} to fill; wanted one that adds up to it"
        )
    block, steps, done = min(block_length or length, length), [], 0
    for count in (*counts, wanted - total):
        count = min(count, wanted - done)
        if count > 0:
            start, stop = masked[done] // block * block, (masked[done + count - 1] // block + 1) * block
            steps.append(BlockStep(start=start, stop=min(stop, length), places=count))
            done += count
    return tuple(steps)


def anew(
    masked: Sequence[int], num_steps: int, length: int, block_length: int | None = None
) -> tuple[BlockStep, ...]:
    """So many steps, or fewer, for places that are still masked: each commits, and none of the steps nothing.

    Blocks keep their order. Where there are fewer steps than blocks, some steps fill in several, and then all
    that is masked of them: so every step is what `as_given` makes of how many places it commits.

    Args:
        masked: places of the blank, ascending, one at least.
        num_steps: at least 1.
        length: of the blank.
        block_length: as in `even`.
    """
    block, total, done = min(block_length or length, length), len(masked), 0
    num_steps = min(num_steps, total)
    steps: list[BlockStep] = []
    waiting: list[tuple[int, int]] = []  # blocks without a step of their own: where they start, their places
    for start, inside in groupby(masked, lambda place: place // block * block):
        places, stop = len(list(inside)), min(start + block, length)
        before = done + sum(count for _, count in waiting)
        share = num_steps * (before + places) // total - num_steps * done // total
        if share > 1 and waiting:
            steps += _evenly(waiting[0][0], waiting[-1][0] + block, before - done, 1)
            waiting, done, share = [], before, share - 1
        waiting.append((start, places))
        if share:
            steps += _evenly(waiting[0][0], stop, before + places - done, share)
            waiting, done = [], before + places
    return tuple(steps)


def by_chance(length: int, num_steps: int) -> tuple[BlockStep, ...]:
    """So many steps, at least 1, of which each takes its part of what is masked by chance, the last one the
    rest.
    """
    return tuple(
        BlockStep(start=0, stop=length, share=1 / (num_steps - index), last=index == num_steps - 1)
        for index in range(num_steps)
    )


def counts(steps: Sequence[BlockStep], masked: Sequence[int]) -> tuple[int, ...]:
    """How many places each step commits of a blank with these places masked."""
    left = {
        (step.start, step.stop): sum(step.start <= place < step.stop for place in masked) for step in steps
    }
    result = []
    for step in steps:
        block = (step.start, step.stop)
        taken = step.count(left[block])
        left[block] = max(left[block] - taken, 0)
        result.append(taken)
    return tuple(result)


def _evenly(start: int, stop: int, places: int, num_steps: int) -> list[BlockStep]:
    ends = [places * index // max(num_steps, 1) for index in range(num_steps + 1)]
    step = BlockStep(start=start, stop=stop)
    return [replace(step, places=after - before) for before, after in pairwise(ends)]

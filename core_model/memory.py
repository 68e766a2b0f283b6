"""What of a row is computed once and looked at in many denoising steps: keys and values of its front.

Two fronts. A *prefix* looks only at itself (`prompt_attention: prefix`), so what is remembered of it is what
would be computed anew: exact. A *prompt*, and what blocks before the present one hold, also look at the
blank; remembered over a block, they look at it as it was at the block's first step: fast, and not exact.

Logits are read shifted by one, so the position before a block is never in its memory: it is computed with the
block in each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from omni_agent.core_model.attention import KeysValues
from omni_agent.core_model.transformer import Transformer

__all__ = ["Memory", "Row", "States", "hidden_states"]

T = TypeVar("T")

FEWEST_READ = 16
"""Positions that go through the whole of the last layer, at least. MKL rounds products of fewer rows, up to
15 of 640 by 256, otherwise than those of more, and takes about as long for them.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """Keys and values, of each layer, of so many positions at the front of a row."""

    positions: int
    layers: tuple[KeysValues, ...]

    def before(self, position: int) -> Memory:
        """What is remembered of the positions before one."""
        layers = tuple(
            KeysValues(each.keys[:, :, :position], each.values[:, :, :position]) for each in self.layers
        )
        return Memory(positions=position, layers=layers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """What is computed of a canvas.

    Attributes:
        embeddings: of the positions behind what is remembered.
        read: the positions whose hidden states are wanted, counted from the canvas' first; None: of none.
        memory: what is remembered of its front.
        remember: whether a memory of all its positions is wanted.
    """

    embeddings: Float[Tensor, "n hidden"]
    read: Int[Tensor, " m"] | None = None
    memory: Memory | None = None
    remember: bool = False

    @property
    def first(self) -> int:
        """The position of the first of them."""
        return self.memory.positions if self.memory else 0


@dataclass(frozen=True, kw_only=True, eq=False)
class States:
    """Hidden states of the positions that are read of a row and, if it is to be remembered, its memory."""

    hidden: Float[Tensor, "m hidden"]
    memory: Memory | None = None


def hidden_states(transformer: Transformer, requests: Sequence[Sequence[Row]]) -> list[list[States]]:
    """Hidden states of each request's rows, in one model call. Nobody looks at what fills the shorter ones
    up.

    Args:
        transformer: whose.
        requests: one row or more of each, of any lengths, behind memories of any lengths.
    """
    rows = [row for request in requests for row in request]
    lengths, pasts = [len(row.embeddings) for row in rows], [row.first for row in rows]
    longest, deepest = max(lengths), max(pasts)
    if len(rows) == 1:
        embeddings = rows[0].embeddings[None]
    else:
        embeddings = torch.stack(
            [F.pad(row.embeddings, (0, 0, 0, longest - len(row.embeddings))) for row in rows]
        )
    if len(set(lengths)) == 1 and len(set(pasts)) == 1:
        mask = positions = None
    else:
        mask, positions = _sees(lengths, pasts, embeddings.device)
    past = _side_by_side([row.memory for row in rows], deepest) if deepest else []
    places = [_places(row) for row in rows]
    in_the_call = [index * longest + each for index, each in enumerate(places)]
    reads = [torch.cat(its_own) for its_own in _grouped(in_the_call, requests)]
    hidden, made = transformer.read_behind(reads, past, embeddings, mask, positions)
    found = torch.split(torch.cat(hidden), [len(each) for each in places])
    states = [
        States(
            hidden=part[: 0 if row.read is None else len(row.read)],
            memory=_grown(row.memory, made, index, len(row.embeddings)) if row.remember else None,
        )
        for index, (row, part) in enumerate(zip(rows, found, strict=True))
    ]
    return _grouped(states, requests)


def _grouped(each: Sequence[T], requests: Sequence[Sequence[Row]]) -> list[list[T]]:
    """What there is of each row, request by request."""
    left = iter(each)
    return [[next(left) for _ in request] for request in requests]


def _places(row: Row) -> Int[Tensor, " m"]:
    """Where a row is read, among what is computed of it; then its first place again, up to `FEWEST_READ`."""
    if row.read is None:
        return torch.arange(0, device=row.embeddings.device)
    more = min(FEWEST_READ, len(row.embeddings)) - len(row.read)
    return F.pad(row.read - row.first, (0, max(more, 0)))


def _sees(
    lengths: Sequence[int], pasts: Sequence[int], device: torch.device
) -> tuple[Bool[Tensor, "batch 1 longest past_and_longest"], Tensor]:
    """What every position of each row may look at, and where the positions are."""
    there = torch.tensor([lengths, pasts], device=device)
    places = torch.arange(max(lengths), device=device)
    own = places < there[0, :, None]
    before = torch.arange(max(pasts), device=device) < there[1, :, None]
    mask = torch.cat([before, own], 1)[:, None, None, :].expand(-1, 1, max(lengths), -1)
    return mask, there[1, :, None] + places


def _side_by_side(memories: Sequence[Memory | None], positions: int) -> list[KeysValues]:
    """The memories of several rows, of which one has some, filled up behind to so many positions."""
    known = [memory for memory in memories if memory is not None]
    if len(memories) == 1:
        return list(known[0].layers)
    nothing = known[0].before(0)
    layers = []
    for rows in zip(*((memory or nothing).layers for memory in memories), strict=True):
        keys, values = zip(*rows, strict=True)
        layers.append(KeysValues(_padded(keys, positions), _padded(values, positions)))
    return layers


def _padded(
    each: Sequence[Float[Tensor, "1 kv_heads _ size"]], positions: int
) -> Float[Tensor, "batch kv_heads past size"]:
    return torch.cat([F.pad(tensor, (0, 0, 0, positions - tensor.shape[2])) for tensor in each])


def _grown(memory: Memory | None, made: Sequence[KeysValues], index: int, length: int) -> Memory:
    own = [
        KeysValues(each.keys[index : index + 1, :, :length], each.values[index : index + 1, :, :length])
        for each in made
    ]
    if memory is None:
        # of its own, or what they were made with would be kept with them: queries, and other rows
        own = [KeysValues(each.keys.clone(), each.values.clone()) for each in own]
        return Memory(positions=length, layers=tuple(own))
    layers = tuple(
        KeysValues(torch.cat([old.keys, new.keys], 2), torch.cat([old.values, new.values], 2))
        for old, new in zip(memory.layers, own, strict=True)
    )
    return Memory(positions=memory.positions + length, layers=layers)

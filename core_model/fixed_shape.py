"""The shapes of steps of fixed shape, and what such a step is given and leaves, as tensors of those shapes.

Lengths go up to a bucket, so that few shapes serve all requests; what fills them up is hidden by a mask. What
a step leaves of a blank is one row of bytes, so that one copy brings all of it to the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from omni_agent.core import Modality
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.looking import embedded, key_of
from omni_agent.core_model.memory import Memory
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.published_unmasking import PublishedRule
from omni_agent.core_model.unmasking import TypedRule

__all__ = [
    "NUMBERS",
    "Blank",
    "FixedShape",
    "Inputs",
    "Standing",
    "first_of_equals",
    "for_rows",
    "numbers_of",
    "packed",
    "shape_of",
]

LENGTHS = 32
"""Rows, memories and blanks go up to a multiple of it."""

FEWEST_PLACES = 16
"""Places read go up to a power of two, and to this at least."""

NUMBERS = (
    "length",  # positions that are computed,
    "past",  # remembered before them,
    "blank",  # where the blank begins among those computed; below 0 if that is remembered
    "places",  # of the blank
    "without",  # positions of the row without the prompt,
    "plain_blank",  # and where its blank begins
    "start",  # of the step's block
    "stop",
    "count",  # how many places commit
    "first",  # whether this is the first step of all
    "step",  # its number, from 1
    "token_key",
    "order_key",
)
"""What of a step is a whole number, made on the host."""


@dataclass(frozen=True, kw_only=True)
class FixedShape:
    """What must be equal for one captured step to serve: sizes, and what changes the arithmetic.

    Attributes:
        rows: requests in the call.
        row: positions that are computed, at most.
        past: remembered positions, at most.
        without: positions of the row without the prompt, at most; 0 where there is no guidance.
        blank: places of the blank, at most.
        places: of them read, at most.
        rule: how the blank is filled.
        modality: what it holds.
        guidance_scale: how much the prompt is stressed; 0 where it is not.
    """

    rows: int = 1
    row: int
    past: int
    without: int
    blank: int
    places: int
    rule: TypedRule | PublishedRule
    modality: Modality
    guidance_scale: float


def shape_of(parts: Parts, decoding: Decoding) -> FixedShape | None:
    """The shape of the next step; None where it has none: where padding is attended, the algorithm is
    `origin`, a threshold or the end decide how many places commit, the prompt is computed anew, or no place
    of the block is masked. A state of which the host does not know how many places are masked has none.
    """
    if decoding.left is None or decoding.done or parts.config.padding == "attended":
        return None
    shortcuts, rule = decoding.shortcuts, decoding.rule
    if shortcuts.threshold < 1 or shortcuts.early_end or decoding.refreshes:
        return None
    if isinstance(rule, PublishedRule) and rule.algorithm == "origin":
        return None
    inside = decoding.inside
    if not inside:
        return None
    canvas, plain, memory = decoding.canvas, decoding.unconditional, _memory(decoding)
    past = memory.positions if memory else 0
    blank = _up(len(canvas.blank))
    return FixedShape(
        row=_up(len(canvas.ids) - past),
        past=_up(past),
        without=_up(len(plain.ids)) if plain is not None and decoding.guides else 0,
        blank=blank,
        places=min(blank, max(FEWEST_PLACES, 1 << (inside - 1).bit_length())),
        rule=rule,
        modality=canvas.blank.modality,
        guidance_scale=decoding.guidance_scale if decoding.guides else 0.0,
    )


def numbers_of(decoding: Decoding, count: int) -> list[int]:
    """What of the next step, which commits so many places, is a whole number; see `NUMBERS`."""
    canvas, plain, memory = decoding.canvas, decoding.unconditional, _memory(decoding)
    past, step = memory.positions if memory else 0, decoding.steps[decoding.step]
    return [
        len(canvas.ids) - past,
        past,
        canvas.blank.start - past,
        len(canvas.blank),
        0 if plain is None else len(plain.ids),
        0 if plain is None else plain.blank.start,
        step.start,
        step.stop,
        count,
        int(decoding.step == 0),
        decoding.step + 1,
        key_of(decoding, "token"),
        key_of(decoding, "order"),
    ]


class Blank(NamedTuple):
    """What is decided of blanks, as views of their bytes; see `Decoding`."""

    ids: Int[Tensor, "rows length"]
    tokens: Int[Tensor, "rows length"]
    committed: Int[Tensor, "rows length"]
    sure: Float[Tensor, "rows length"]
    masked: Bool[Tensor, "rows length"]
    doubt: Int[Tensor, "rows 1"]

    @staticmethod
    def of(data: UInt8[Tensor, "rows bytes"], length: int) -> Blank:
        """The views of bytes that hold blanks of so many places, a multiple of 8."""
        views, at = [], 0
        for dtype, size in (
            (torch.int64, 8 * length),
            (torch.int64, 8 * length),
            (torch.int64, 8 * length),
            (torch.float32, 4 * length),
            (torch.bool, length),
            (torch.int64, 8),
        ):
            views.append(data[:, at : at + size].view(dtype))
            at += size
        return Blank(*views)

    @staticmethod
    def empty(rows: int, length: int, device: torch.device) -> UInt8[Tensor, "rows bytes"]:
        """Bytes for so many blanks."""
        return torch.zeros(rows, 29 * length + 8, dtype=torch.uint8, device=device)


def packed(parts: Parts, decoding: Decoding, length: int) -> UInt8[Tensor, "1 bytes"]:
    """The bytes of a blank, filled up to so many places."""
    data = Blank.empty(1, length, decoding.masked.device)
    into, size = Blank.of(data, length), len(decoding.masked)
    into.ids.fill_(parts.vocabulary.mask)  # which is no repeat of anything
    for name in ("tokens", "committed", "sure", "masked"):
        getattr(into, name)[0, :size] = getattr(decoding, name)
    into.ids[0, :size] = decoding.canvas.filled
    return data


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """What of a request is the same in many steps: all but its blank.

    Attributes:
        row: embeddings of the positions that are computed; at the blank's places no matter what.
        without: the same without the prompt.
        keys: of each layer what is remembered,
        values: and what is looked up by it.
        memory: what those are of.
        ids: of the canvas when this was made, on the host.
    """

    row: Float[Tensor, "row hidden"]
    without: Float[Tensor, "without hidden"] | None
    keys: Float[Tensor, "layers kv_heads past size"] | None
    values: Float[Tensor, "layers kv_heads past size"] | None
    memory: Memory | None
    ids: Int[Tensor, " n"]

    @staticmethod
    def of(parts: Parts, decoding: Decoding, shape: FixedShape) -> Standing:
        """What of a state stands, at the sizes of a shape."""
        canvas, plain, memory = decoding.canvas, decoding.unconditional, _memory(decoding)
        row = embedded(parts, canvas, memory.positions if memory else 0)
        without = None if plain is None or not shape.without else embedded(parts, plain, 0)
        return Standing(
            row=_padded(row, shape.row),
            without=None if without is None else _padded(without, shape.without),
            keys=_side_by_side([layer.keys for layer in memory.layers], shape.past) if memory else None,
            values=_side_by_side([layer.values for layer in memory.layers], shape.past) if memory else None,
            memory=memory,
            ids=canvas.ids.cpu(),
        )

    def fits(self, decoding: Decoding, shape: FixedShape) -> bool:
        """Whether it is what stands of a later state of the same request."""
        without = 0 if self.without is None else len(self.without)
        return self.memory is _memory(decoding) and len(self.row) == shape.row and without == shape.without


class Inputs:
    """Where a step of one shape finds what it is given. It is written over before each step.

    Args:
        parts: the model.
        shape: of the step.
        first_of_equals: whether `torch.topk` takes those here; see the function of that name.
    """

    def __init__(self, parts: Parts, shape: FixedShape, *, first_of_equals: bool) -> None:
        config, weight = parts.config.transformer, parts.transformer.lm_head.weight
        size = config.hidden_size // config.num_heads
        past = (config.num_layers, shape.rows, config.num_key_value_heads, shape.past, size)
        self.shape = shape
        self.first_of_equals = first_of_equals
        self.row = weight.new_zeros(shape.rows, shape.row, config.hidden_size)
        self.without = weight.new_zeros(shape.rows, shape.without, config.hidden_size)
        self.keys, self.values = weight.new_zeros(past), weight.new_zeros(past)
        self.blank = Blank.empty(shape.rows, shape.blank, weight.device)
        self.numbers = torch.zeros(len(NUMBERS), shape.rows, dtype=torch.int64, device=weight.device)
        self.ids = parts.vocabulary.columns(shape.modality).to(weight.device)
        self._holds: list[Standing | None] = [None] * shape.rows

    def fill(
        self, standing: Sequence[Standing], blanks: Sequence[Tensor], numbers: Sequence[Sequence[int]]
    ) -> None:
        """Write what a step is given; rows that are missing are as the last one. Nothing waits for it."""
        more = self.shape.rows - len(standing)
        standing = [*standing, *[standing[-1]] * more]
        for index, each in enumerate(standing):
            if self._holds[index] is not each:
                self._hold(index, each)
        blanks = [*blanks, *[blanks[-1]] * more]
        if len(blanks) == 1:
            self.blank.copy_(blanks[0])
        else:
            torch.cat(list(blanks), out=self.blank)
        table = torch.tensor([*numbers, *[numbers[-1]] * more]).T.contiguous()
        if self.numbers.is_cuda:
            table = table.pin_memory()
        self.numbers.copy_(table, non_blocking=True)

    def _hold(self, index: int, standing: Standing) -> None:
        self.row[index].copy_(standing.row)
        if standing.without is not None:
            self.without[index].copy_(standing.without)
        if standing.keys is not None and standing.values is not None:
            self.keys[:, index].copy_(standing.keys)
            self.values[:, index].copy_(standing.values)
        self._holds[index] = standing


def first_of_equals(device: torch.device) -> bool:
    """Whether `torch.topk` takes, of equals, the first ones on a device: found out, as nothing promises it.

    CUDA's selects digit by digit and takes equals as they lie; a CPU's sorts in part, and takes any. It
    matters: where truncation leaves one token, every place is as sure.
    """
    if device.type != "cuda":
        return False
    for size in (2, 33, 100, 1000):
        values = (torch.arange(size, device=device) % 3 == 0).float()
        for count in (1, size // 2, size - 1):
            if values.topk(count).indices.sort().values.tolist() != _first(values.tolist(), count):
                return False
    return True


def _first(values: Sequence[float], count: int) -> list[int]:
    return sorted(sorted(range(len(values)), key=lambda index: -values[index])[:count])


def for_rows(shape: FixedShape, rows: int) -> FixedShape:
    """The shape for so many requests: their number goes up to a power of two."""
    return replace(shape, rows=1 << (rows - 1).bit_length())


def _memory(decoding: Decoding) -> Memory | None:
    """What the next step looks at without computing it, if it does not refresh it."""
    return decoding.prefix if decoding.prompt is None else decoding.prompt


def _up(length: int) -> int:
    return -(-length // LENGTHS) * LENGTHS


def _padded(row: Float[Tensor, "n hidden"], length: int) -> Float[Tensor, "length hidden"]:
    return F.pad(row, (0, 0, 0, length - len(row)))


def _side_by_side(
    layers: Sequence[Float[Tensor, "1 kv_heads past size"]], length: int
) -> Float[Tensor, "layers kv_heads length size"]:
    stacked = torch.cat(list(layers))
    return F.pad(stacked, (0, 0, 0, length - stacked.shape[2]))

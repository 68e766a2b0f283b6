"""Samples packed into rows: each sees itself and no other, and its positions count from 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from omni_agent.core_model.training.masking import (
    Masked,
    masked_by_place,
    masked_by_sample,
    share_at,
    stratified,
)
from omni_agent.core_model.training.published.config import LossConfig, MaskingConfig
from omni_agent.core_model.training.published.samples import Sample
from omni_agent.core_model.training.sample_kinds import Kind
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = ["ABOUT", "KINDS", "Batch", "Row", "joined", "packed"]

ABOUT = ("text", "speech", "image", "padding")
"""What an error may be about, in the order of `Row.about`."""
KINDS = tuple(Kind)
LEAST_CHANCE = 0.05
"""Errors of a bound are divided by this at least: at a chance of a thousandth, one place would drown all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One packed row, masked.

    `sample` numbers the samples. `places` are masked, `labels` stand there in truth, `weights` is what their
    errors count, `about` and `kinds` say what they are about.
    """

    ids: Int64[np.ndarray, " n"]
    sample: Int64[np.ndarray, " n"]
    positions: Int64[np.ndarray, " n"]
    places: Int64[np.ndarray, " masked"]
    labels: Int64[np.ndarray, " masked"]
    weights: Float64[np.ndarray, " masked"]
    about: Int64[np.ndarray, " masked"]
    kinds: Int64[np.ndarray, " masked"]
    heard_at: Int64[np.ndarray, " sounds"]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows of one length, as one model call has them. `places` and `heard_at` count through all rows."""

    ids: Int[Tensor, "rows n"]
    sample: Int[Tensor, "rows n"]
    positions: Int[Tensor, "rows n"]
    places: Int[Tensor, " masked"]
    labels: Int[Tensor, " masked"]
    weights: Float[Tensor, " masked"]
    about: Int[Tensor, " masked"]
    kinds: Int[Tensor, " masked"]
    heard: Float[Tensor, "frames encoder"]
    heard_at: Int[Tensor, " frames"]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return replace(self, **{each.name: getattr(self, each.name).to(device) for each in fields(self)})


def packed(
    samples: Sequence[Sample],
    vocabulary: Vocabulary,
    masking: MaskingConfig,
    loss: LossConfig,
    rng: np.random.Generator,
    *,
    first: float,
    number: int,
) -> Row:
    """The row of these samples, one after the other.

    Args:
        samples: at least one.
        vocabulary: of the core.
        masking: which places are masked.
        loss: what their errors count.
        rng: of the row.
        first: a quantile of the step's, in [0, 1).
        number: of the row among the step's.
    """
    ids = np.concatenate([each.ids for each in samples])
    starts = np.cumsum([0, *map(len, samples)])
    masked = np.zeros(len(ids), dtype=bool)
    chance = np.ones(len(ids))
    for place, (start, sample) in enumerate(zip(starts, samples, strict=False)):
        labelled = start + np.flatnonzero(sample.labelled)
        drawn = _masked(masking, ids[labelled] == vocabulary.end, rng, stratified(first, number, place))
        masked[labelled], chance[labelled] = drawn.places, drawn.chance
    about = _about(ids, vocabulary)
    worth = np.array([getattr(loss, name) for name in ABOUT])[about]
    if loss.over == "bound":
        labelled = np.concatenate([each.labelled for each in samples])
        weights = worth / chance.clip(LEAST_CHANCE) / max(worth[labelled].sum(), 1e-9)
    else:
        weights = worth / max(worth[masked].sum(), 1e-9)
    places = np.flatnonzero(masked)
    lengths = [len(each) for each in samples]
    kinds = np.repeat([KINDS.index(each.kind) for each in samples], lengths)
    return Row(
        ids=np.where(masked, vocabulary.mask, ids),
        sample=np.repeat(np.arange(len(samples)), lengths),
        positions=np.concatenate([np.arange(length) for length in lengths]),
        places=places,
        labels=ids[places],
        weights=weights[places],
        about=about[places],
        kinds=kinds[places],
        heard_at=np.array(
            [start + at for start, each in zip(starts, samples, strict=False) for at, _ in each.heard],
            dtype=np.int64,
        ),
    )


def joined(
    rows: Sequence[Row], heard: Sequence[Sequence[Tensor]], vocabulary: Vocabulary, width: int
) -> Batch:
    """Rows as one batch, padded to the longest; padding sees only itself.

    Args:
        rows: at least one.
        heard: of each row its encoded sounds.
        vocabulary: of the core.
        width: of encoded sound.
    """
    longest = max(map(len, rows))
    shape = (len(rows), longest)
    ids = np.full(shape, vocabulary.end, dtype=np.int64)
    sample = np.broadcast_to(-1 - np.arange(longest), shape).copy()
    positions = np.zeros(shape, dtype=np.int64)
    for number, row in enumerate(rows):
        for whole, part in ((ids, row.ids), (sample, row.sample), (positions, row.positions)):
            whole[number, : len(row)] = part
    firsts = np.arange(len(rows)) * longest
    sounds = [each for of_row in heard for each in of_row]
    begins = [first + at for first, row in zip(firsts, rows, strict=True) for at in row.heard_at]
    device = sounds[0].device if sounds else None
    return Batch(
        ids=torch.from_numpy(ids),
        sample=torch.from_numpy(sample),
        positions=torch.from_numpy(positions),
        places=_all(row.places + first for first, row in zip(firsts, rows, strict=True)),
        labels=_all(row.labels for row in rows),
        weights=(_all(row.weights for row in rows) / len(rows)).float(),
        about=_all(row.about for row in rows),
        kinds=_all(row.kinds for row in rows),
        heard=torch.cat(sounds) if sounds else torch.zeros(0, width, device=device),
        heard_at=_all(
            begin + np.arange(len(sound)) for begin, sound in zip(begins, sounds, strict=True)
        ).long(),
    )


def _all(arrays: Iterable[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int64), *arrays]))


def _masked(masking: MaskingConfig, tail: np.ndarray, rng: np.random.Generator, quantile: float) -> Masked:
    if masking.by == "place":
        return masked_by_place(rng, tail, padding=masking.padding)
    share = share_at(quantile, full=masking.full, nearly_full=masking.nearly_full)
    return masked_by_sample(rng, tail, share, padding=masking.padding)


def _about(ids: Int64[np.ndarray, " n"], vocabulary: Vocabulary) -> Int64[np.ndarray, " n"]:
    """What each token is, as an index into `ABOUT`; special tokens count as text."""
    speech = (ids >= vocabulary.speech.start) & (ids < vocabulary.speech.stop)
    image = (ids >= vocabulary.image.start) & (ids < vocabulary.image.stop)
    return np.select([speech, image, ids == vocabulary.end], [1, 2, 3], 0)

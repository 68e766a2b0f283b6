"""What a denoising step reads: hidden states at the places it looks at, and their logits a tile at a time.

Functions of the resident parts and of states; what is remembered of a row (`memory.py`) is not computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from omni_agent.core import Modality
from omni_agent.core_model import published_unmasking
from omni_agent.core_model.batching import attended_rows
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.guidance import guided, out_of_line
from omni_agent.core_model.linear import linear
from omni_agent.core_model.memory import Memory, Row, States, hidden_states
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.published_unmasking import PublishedRule
from omni_agent.core_model.schedule import Reading
from omni_agent.core_model.seeds import seed_of
from omni_agent.core_model.unmasking import TypedRule
from omni_agent.errors import InputError

__all__ = ["Look", "embedded", "guided_head", "key_of", "looks", "reading_of"]

FILLED_UP = 1.25
"""Rows with a prompt and without share a model call if all are filled up to so many times as many places, at
most.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What a step reads.

    Attributes:
        reading: the places.
        hidden: the hidden state that each is read from.
        without: the same without the prompt, where there is guidance.
        memory: what is remembered of the prompt from now on.
    """

    reading: Reading
    hidden: Float[Tensor, "places hidden"]
    without: Float[Tensor, "places hidden"] | None
    memory: Memory | None

    def logits(self, parts: Parts, decoding: Decoding) -> Callable[[slice], Tensor]:
        """Gives the logits of some of the places."""

        def of(rows: slice) -> Tensor:
            without = None if self.without is None else self.without[rows]
            scale, modality = decoding.guidance_scale, decoding.canvas.blank.modality
            return guided_head(parts, decoding.rule, modality, self.hidden[rows], without, scale)

        return of


def looks(parts: Parts, decodings: Sequence[Decoding]) -> list[Look]:
    """What the next step of each reads, in one model call; two where there is guidance and rows with a prompt
    and without are too unlike to share one.

    Raises:
        InputError: with padding attended, blanks of unequal length, or guidance for several.
    """
    readings = [reading_of(parts, decoding) for decoding in decodings]
    if parts.config.padding == "attended":
        return _attended(parts, decodings, readings)
    requests = [_rows(parts, *each) for each in zip(decodings, readings, strict=True)]
    return [
        Look(
            reading=reading,
            hidden=found.hidden,
            without=without[0].hidden if without else None,
            memory=decoding.prompt if found.memory is None else found.memory.before(_block_from(decoding)),
        )
        for decoding, reading, (found, *without) in zip(
            decodings, readings, _states(parts, requests), strict=True
        )
    ]


def _states(parts: Parts, requests: Sequence[Sequence[Row]]) -> list[list[States]]:
    """States of rows with their prompt and, where there is guidance, of those without: together, so that the
    weights are read once, where nothing is remembered and few places are filled up.
    """
    rows = [row for request in requests for row in request]
    lengths = [len(row.embeddings) for row in rows]
    remembered = any(row.remember or row.memory for row in rows)
    if len(rows) == len(requests) or (
        not remembered and max(lengths) * len(lengths) <= FILLED_UP * sum(lengths)
    ):
        return hidden_states(parts.transformer, requests)
    found = hidden_states(parts.transformer, [request[:1] for request in requests])
    without = iter(hidden_states(parts.transformer, [request[1:] for request in requests if request[1:]]))
    return [
        [*states, *next(without)] if request[1:] else states
        for states, request in zip(found, requests, strict=True)
    ]


def _block_from(decoding: Decoding) -> int:
    """The first position that a step of the present block computes: the one before the block."""
    return decoding.canvas.blank.start + decoding.steps[decoding.step].start - 1


def _rows(parts: Parts, decoding: Decoding, reading: Reading) -> list[Row]:
    """What the next step computes of a canvas with its prompt and, where there is guidance, without."""
    canvas, memory = decoding.canvas, decoding.prefix
    if decoding.prompt is not None and not decoding.refreshes:
        memory = decoding.prompt
    row = Row(
        embeddings=embedded(parts, canvas, memory.positions if memory else 0),
        read=_read_from(canvas, reading),
        memory=memory,
        remember=decoding.refreshes,
    )
    plain = decoding.unconditional
    if plain is None or not decoding.guides:
        return [row]
    return [row, Row(embeddings=embedded(parts, plain, 0), read=_read_from(plain, reading))]


def _attended(parts: Parts, decodings: Sequence[Decoding], readings: Sequence[Reading]) -> list[Look]:
    """As the published code reads rows of unequal length: what fills them up is looked at, too."""
    canvases = [decoding.canvas for decoding in decodings]
    rows = [embedded(parts, canvas, 0) for canvas in canvases]
    if any(decoding.guides for decoding in decodings):
        if len(decodings) > 1:
            raise InputError(
                f"{len(decodings)} requests, some with guidance, were given to one call; with padding"
                " attended guidance is for one at a time: ask them one by one, or load with padding='masked'"
            )
        plain = decodings[0].unconditional
        assert plain is not None
        places = _read_from(canvases[0], readings[0])
        hidden, without = out_of_line(parts.transformer, rows[0], embedded(parts, plain, 0), places)
        return [Look(reading=readings[0], hidden=hidden, without=without, memory=None)]
    longest = max(map(len, rows))
    if len(set(map(len, rows))) > 1 and len({len(canvas.blank) for canvas in canvases}) > 1:
        raise InputError(
            "blanks of unequal length were given to one call; with padding attended they have one length:"
            " ask them one by one, or load with padding='masked'"
        )
    [end] = parts.transformer.embed(torch.tensor([parts.vocabulary.end], device=parts.device))
    hidden = parts.transformer(attended_rows(rows, end, behind=False))
    return [
        Look(
            reading=reading,
            hidden=states[longest - len(row) + _read_from(canvas, reading)],
            without=None,
            memory=None,
        )
        for states, row, canvas, reading in zip(hidden, rows, canvases, readings, strict=True)
    ]


def embedded(parts: Parts, canvas: Canvas, first: int) -> Float[Tensor, "n hidden"]:
    """The embeddings of a canvas from a position on."""
    row = parts.transformer.embed(canvas.ids[first:])
    for heard in canvas.frames:
        if heard.start >= first:
            row[heard.start - first : heard.start - first + len(heard.embeddings)] = heard.embeddings
    return row


def _read_from(canvas: Canvas, reading: Reading) -> Int[Tensor, " places"]:
    """Where each of the places is read: at the position to its left."""
    return canvas.blank.start - 1 + reading.places


def reading_of(parts: Parts, decoding: Decoding) -> Reading:
    """The places that the next step looks at."""
    step, rule = decoding.steps[decoding.step], decoding.rule
    if isinstance(rule, TypedRule):
        return Reading.of(step, decoding.masked.nonzero()[:, 0])
    return published_unmasking.reading(
        rule, step, decoding.canvas.filled, mask=parts.vocabulary.mask, key=key_of(decoding, "token")
    )


def key_of(decoding: Decoding, purpose: str) -> int:
    """The seed of the next step's noise for a purpose."""
    return seed_of(decoding.settings.seed, decoding.step, purpose)


def guided_head(
    parts: Parts,
    rule: TypedRule | PublishedRule,
    modality: Modality,
    hidden: Float[Tensor, "places hidden"],
    without: Float[Tensor, "places hidden"] | None,
    scale: float,
) -> Float[Tensor, "places columns"]:
    """Logits over what the blank may hold; published, over the whole vocabulary. Guided by those without the
    prompt, where there are such: both in one product, so that its weights are read once.
    """
    if without is None:
        return _head_of(parts, rule, modality, hidden)
    logits, plain = _head_of(parts, rule, modality, torch.cat([hidden, without])).chunk(2)
    return guided(logits, plain, scale)


def _head_of(
    parts: Parts,
    rule: TypedRule | PublishedRule,
    modality: Modality,
    hidden: Float[Tensor, "places hidden"],
) -> Float[Tensor, "places columns"]:
    """Logits over what the blank may hold; published, over the whole vocabulary."""
    if isinstance(rule, PublishedRule):
        return parts.transformer.head(hidden)
    # A modality's ids lie side by side, so its part of the head is a view; gathering rows would copy
    # megabytes a call.
    head, ids = parts.transformer.lm_head.weight, parts.vocabulary.range_of(modality)
    logits = linear(hidden, head[ids.start : ids.stop])
    if modality is Modality.IMAGE:
        return logits
    return torch.cat([logits, linear(hidden, head[parts.vocabulary.end, None])], -1)

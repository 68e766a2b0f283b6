"""Snapshots: a request between two model calls as plain data, and the way back.

What the prompt's pictures and texts came to is in its ids; heard sounds, whose embeddings are no plain data,
are heard anew. So what is resumed stands where it stood, and ends in the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from omni_agent.core import Modality, Request, Snapshot, Value
from omni_agent.core_model import denoising
from omni_agent.core_model.canvas import Canvas, Frames, Span
from omni_agent.core_model.decoding import MASKED, Decoding
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.prompting import given, heard_as
from omni_agent.core_model.schedule import BlockStep, counts
from omni_agent.core_model.unmasking import TypedRule
from omni_agent.errors import InputError, SnapshotMismatch
from omni_agent.values import Image, Speech, Text

__all__ = ["Origin", "check", "request_of", "restored", "taken"]

_UNFITTING = "the snapshot's parts do not fit together, or not this core: it was changed or cut"

_NOWHERE = -1
"""A step that commits a share, no fixed number of places."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a snapshot is of: it goes on there only."""

    weights: str
    device: str
    dtype: str

    @staticmethod
    def of(parts: Parts) -> Origin:
        """That of resident weights. The first time it goes through all of them."""
        return Origin(
            weights=parts.fingerprint,
            device=parts.device.type,
            dtype=str(parts.transformer.lm_head.weight.dtype).removeprefix("torch."),
        )


def taken(
    origin: Origin,
    request: Request,
    decoding: Decoding | None,
    *,
    content: tuple[tuple[Modality, str], ...] | None = None,
    seconds_left: float | None = None,
) -> Snapshot:
    """The snapshot of a request.

    Args:
        origin: of the core it is under way on.
        request: what was asked for.
        decoding: its state; None where it has not begun.
        content: what the request depends on; None takes its own.
        seconds_left: until the deadline.
    """
    snapshot = Snapshot(
        weights=origin.weights,
        device=origin.device,
        dtype=origin.dtype,
        task=request.task,
        blank=request.blank,
        settings=request.settings,
        content=content or tuple(map(_named, request.content)),
        seconds_left=seconds_left,
    )
    if decoding is None:
        return snapshot
    state = decoding if decoding.refreshed is None else decoding.refreshed
    canvas = state.canvas
    return replace(
        snapshot,
        prompt=tuple(canvas.ids[: canvas.blank.start].tolist()),
        prefix=canvas.prefix,
        heard=tuple(frames.start for frames in canvas.frames),
        filled=tuple(canvas.filled.tolist()),
        tokens=tuple(state.tokens.tolist()),
        confidences=tuple(state.sure.tolist()),
        committed=tuple(state.committed.tolist()),
        steps=tuple(
            (
                step.start,
                step.stop,
                step.share,
                int(step.last),
                _NOWHERE if step.places is None else step.places,
            )
            for step in state.steps
        ),
        asked=state.asked,
        run=state.run,
    )


def check(snapshot: Snapshot, origin: Origin) -> None:
    """Refuse what was taken elsewhere.

    Raises:
        InputError: no snapshot was given, or one that was changed or cut.
        SnapshotMismatch: it was taken on other weights, another kind of device or another type.
    """
    if not isinstance(snapshot, Snapshot):
        raise InputError(f"resume was given {type(snapshot).__name__}; wanted a Snapshot")
    for name in ("weights", "device", "dtype"):
        there, here = getattr(snapshot, name), getattr(origin, name)
        if there != here:
            raise SnapshotMismatch(
                f"the snapshot was taken on {name} {there[:16]!r}; this core has {here[:16]!r}: resume it"
                " on a core loaded as the one it was taken on"
            )
    begun = snapshot.filled or snapshot.tokens or snapshot.committed or snapshot.steps or snapshot.run
    if (begun and not snapshot.prompt) or not math.isfinite(snapshot.seconds_left or 0.0):
        raise InputError(_UNFITTING)


def request_of(snapshot: Snapshot, media: Iterable[Image | Speech]) -> Request:
    """The request of a snapshot. What has gone into its ids may be missing and is then left out.

    Raises:
        InputError: what it takes to go on is missing, or the media is none.
    """
    by_hash: dict[str, Image | Speech] = {}
    given: object = media
    for value in given if isinstance(given, Iterable) else [given]:
        if not isinstance(value, Image | Speech):
            raise InputError(f"the media holds {type(value).__name__}; wanted Image or Speech, media=[...]")
        by_hash[value.content_hash] = value
    content: list[Value] = []
    for modality, text in snapshot.content:
        if modality is Modality.TEXT:
            content.append(Text(text))
        elif text in by_hash:
            content.append(by_hash[text])
        elif not snapshot.prompt or modality is Modality.SPEECH:
            kind = "a sound" if modality is Modality.SPEECH else "a picture"
            raise InputError(
                f"the snapshot needs {kind} of content hash {text}, which was not given: pass the request's"
                " own, resume(snapshot, media=[...])"
            )
    # A picture alone is what `describe` is asked of: the ids have it, and nobody looks at the content.
    return Request(
        task=snapshot.task,
        content=tuple(content) or (Text("-"),),
        blank=snapshot.blank,
        settings=snapshot.settings,
    )


@torch.inference_mode()
def restored(parts: Parts, snapshot: Snapshot, request: Request) -> Decoding:
    """The state that a snapshot, of a request that was begun, was taken of.

    Raises:
        InputError: its parts do not fit together.
    """
    steps = tuple(
        BlockStep(start=first, stop=stop, share=share, last=bool(last), places=None if places < 0 else places)
        for first, stop, share, last, places in snapshot.steps
    )
    task = parts.config.task(snapshot.task, [modality for modality, _ in snapshot.content])
    said = [heard_as(parts, value, task) for value in request.content if task and isinstance(value, Speech)]
    sounds = [each for each in said if not isinstance(each, str)]
    if task is None or not _fits(parts, snapshot, steps, list(map(len, sounds))):
        raise InputError(_UNFITTING)
    start = len(snapshot.prompt)
    canvas = Canvas(
        task=snapshot.task,
        task_config=task,
        ids=torch.tensor([*snapshot.prompt, *snapshot.filled], device=parts.device),
        blank=Span(start=start, stop=start + len(snapshot.filled), modality=snapshot.blank),
        prefix=snapshot.prefix,
        frames=tuple(
            Frames(start=at, embeddings=rows) for at, rows in zip(snapshot.heard, sounds, strict=True)
        ),
    )
    # its steps are given below, and those of the settings need not fit any more
    begun = denoising.start(parts, canvas, replace(snapshot.settings, schedule=None, block_length=None))
    if isinstance(begun.rule, TypedRule) and not _typed(parts, snapshot):
        raise InputError(_UNFITTING)
    return replace(
        begun,
        settings=snapshot.settings,
        steps=steps,
        asked=snapshot.asked,
        run=snapshot.run,
        tokens=torch.tensor(snapshot.tokens, device=parts.device),
        sure=torch.tensor(snapshot.confidences, device=parts.device),
        committed=torch.tensor(snapshot.committed, device=parts.device),
    )


def _typed(parts: Parts, snapshot: Snapshot) -> bool:
    """Whether a blank holds what the typed reading can have put there."""
    may_hold = {*parts.vocabulary.columns(snapshot.blank).tolist(), parts.vocabulary.mask}
    return may_hold.issuperset(snapshot.filled)


def _fits(parts: Parts, snapshot: Snapshot, steps: Sequence[BlockStep], heard: Sequence[int]) -> bool:
    """Whether the numbers of a snapshot can be of one state of this model; `heard` are rows of its sounds."""
    length, mask, run = len(snapshot.filled), parts.vocabulary.mask, len(snapshot.run)
    if not length or not snapshot.prompt or run > len(steps) or len(heard) != len(snapshot.heard):
        return False
    each_place = (snapshot.tokens, snapshot.confidences, snapshot.committed)
    ids = (*snapshot.prompt, *snapshot.filled, *snapshot.tokens)
    masked = [place for place, token in enumerate(snapshot.filled) if token == mask]
    return (
        all(len(row) == length for row in each_place)
        and all(0 <= token < parts.config.transformer.vocab_size for token in ids)
        and all(
            0 <= at <= len(snapshot.prompt) - rows for at, rows in zip(snapshot.heard, heard, strict=True)
        )
        and 0 <= snapshot.prefix <= len(snapshot.prompt)
        and all(
            (step < 0) == (token == mask)
            for step, token in zip(snapshot.committed, snapshot.filled, strict=True)
        )
        and all(MASKED <= step <= run for step in snapshot.committed)
        and all(0 <= step.start < step.stop <= length and 0 <= step.share <= 1 for step in steps)
        and (run == len(steps) or _fill(steps[run:], masked))
    )


def _fill(steps: Sequence[BlockStep], masked: Sequence[int]) -> bool:
    """Whether steps commit all that is masked. One of a share may be of a block that others have filled: then
    it counts as one place, of a later block.
    """
    filled = sum(counts(steps, masked))
    by_share = any(step.places is None for step in steps)
    return filled >= len(masked) if by_share else filled == len(masked)


def _named(value: Value) -> tuple[Modality, str]:
    [modality] = given([value])
    return modality, value if isinstance(value, Text) else value.content_hash

"""Denoising: how a canvas begins, and what one step makes of it, in both readings.

Functions of the resident parts and of values; a `Decoding` is replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from omni_agent.core import Modality, Settings
from omni_agent.core_model import published_unmasking, unmasking
from omni_agent.core_model.candidates import Candidates, tiles
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.config import TaskConfig
from omni_agent.core_model.decoding import Decoding, Shortcuts
from omni_agent.core_model.looking import key_of, looks, reading_of
from omni_agent.core_model.memory import Memory, Row, hidden_states
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.prompting import without_prompt
from omni_agent.core_model.published_unmasking import PublishedRule
from omni_agent.core_model.schedule import (
    BlockStep,
    Reading,
    as_given,
    check_blocks,
    check_given,
    counts,
    even,
    published,
)
from omni_agent.core_model.typed_unmasking import typed
from omni_agent.core_model.unmasking import TypedRule
from omni_agent.errors import InputError

__all__ = ["advance", "after_step", "alike", "logits_of", "prepared", "start"]

SURE_OF_PADDING = 0.9
"""How sure each masked place must be of the end for a published blank to end early."""


def start(parts: Parts, canvas: Canvas, settings: Settings) -> Decoding:
    """The state before the first denoising step.

    Raises:
        InputError: a block of the blank would get no step, a schedule does not fit it, or a prompt cache is
            wanted with padding attended.
    """
    task, length = canvas.task_config, len(canvas.blank)
    scale = task.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
    rule = _rule(task, settings)
    masked = (canvas.filled == parts.vocabulary.mask).nonzero()[:, 0].tolist()
    shortcuts = _shortcuts(parts, task, settings)
    steps = _steps(rule, task, settings, length, masked, shortcuts)
    decoding = Decoding.begun(
        canvas,
        mask=parts.vocabulary.mask,
        unconditional=without_prompt(parts, canvas, settings.seed) if scale > 0 else None,
        settings=settings,
        guidance_scale=scale,
        rule=rule,
        shortcuts=shortcuts,
        steps=steps,
        asked=counts(steps, masked),
    )
    return prepared(parts, decoding)


@torch.inference_mode()
def prepared(parts: Parts, decoding: Decoding) -> Decoding:
    """The same with its prefix remembered, which every step looks at and none changes."""
    canvas = decoding.canvas
    if not canvas.prefix:
        return decoding
    row = Row(embeddings=parts.transformer.embed(canvas.ids[: canvas.prefix]), remember=True)
    [[states]] = hidden_states(parts.transformer, [[row]])
    return replace(decoding, prefix=states.memory)


@torch.inference_mode()
def advance(parts: Parts, decodings: Sequence[Decoding]) -> list[Decoding]:
    """One denoising step of each, in one model call; see `looking.looks`.

    Args:
        decodings: not done. Their lengths may differ; how they then share the call is the configuration's
            `padding`.

    Raises:
        InputError: with padding attended, blanks of unequal length, or guidance for several.
    """
    return [
        _after(
            parts,
            decoding,
            look.reading,
            _candidates(parts, decoding, look.reading, look.logits(parts, decoding)),
            look.memory,
        )
        for decoding, look in zip(decodings, looks(parts, decodings), strict=True)
    ]


@torch.inference_mode()
def alike(parts: Parts, decodings: Sequence[Decoding]) -> bool:
    """Whether one model call for all reads, bit for bit, what one for each reads."""
    together = looks(parts, decodings)
    for decoding, among in zip(decodings, together, strict=True):
        [alone] = looks(parts, [decoding])
        both = [(alone.hidden, among.hidden)]
        if alone.without is not None and among.without is not None:
            both.append((alone.without, among.without))
        if not all(torch.equal(*each) for each in both):
            return False
    return True


def logits_of(parts: Parts, decodings: Sequence[Decoding]) -> list[Float[Tensor, "_ _"]]:
    """What the next step of each reads, guided where that is wanted: a row for each place of its `reading`.

    In the typed reading the columns of its modality, published every column. All rows at once, for those who
    look at logits; `advance` takes them in tiles.
    """
    both = zip(decodings, looks(parts, decodings), strict=True)
    return [look.logits(parts, decoding)(slice(None)) for decoding, look in both]


def after_step(parts: Parts, decoding: Decoding, logits: Float[Tensor, "places columns"]) -> Decoding:
    """The state after a step that reads these logits, which are those of `logits_of`."""
    reading = reading_of(parts, decoding)
    return _after(
        parts, decoding, reading, _candidates(parts, decoding, reading, logits.__getitem__), decoding.prompt
    )


def _candidates(
    parts: Parts, decoding: Decoding, reading: Reading, logits: Callable[[slice], Tensor]
) -> Candidates:
    """What each place of the reading would take, found in tiles of their logits."""
    vocabulary, rule, key = parts.vocabulary, decoding.rule, key_of(decoding, "token")
    if isinstance(rule, TypedRule):
        ids = vocabulary.columns(decoding.canvas.blank.modality).to(reading.places.device)
        made = [
            typed(
                rule,
                decoding.canvas.blank.modality,
                logits(rows),
                reading.places[rows],
                ids,
                key,
                order_key=key_of(decoding, "order"),
            )
            for rows in tiles(len(reading.places), len(ids))
        ]
    else:
        blank, first = decoding.canvas.filled, decoding.step == 0
        made = [
            published_unmasking.candidates(
                rule, logits(rows), blank, reading.part(rows), mask=vocabulary.mask, first=first, key=key
            )
            for rows in tiles(len(reading.places), parts.config.transformer.vocab_size)
        ]
    return Candidates.joined(made)


def _after(
    parts: Parts, decoding: Decoding, reading: Reading, candidates: Candidates, memory: Memory | None
) -> Decoding:
    """The state after a step for which each place read would take one of the candidates."""
    step, rule = decoding.steps[decoding.step], decoding.rule
    if isinstance(rule, TypedRule):
        chosen = unmasking.choose(candidates.score, step.count(len(reading.places)))
    else:
        chosen = published_unmasking.committing(rule, step, reading, candidates.score)
    scheduled = len(chosen)
    if decoding.shortcuts.threshold < 1 and reading.inside:
        also = candidates.sure >= decoding.shortcuts.threshold
        also[chosen] = True
        chosen = also.nonzero()[:, 0]
    places = reading.places[chosen]
    ids = decoding.canvas.filled.index_copy(0, places, candidates.tokens[chosen])
    if isinstance(rule, TypedRule):
        masked = decoding.masked.index_fill(0, places, False)
    else:
        masked = ids == parts.vocabulary.mask  # which a place may take
    if decoding.shortcuts.early_end:
        ids, masked = _ended(parts, decoding, reading, candidates, ids, masked)
    run = (*decoding.run, scheduled)
    steps = decoding.steps
    if decoding.shortcuts.threshold < 1:
        steps = (*steps[: len(run)], *_needed(decoding, steps[len(run) :], masked))
    return replace(
        decoding,
        canvas=decoding.canvas.with_filled(ids),
        unconditional=None if decoding.unconditional is None else decoding.unconditional.with_filled(ids),
        steps=steps,
        run=run,
        masked=masked,
        tokens=torch.where(
            masked, decoding.tokens.index_copy(0, reading.places, candidates.tokens.to(ids.dtype)), ids
        ),
        sure=decoding.sure.index_copy(0, reading.places, candidates.sure),
        committed=torch.where(decoding.masked & ~masked, len(run), decoding.committed),
        prompt=memory,
        prompt_of=step.start if decoding.shortcuts.prompt_cache else None,
        refreshed=decoding.forgetful() if decoding.refreshes else decoding.refreshed,
        left=None,
        late=None,
    )


def _needed(decoding: Decoding, steps: Sequence[BlockStep], masked: Tensor) -> Sequence[BlockStep]:
    """Those of the steps whose block has masked places; of a given schedule all, where they now lie."""
    settings = decoding.settings
    if settings.schedule is None:
        return [step for step in steps if masked[step.start : step.stop].any()]
    places, length = masked.nonzero()[:, 0].tolist(), len(masked)
    given = [step.places or 0 for step in steps]
    return as_given(given, places, length, settings.block_length, at_least=True)


def _ended(
    parts: Parts, decoding: Decoding, reading: Reading, candidates: Candidates, ids: Tensor, masked: Tensor
) -> tuple[Tensor, Tensor]:
    """The blank with the end at every masked place, if only padding is left; else as it is.

    In the typed reading nothing behind the first end is read, so that is where only padding is left.
    Published, everything counts, so every masked place must be sure of the end.
    """
    end = parts.vocabulary.end
    if isinstance(decoding.rule, TypedRule):
        if decoding.canvas.blank.modality is Modality.IMAGE:
            return ids, masked
        ends = ((ids == end) & ~masked).nonzero()[:, 0]
        if not len(ends) or masked[: int(ends[0])].any():
            return ids, masked
    elif (
        len(reading.places) < reading.masked
        or not ((candidates.tokens == end) & (candidates.sure >= SURE_OF_PADDING)).all()
    ):
        return ids, masked
    return ids.masked_fill(masked, end), torch.zeros_like(masked)


def _rule(task: TaskConfig, settings: Settings) -> TypedRule | PublishedRule:
    temperature = task.temperature if settings.temperature is None else settings.temperature
    algorithm = settings.algorithm or task.algorithm
    if algorithm is None:
        return TypedRule(
            temperature=temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            order_noise=task.order_noise,
            min_length=task.min_length,
        )
    position = settings.max_position_penalty
    return PublishedRule(
        algorithm=algorithm,
        temperature=temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        repeat_penalty=task.repeat_penalty if settings.repeat_penalty is None else settings.repeat_penalty,
        max_position_penalty=task.max_position_penalty if position is None else position,
    )


def _steps(
    rule: TypedRule | PublishedRule,
    task: TaskConfig,
    settings: Settings,
    length: int,
    masked: Sequence[int],
    shortcuts: Shortcuts,
) -> tuple[BlockStep, ...]:
    block = settings.block_length
    if settings.schedule is not None:
        if isinstance(rule, PublishedRule) and rule.algorithm == "origin":
            raise InputError("a schedule was given for origin, whose steps commit by chance: give num_steps")
        laid_anew = shortcuts.threshold < 1  # after each step: one across blocks leaves nothing masked
        if not laid_anew:
            check_given(settings.schedule, masked, length, block)
        more = laid_anew or shortcuts.early_end
        return as_given(settings.schedule, masked, length, block, at_least=more)
    num_steps = task.num_steps if settings.mode == "exact" else task.fast.num_steps or task.num_steps
    num_steps = settings.num_steps or num_steps or length
    steps = (even if isinstance(rule, TypedRule) else published)(length, num_steps, block)
    check_blocks(steps, length, num_steps, block)
    return steps


def _shortcuts(parts: Parts, task: TaskConfig, settings: Settings) -> Shortcuts:
    chosen = Shortcuts()
    if settings.mode == "fast":
        fast = task.fast
        chosen = Shortcuts(
            prompt_cache=fast.prompt_cache and parts.config.padding != "attended",
            threshold=fast.threshold,
            early_end=fast.early_end,
            guidance_until=fast.guidance_until,
        )
    if settings.prompt_cache and parts.config.padding == "attended":
        raise InputError(
            "a prompt cache was wanted with padding attended, where prompts are looked at as they lie in the"
            " call: load with padding='masked', or leave it out"
        )
    given = {
        name: value
        for name in Shortcuts.__dataclass_fields__
        if (value := getattr(settings, name)) is not None
    }
    return replace(chosen, **given)

"""Denoising: the state of a canvas on its way, and what one step makes of it, in both readings.

Functions of the resident parts and of values; a `Decoding` is replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from omni_agent.core import CanvasChange, Modality, Settings, Task
from omni_agent.core_model.batching import attended_rows, masked_rows
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.config import TaskConfig
from omni_agent.core_model.guidance import guided, out_of_line
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.prompting import without_prompt
from omni_agent.core_model.published_unmasking import BlockStep, PublishedRule, commit, schedule
from omni_agent.core_model.seeds import seed_of
from omni_agent.core_model.unmasking import TypedRule, block_counts, candidates, choose, open_places
from omni_agent.errors import InputError

__all__ = ["Decoding", "advance", "after_step", "logits_of", "start"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoding:
    """A canvas on its way: what is decided, and what the next step will do.

    Attributes:
        canvas: the ids so far.
        unconditional: the same blank behind an empty prompt, where guidance is wanted.
        settings: as they were asked for.
        guidance_scale: how much the prompt is stressed.
        rule: of the typed reading, or a published one.
        steps: for each denoising step how many places it commits; published, its block and share.
        masked: the places without a token.
        preview: the blank so far, to be shown.
        step: denoising steps done.
        confidence: the lowest probability among committed tokens; None before the first.
    """

    canvas: Canvas
    unconditional: Canvas | None
    settings: Settings
    guidance_scale: float
    rule: TypedRule | PublishedRule
    steps: tuple[int, ...] | tuple[BlockStep, ...]
    masked: Bool[Tensor, " length"]
    preview: str
    step: int = 0
    confidence: float | None = None

    @property
    def done(self) -> bool:
        """Whether no step is left, or no place is masked any more."""
        return self.step == len(self.steps) or not self.masked.any()

    def change(self, request: int, task: Task) -> CanvasChange:
        """What a watcher is told of this state."""
        return CanvasChange(
            request=request,
            task=task,
            step=self.step,
            num_steps=len(self.steps),
            committed=int((~self.masked).sum()),
            length=len(self.canvas.blank),
            preview=self.preview,
        )


def start(parts: Parts, canvas: Canvas, settings: Settings) -> Decoding:
    """The state before the first denoising step.

    Raises:
        InputError: a block of the blank would get no step.
    """
    task = canvas.task_config
    length = len(canvas.blank)
    scale = task.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
    rule = _rule(task, settings, length)
    if isinstance(rule, TypedRule):
        steps: tuple[int, ...] | tuple[BlockStep, ...] = _typed_steps(
            rule, settings.num_steps or task.num_steps or length, length
        )
    else:
        steps = _block_steps(rule, length)
    masked = canvas.filled == parts.vocabulary.mask
    return Decoding(
        canvas=canvas,
        unconditional=without_prompt(parts, canvas, settings.seed) if scale > 0 else None,
        settings=settings,
        guidance_scale=scale,
        rule=rule,
        steps=steps,
        masked=masked,
        preview=_preview(parts, canvas, masked),
    )


@torch.inference_mode()
def advance(parts: Parts, decodings: Sequence[Decoding]) -> list[Decoding]:
    """One denoising step of each, in one model call (two where guidance is wanted).

    Args:
        decodings: not done. Their lengths may differ; how they then share the call is the configuration's
            `padding`.

    Raises:
        InputError: with padding attended, blanks of unequal length, or guidance for several.
    """
    logits = logits_of(parts, decodings)
    return [after_step(parts, decoding, rows) for decoding, rows in zip(decodings, logits, strict=True)]


def logits_of(parts: Parts, decodings: Sequence[Decoding]) -> list[Float[Tensor, "_ _"]]:
    """What the next step of each reads, guided where that is wanted.

    In the typed reading the columns of its modality at every place of the blank; published, every column at
    the masked places.
    """
    attended = parts.config.padding == "attended"
    read = [_read(decoding) for decoding in decodings]
    canvases = [decoding.canvas for decoding in decodings]
    guided_ones = [index for index, each in enumerate(decodings) if each.unconditional is not None]
    plain = [decoding.unconditional for decoding in decodings if decoding.unconditional is not None]
    if plain and attended:
        if len(decodings) > 1:
            raise InputError(
                f"{len(decodings)} requests, some with guidance, were given to one call; with padding"
                " attended guidance is for one at a time: ask them one by one, or load with padding='masked'"
            )
        places = canvases[0].blank.start - 1 + read[0]
        pair = out_of_line(parts.transformer, _row(parts, canvases[0]), _row(parts, plain[0]), places)
        hidden, without = [pair[0]], [pair[1]]
    else:
        hidden = _hidden(parts, canvases, read)
        without = _hidden(parts, plain, [read[index] for index in guided_ones]) if plain else []
    logits = [_head(parts, each, states) for each, states in zip(decodings, hidden, strict=True)]
    for index, states in zip(guided_ones, without, strict=True):
        each = decodings[index]
        logits[index] = guided(logits[index], _head(parts, each, states), each.guidance_scale)
    return logits


def after_step(parts: Parts, decoding: Decoding, logits: Float[Tensor, "places columns"]) -> Decoding:
    """The state after a step that reads these logits."""
    canvas, rule = decoding.canvas, decoding.rule
    if isinstance(rule, TypedRule):
        ids, masked, sure = _commit_typed(parts, decoding, rule, logits)
    else:
        ids, masked, sure = _commit_published(parts, decoding, rule, logits)
    lowest = float(sure.min()) if len(sure) else 1.0
    canvas = canvas.with_filled(ids)
    return replace(
        decoding,
        canvas=canvas,
        unconditional=None if decoding.unconditional is None else decoding.unconditional.with_filled(ids),
        masked=masked,
        step=decoding.step + 1,
        confidence=lowest if decoding.confidence is None else min(lowest, decoding.confidence),
        preview=_preview(parts, canvas, masked),
    )


def _read(decoding: Decoding) -> Int[Tensor, " places"]:
    """The places of the blank that logits are wanted for: published, the masked ones only."""
    if isinstance(decoding.rule, PublishedRule):
        return decoding.masked.nonzero()[:, 0]
    return torch.arange(len(decoding.masked), device=decoding.masked.device)


def _row(parts: Parts, canvas: Canvas) -> Float[Tensor, "n hidden"]:
    row = parts.transformer.embed(canvas.ids)
    for heard in canvas.frames:
        row[heard.start : heard.start + len(heard.embeddings)] = heard.embeddings
    return row


def _hidden(
    parts: Parts, canvases: Sequence[Canvas], read: Sequence[Int[Tensor, " _"]]
) -> list[Float[Tensor, "_ hidden"]]:
    """What each of the wanted places of the blanks is read from: the position to its left."""
    rows = [_row(parts, canvas) for canvas in canvases]
    starts = [canvas.blank.start for canvas in canvases]
    lengths = {len(row) for row in rows}
    if parts.config.padding == "attended" and len(lengths) > 1:
        if len({len(canvas.blank) for canvas in canvases}) > 1:
            raise InputError(
                "blanks of unequal length were given to one call; with padding attended they have one length:"
                " ask them one by one, or load with padding='masked'"
            )
        [end] = parts.transformer.embed(torch.tensor([parts.vocabulary.end], device=parts.device))
        starts = [start + max(lengths) - len(row) for start, row in zip(starts, rows, strict=True)]
        hidden = parts.transformer(attended_rows(rows, end, behind=False))
    else:
        hidden = parts.transformer(*masked_rows(rows, [canvas.prefix for canvas in canvases]))
    return [states[start - 1 + places] for states, start, places in zip(hidden, starts, read, strict=True)]


def _head(
    parts: Parts, decoding: Decoding, hidden: Float[Tensor, "places hidden"]
) -> Float[Tensor, "places columns"]:
    """Logits over what the blank may hold; published, over the whole vocabulary."""
    if isinstance(decoding.rule, PublishedRule):
        return parts.transformer.head(hidden)
    # A modality's ids lie side by side, so its part of the head is a view; gathering rows would copy
    # megabytes a call.
    modality = decoding.canvas.blank.modality
    head, ids = parts.transformer.lm_head.weight, parts.vocabulary.range_of(modality)
    logits = F.linear(hidden, head[ids.start : ids.stop])
    if modality is Modality.IMAGE:
        return logits
    return torch.cat([logits, F.linear(hidden, head[parts.vocabulary.end, None])], -1)


def _commit_typed(
    parts: Parts, decoding: Decoding, rule: TypedRule, logits: Float[Tensor, "length columns"]
) -> tuple[Tensor, Tensor, Tensor]:
    canvas, settings = decoding.canvas, decoding.settings
    modality = canvas.blank.modality
    if rule.min_length and modality is not Modality.IMAGE:
        logits = logits.clone()
        logits[: rule.min_length, -1] = -torch.inf
    noise = order = None
    if rule.temperature > 0 or rule.order_noise > 0:
        generator = torch.Generator().manual_seed(seed_of(settings.seed, decoding.step))
        noise = _gumbel((len(canvas.blank), logits.shape[1]), generator).to(logits.device)
        order = _gumbel((len(canvas.blank),), generator).to(logits.device)
    columns, confidence = candidates(
        logits, temperature=rule.temperature, top_p=rule.top_p, top_k=rule.top_k, noise=noise
    )
    score = confidence
    if order is not None and rule.order_noise > 0:
        score = confidence.log() + rule.order_noise * order
    count = decoding.steps[decoding.step]
    assert isinstance(count, int)
    chosen = choose(score, open_places(decoding.masked, rule.block_length), count)
    ids, masked = canvas.filled.clone(), decoding.masked.clone()
    ids[chosen] = parts.vocabulary.columns(modality).to(parts.device)[columns[chosen]]
    masked[chosen] = False
    return ids, masked, confidence[chosen]


def _commit_published(
    parts: Parts, decoding: Decoding, rule: PublishedRule, logits: Float[Tensor, "masked vocab"]
) -> tuple[Tensor, Tensor, Tensor]:
    step, mask = decoding.steps[decoding.step], parts.vocabulary.mask
    assert isinstance(step, BlockStep)
    generator = None
    if rule.draws:
        generator = torch.Generator(device=logits.device)
        generator.manual_seed(seed_of(decoding.settings.seed, decoding.step))
    blank = decoding.canvas.filled
    committed = commit(rule, step, blank, logits, mask=mask, first=decoding.step == 0, generator=generator)
    ids = committed.put_into(blank)
    return ids, ids == mask, committed.sure


def _rule(task: TaskConfig, settings: Settings, length: int) -> TypedRule | PublishedRule:
    temperature = task.temperature if settings.temperature is None else settings.temperature
    algorithm = settings.algorithm or task.algorithm
    if algorithm is None:
        return TypedRule(
            temperature=temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            order_noise=task.order_noise,
            min_length=task.min_length,
            block_length=settings.block_length,
        )
    position = settings.max_position_penalty
    return PublishedRule(
        algorithm=algorithm,
        num_steps=settings.num_steps or task.num_steps or length,
        block_length=settings.block_length,
        temperature=temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        repeat_penalty=task.repeat_penalty if settings.repeat_penalty is None else settings.repeat_penalty,
        max_position_penalty=task.max_position_penalty if position is None else position,
    )


def _typed_steps(rule: TypedRule, num_steps: int, length: int) -> tuple[int, ...]:
    counts = block_counts(length, num_steps, rule.block_length)
    _check_blocks(num_steps, length, rule.block_length, [bool(each) for each in counts])
    return tuple(count for each in counts for count in each)


def _block_steps(rule: PublishedRule, length: int) -> tuple[BlockStep, ...]:
    steps = schedule(rule, length)
    block = min(rule.block_length or length, length)
    starts = {step.start for step in steps}
    _check_blocks(rule.num_steps, length, rule.block_length, [at in starts for at in range(0, length, block)])
    return tuple(steps)


def _check_blocks(num_steps: int, length: int, block_length: int | None, stepped: Sequence[bool]) -> None:
    """Refuse steps too few for the blocks, given for each whether it has any."""
    if not all(stepped):
        block = min(block_length or length, length)
        raise InputError(
            f"num_steps={num_steps} was given for {len(stepped)} blocks of {block} places; that from"
            f" {stepped.index(False) * block} on gets no step and would stay masked: give more steps or"
            " longer blocks"
        )


def _preview(parts: Parts, canvas: Canvas, masked: Bool[Tensor, " length"]) -> str:
    """Text as it reads so far, bytes of one character put together; codes as blocks."""
    vocabulary, is_text = parts.vocabulary, canvas.blank.modality is Modality.TEXT
    shown: list[str] = []
    words: list[int] = []
    for token, hidden in zip(canvas.filled.tolist(), masked.tolist(), strict=True):
        if not hidden and token in vocabulary.text and (is_text or canvas.task is Task.REPLY):
            words.append(token)
            continue
        shown.append(parts.text_tokenizer.piece(words))
        words = []
        if hidden:
            shown.append(" ░" if is_text else "░")
        elif token == vocabulary.end and is_text:
            break
        elif not is_text or token in vocabulary.speech or token in vocabulary.image:
            shown.append("█")
    return "".join([*shown, parts.text_tokenizer.piece(words)]).strip()


def _gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return -(-torch.rand(shape, generator=generator).clamp(1e-20, 1 - 1e-7).log()).log()

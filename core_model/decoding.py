"""The state of a request between two model calls: what is decided, and what the next step will do.

A `Decoding` is replaced, never changed, and holds no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from omni_agent.core import CanvasChange, Modality, Place, Schedule, Settings, Task
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.memory import Memory
from omni_agent.core_model.published_unmasking import PublishedRule
from omni_agent.core_model.schedule import BlockStep, anew, by_chance
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.unmasking import TypedRule
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = [
    "MASKED",
    "Decoding",
    "OnItsWay",
    "Shortcuts",
    "change_of",
    "counted",
    "hurried",
    "left_after",
    "schedule_of",
    "wanted",
]

MASKED = -1
"""The step that committed a place which is masked."""


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """What is left out, though it may change a token; see `omni_agent.Settings`."""

    prompt_cache: bool = False
    threshold: float = 1.0
    early_end: bool = False
    guidance_until: float = 1.0


class OnItsWay(Protocol):
    """The step that led to a state and was not waited for; see `late.py`."""

    def outcome(self, decoding: Decoding, again: Callable[[Decoding], Decoding]) -> Decoding:
        """The state once it is there; what comes of stepping the one before again, where that is wanted."""
        ...

    def on_host(self, decoding: Decoding) -> Decoding:
        """The state on the host, where a copy of it comes to be."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoding:
    """A canvas on its way.

    Attributes:
        canvas: the ids so far.
        unconditional: the same blank behind an empty prompt, where guidance is wanted.
        settings: as they were asked for.
        guidance_scale: how much the prompt is stressed.
        rule: of the typed reading, or a published one.
        shortcuts: what is left out.
        steps: those that were made, and those to be made.
        asked: how many places each step was to commit.
        run: how many each step so far committed, by its schedule.
        masked: the places without a token.
        tokens: of each place what it has or, as far as it was looked at, would have.
        sure: how sure that was; below 0 where nobody looked.
        committed: the step that decided, from 1; 0 where it was given; `MASKED` while it is masked.
        prefix: what is remembered of the prefix.
        prompt: what is remembered of the prompt and the blocks before the present one.
        prompt_of: the block for which that was made, by its first place.
        refreshed: the state before it was made.
        left: how many places of each block are masked, where the host knows it without a look at `masked`.
        late: the step that led here, where nobody waited for it.
    """

    canvas: Canvas
    unconditional: Canvas | None
    settings: Settings
    guidance_scale: float
    rule: TypedRule | PublishedRule
    shortcuts: Shortcuts = Shortcuts()
    steps: tuple[BlockStep, ...]
    asked: tuple[int, ...] = ()
    run: tuple[int, ...] = ()
    masked: Bool[Tensor, " length"]
    tokens: Int[Tensor, " length"]
    sure: Float[Tensor, " length"]
    committed: Int[Tensor, " length"]
    prefix: Memory | None = None
    prompt: Memory | None = None
    prompt_of: int | None = None
    refreshed: Decoding | None = None
    left: tuple[int, ...] | None = None
    late: OnItsWay | None = None

    @staticmethod
    def begun(
        canvas: Canvas,
        *,
        mask: int,
        unconditional: Canvas | None,
        settings: Settings,
        guidance_scale: float,
        rule: TypedRule | PublishedRule,
        steps: tuple[BlockStep, ...],
        shortcuts: Shortcuts = Shortcuts(),
        asked: tuple[int, ...] = (),
    ) -> Decoding:
        """The state before the first step, of a canvas with `mask` at the masked places of its blank."""
        masked = canvas.filled == mask
        return Decoding(
            canvas=canvas,
            unconditional=unconditional,
            settings=settings,
            guidance_scale=guidance_scale,
            rule=rule,
            shortcuts=shortcuts,
            steps=steps,
            asked=asked,
            masked=masked,
            tokens=canvas.filled,
            sure=torch.full(masked.shape, -1.0, device=masked.device),
            committed=-masked.long(),
        )

    @property
    def step(self) -> int:
        """Denoising steps done."""
        return len(self.run)

    @property
    def done(self) -> bool:
        """Whether no step is left, or no place is masked any more."""
        if self.step == len(self.steps):
            return True
        return not self.masked.any() if self.left is None else not sum(self.left)

    @property
    def places_left(self) -> int:
        """How many places are masked."""
        return int(self.masked.sum()) if self.left is None else sum(self.left)

    @property
    def inside(self) -> int:
        """How many places of the next step's block are masked, of a state that is `counted`; 0 where the
        steps are of other blocks than the settings.
        """
        assert self.left is not None
        step, size = self.steps[self.step], _block_size(self)
        if step.start % size or (step.stop % size and step.stop != len(self.canvas.blank)):
            return 0
        return sum(self.left[block] for block in _blocks(self))

    @property
    def guides(self) -> bool:
        """Whether the next step has guidance."""
        until = self.shortcuts.guidance_until
        if self.unconditional is None or until == 1:
            return self.unconditional is not None
        # Told by places, not by steps: a schedule that a deadline made shorter, given again, does the same.
        total = sum(self.asked)
        decided = sum(self.run) if self.shortcuts.threshold == 1 else total - self.places_left
        return decided < until * total

    @property
    def refreshes(self) -> bool:
        """Whether the next step computes the prompt anew, to remember it."""
        return self.shortcuts.prompt_cache and self.prompt_of != self.steps[self.step].start

    @property
    def confidence(self) -> float | None:
        """The lowest probability among committed tokens; None before the first."""
        sure = self.sure[self.committed > 0]
        return float(sure.min()) if len(sure) else None

    def forgetful(self) -> Decoding:
        """The same without what is remembered."""
        return replace(self, prefix=None, prompt=None, prompt_of=None, refreshed=None, late=None)


def counted(decoding: Decoding) -> Decoding:
    """The same, with how many places of each block are masked known to the host: looked up, if it is not."""
    if decoding.left is not None:
        return decoding
    masked, size = decoding.masked.tolist(), _block_size(decoding)
    left = tuple(sum(masked[start : start + size]) for start in range(0, len(masked), size))
    return replace(decoding, left=left)


def left_after(decoding: Decoding, count: int) -> tuple[int, ...] | None:
    """The `left` of a counted state after its next step commits so many places of its block; None where that
    has several and it is not told of which.
    """
    assert decoding.left is not None
    blocks = _blocks(decoding)
    if count < decoding.inside and len(blocks) > 1:
        return None
    taken = {block: min(decoding.left[block], count) for block in blocks}
    return tuple(left - taken.get(block, 0) for block, left in enumerate(decoding.left))


def _blocks(decoding: Decoding) -> range:
    """Which of the settings' blocks the next step is about."""
    step, size = decoding.steps[decoding.step], _block_size(decoding)
    return range(step.start // size, -(-step.stop // size))


def _block_size(decoding: Decoding) -> int:
    length = len(decoding.canvas.blank)
    return min(decoding.settings.block_length or length, length)


def hurried(decoding: Decoding, num_steps: int) -> Decoding:
    """The same with so many steps left, 1 or more; with fewer, where fewer places are left."""
    places, length = decoding.masked.nonzero()[:, 0].tolist(), len(decoding.canvas.blank)
    if isinstance(decoding.rule, PublishedRule) and decoding.rule.algorithm == "origin":
        left = by_chance(length, min(max(num_steps, 1), len(places)))
    else:
        left = anew(places, max(num_steps, 1), length, decoding.settings.block_length)
    return replace(decoding, steps=(*decoding.steps[: decoding.step], *left))


def wanted(decoding: Decoding) -> int:
    """How many steps the schedule that was asked for has for as many places as are still masked."""
    left, steps = decoding.places_left, 0
    for places in reversed(decoding.asked):
        if left <= 0:
            break
        left, steps = left - places, steps + 1
    return steps


def schedule_of(decoding: Decoding) -> Schedule:
    """What was asked and what was run so far."""
    return Schedule(asked=decoding.asked, run=decoding.run)


def change_of(
    decoding: Decoding, *, vocabulary: Vocabulary, text_tokenizer: TextTokenizer, request: int
) -> CanvasChange:
    """What a watcher is told of a state; made when somebody looks, in whatever thread that is."""
    tokens, sure, committed = (each.tolist() for each in (decoding.tokens, decoding.sure, decoding.committed))
    return CanvasChange(
        request=request,
        task=decoding.canvas.task,
        step=decoding.step,
        num_steps=len(decoding.steps),
        committed=sum(step != MASKED for step in committed),
        length=len(committed),
        preview=_preview(decoding.canvas, committed, vocabulary, text_tokenizer),
        places=tuple(
            Place(
                token=token if chance >= 0 or step != MASKED else None,
                step=None if step == MASKED else step,
                confidence=chance if chance >= 0 else None,
            )
            for token, chance, step in zip(tokens, sure, committed, strict=True)
        ),
    )


def _preview(
    canvas: Canvas, committed: Sequence[int], vocabulary: Vocabulary, text_tokenizer: TextTokenizer
) -> str:
    """Text as it reads so far, bytes of one character put together; codes as blocks."""
    is_text = canvas.blank.modality is Modality.TEXT
    shown: list[str] = []
    words: list[int] = []
    for token, step in zip(canvas.filled.tolist(), committed, strict=True):
        hidden = step == MASKED
        if not hidden and token in vocabulary.text and (is_text or canvas.task is Task.REPLY):
            words.append(token)
            continue
        shown.append(text_tokenizer.piece(words))
        words = []
        if hidden:
            shown.append(" ░" if is_text else "░")
        elif token == vocabulary.end and is_text:
            break
        elif not is_text or token in vocabulary.speech or token in vocabulary.image:
            shown.append("█")
    return "".join([*shown, text_tokenizer.piece(words)]).strip()

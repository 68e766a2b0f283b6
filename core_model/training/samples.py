"""Training samples of the core: the layouts that decoding uses, packed into rows.

A *unit* is a picture (or none) with segments behind it. The picture's tokens see only each other; a segment
sees the picture and itself, and its positions go on where the picture's end, so that one picture serves
several questions. Each segment ends in one blank, padded to its bucket with end tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float16, Int64

from omni_agent.core import Modality, Task
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.layout import lay_out, picture_ids
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.training.masking import PADDING, masked_at
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = ["Batch", "Heard", "Layout", "Segment", "Unit", "masked_places", "pack"]

IGNORED = -100


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """What the speech encoder makes of an utterance, and the word it spots at each frame: a text token, the
    end token for none, IGNORED where that is not known.
    """

    frames: Float16[np.ndarray, "t width"]
    words: Int64[np.ndarray, " t"]

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """One question with its answer: tokens, where the blank begins, and heard speech if there is any.

    `hints` says of the first places of the blank what they are about: the object of an image code, the phone
    of a speech code. `named` says of the prompt's places how many there are in the picture of what they name.
    `untold` are the bits (`untold.py`) of what the question leaves out of the loss, besides what its picture
    does.
    """

    task: Task
    modality: Modality
    ids: list[int]
    blank: int
    hints: Int64[np.ndarray, " places"] | None = None
    named: Int64[np.ndarray, " prompt"] | None = None
    untold: int = 0
    heard: Heard | None = None
    heard_at: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """A picture's tokens (may be none), the objects at its places, how many of each are there, where their
    centres are and how many they are in all, the bits of what it and what each place leave out of the loss,
    and the segments behind it.
    """

    prefix: list[int] = field(default_factory=list)
    places: Int64[np.ndarray, "codes"] | None = None
    likes: Int64[np.ndarray, "codes"] | None = None
    untold_at: Int64[np.ndarray, "codes"] | None = None
    centres: Int64[np.ndarray, "codes"] | None = None
    number: int = 0
    untold: int = 0
    segments: Sequence[Segment]

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(segment.ids) for segment in self.segments)


class Layout:
    """Makes units as `Model.canvas` lays out requests."""

    def __init__(self, config: CoreConfig, tokenizer: TextTokenizer) -> None:
        self.config, self.vocabulary, self._tokenizer = config, Vocabulary.of(config), tokenizer
        self._known: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        """Token ids of a text; texts repeat, so they are remembered."""
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text)
        return self._known[text]

    def picture(self, codes: Sequence[int]) -> list[int]:
        """A picture in front of its questions."""
        return picture_ids(self.vocabulary, codes)

    def segment(
        self,
        task: Task,
        given: str | Heard | None,
        modality: Modality,
        answer: Sequence[int],
        hints: Int64[np.ndarray, " places"] | None = None,
    ) -> Segment:
        """A question, typed or heard or empty (None), and the ids of its answer, counted in the whole
        vocabulary.
        """
        settings = self.config.tasks[task]
        heard = given if isinstance(given, Heard) else None
        instruction = self.text(settings.instruction) if settings.instruction and given is not None else []
        content: list[list[int] | int] = []
        if isinstance(given, str):
            content = [self.text(given)]
        elif given is not None:
            content = [len(given)]
        units = len(given) if given is not None else 0
        prompt = lay_out(self.vocabulary, instruction=instruction, content=content, blank=modality)
        length = settings.blank_length(units) if given is not None else settings.lengths[-1]
        if len(answer) > length:
            raise ValueError(
                f"an answer of {len(answer)} tokens does not fit the blank of {length} that {task} would get"
            )
        padded = [*answer, *[self.vocabulary.end] * (length - len(answer))]
        return Segment(
            task=task,
            modality=modality,
            ids=prompt.ids + padded,
            blank=len(prompt.ids),
            hints=hints,
            heard=heard,
            heard_at=prompt.heard_at[0] if prompt.heard_at else 0,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows of packed units. `group` and `part` say who sees whom: equal groups, and part 0 (the picture) or
    the same part.

    `objects`, `likes`, `centres`, `numbers`, `named`, `phones` and `orders` are what the inner layers are
    asked: IGNORED where nothing is. A blank's place is asked where it is read, one position before.
    """

    ids: Int64[np.ndarray, "rows n"]
    labels: Int64[np.ndarray, "rows n"]
    kinds: Int64[np.ndarray, "rows n"]
    group: Int64[np.ndarray, "rows n"]
    part: Int64[np.ndarray, "rows n"]
    positions: Int64[np.ndarray, "rows n"]
    objects: Int64[np.ndarray, "rows n"]
    likes: Int64[np.ndarray, "rows n"]
    centres: Int64[np.ndarray, "rows n"]
    numbers: Int64[np.ndarray, "rows n"]
    named: Int64[np.ndarray, "rows n"]
    untold: Int64[np.ndarray, "rows n"]
    phones: Int64[np.ndarray, "rows n"]
    heard: Float16[np.ndarray, "frames width"]
    heard_at: Int64[np.ndarray, " frames"]
    """Where in the flattened rows each heard frame goes."""
    frame: Int64[np.ndarray, " frames"]
    """The how-manieth of its utterance each heard frame is, from 0; the first ones are the query rows."""
    orders: Int64[np.ndarray, " frames"]
    """Whether the first, second, ... word is spotted at each frame; 0 for none."""


KINDS = (Modality.TEXT, Modality.SPEECH, Modality.IMAGE)


def masked_places(
    rng: np.random.Generator, tail: np.ndarray, *, full: bool = False, padding: float = PADDING
) -> np.ndarray:
    """Which places of a blank are masked: one share for the whole blank, nearly full ones more often.

    Args:
        rng: source of chance.
        tail: True at the padding, which is masked less often (attenuated tail-pad masking).
        full: mask everything, as decoding begins.
        padding: of its share, what padding is masked at; 1 masks it like anything else.
    """
    kind = rng.random()
    if full or kind < 0.15:
        return np.ones(len(tail), dtype=bool)
    share = rng.uniform(0.7, 1.0) if kind < 0.55 else rng.uniform(0.05, 0.7)
    return masked_at(rng, tail, share, padding=padding)


def pack(
    units: Iterator[Unit],
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    *,
    rows: int,
    length: int,
    full: bool = False,
    padding: float = PADDING,
) -> Batch:
    """Fill `rows` rows of `length` with units, first fit; the last unit that fits nowhere ends it. `full` and
    `padding` are those of `masked_places`.
    """
    ids = np.full((rows, length), vocabulary.end, dtype=np.int64)
    labels = np.full_like(ids, IGNORED)
    kinds, group, part, positions, untold = (np.zeros_like(ids) for _ in range(5))
    group += np.arange(length) + 10_000  # padding sees only itself
    objects, likes, centres, numbers, named, phones = (np.full_like(ids, IGNORED) for _ in range(6))
    heard: list[Heard] = []
    heard_at: list[np.ndarray] = []
    used = np.zeros(rows, dtype=int)
    misses = 0
    for number, unit in enumerate(units):
        fitting = np.flatnonzero(used + len(unit) <= length)
        if not len(fitting):
            misses += 1
            if misses > 2:
                break
            continue
        row = int(fitting[0])
        at = int(used[row])
        shared = len(unit.prefix)
        group[row, at : at + len(unit)] = number
        if shared:
            ids[row, at : at + shared] = unit.prefix
            positions[row, at : at + shared] = np.arange(shared)
            untold[row, at : at + shared] = unit.untold
            if unit.places is not None:
                objects[row, at + 1 : at + 1 + len(unit.places)] = unit.places
                numbers[row, at] = unit.number
            if unit.likes is not None:
                likes[row, at + 1 : at + 1 + len(unit.likes)] = unit.likes
            if unit.untold_at is not None:
                untold[row, at + 1 : at + 1 + len(unit.untold_at)] |= unit.untold_at
            if unit.centres is not None:
                centres[row, at + 1 : at + 1 + len(unit.centres)] = unit.centres
        at += shared
        for which, segment in enumerate(unit.segments, start=1):
            stop = at + len(segment.ids)
            truth = np.array(segment.ids)
            blank = truth[segment.blank :]
            tail = blank == vocabulary.end
            tail[np.flatnonzero(tail)[:1]] = False
            masked = masked_places(rng, tail, full=full, padding=padding)
            ids[row, at:stop] = truth
            ids[row, at + segment.blank : stop][masked] = vocabulary.mask
            labels[row, at + segment.blank : stop][masked] = blank[masked]
            kinds[row, at:stop] = KINDS.index(segment.modality)
            part[row, at:stop] = which
            untold[row, at:stop] = unit.untold | segment.untold
            positions[row, at:stop] = shared + np.arange(len(segment.ids))
            if segment.named is not None:
                named[row, at : at + segment.blank] = segment.named
            if segment.hints is not None:
                asked = phones if segment.modality is Modality.SPEECH else objects
                read = at + segment.blank - 1
                asked[row, read : read + len(segment.hints)] = segment.hints
            if segment.heard is not None:
                first = row * length + at + segment.heard_at
                heard.append(segment.heard)
                heard_at.append(np.arange(first, first + len(segment.heard)))
            at = stop
        used[row] = at
    width = heard[0].frames.shape[1] if heard else 1
    nothing = np.zeros(0, np.int64)
    return Batch(
        ids=ids,
        labels=labels,
        kinds=kinds,
        group=group,
        part=part,
        positions=positions,
        objects=objects,
        likes=likes,
        centres=centres,
        numbers=numbers,
        named=named,
        untold=untold,
        phones=phones,
        heard=np.concatenate([each.frames for each in heard]) if heard else np.zeros((0, width), np.float16),
        heard_at=np.concatenate(heard_at) if heard else nothing,
        frame=np.concatenate([np.arange(len(each)) for each in heard]) if heard else nothing,
        orders=np.concatenate([_orders(each.words, vocabulary.end) for each in heard]) if heard else nothing,
    )


def _orders(words: Int64[np.ndarray, " t"], none: int) -> Int64[np.ndarray, " t"]:
    """The how-manieth word is spotted at each frame, from 1; 0 for none, IGNORED where words are."""
    spotted = words != none
    new = spotted & (np.diff(words, prepend=none) != 0)
    orders: Int64[np.ndarray, " t"] = np.where(spotted, np.cumsum(new), 0)
    return np.where(words == IGNORED, IGNORED, orders)

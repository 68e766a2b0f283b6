"""The mixture of tasks that the small core learns from: endless units out of the pools of a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int64
from numpy.typing import NDArray
from safetensors.torch import load_file

from omni_agent.core import Modality, Task
from omni_agent.core_model.training.pools import Codes, Crowds, Pictures, Ragged
from omni_agent.core_model.training.samples import IGNORED, Heard, Layout, Segment, Unit
from omni_agent.core_model.training.spliced import Splicer
from omni_agent.core_model.training.untold import ALONE, untold_numbers
from omni_agent.core_model.world import (
    KINDS,
    Combination,
    Object,
    Question,
    QuestionKind,
    Split,
    caption,
    crowd_question,
    how_many,
    load_world,
    question_kinds,
    sample_question,
    sample_sentence,
    sums,
)
from omni_agent.core_model.world.splits import CHOOSING, trained_in_number
from omni_agent.errors import InputError

__all__ = ["Sources"]

Pool = TypeVar("Pool", Pictures, Crowds, Ragged)


class _Looked(NamedTuple):
    """A picture, what it shows, what may be asked about it, what "this" is where one asks that, and how many
    there are of each object.
    """

    shows: Combination
    kinds: list[QuestionKind]
    main: Object | None
    numbers: Int8[np.ndarray, " objects"]
    unit: Unit

    def question(self, rng: np.random.Generator, kind: QuestionKind) -> Question:
        """A question of that kind; the main object of a pair is asked for like a single one."""
        if kind == "what" and self.main is not None:
            return sample_question(rng, replace(self.shows, kind="one", objects=(self.main,)), kind)
        return sample_question(rng, self.shows, kind)


class Sources:
    """Endless units of every task whose pool is there, none longer than `room` tokens. The pools' pictures
    are of the splits.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        shares: dict[str, float],
        room: int,
        splits: Collection[Split] = CHOOSING,
    ) -> None:
        self.layout, self.room, self._splits = layout, room, splits
        self.pictures, self.drawings = (
            _opened(Pictures, folder / f"{name}.npz") for name in ("pictures", "drawings")
        )
        self.crowds, self.strangers = (
            _opened(Crowds, folder / f"{name}.npz") for name in ("crowds", "strangers")
        )
        self.spoken, self.phones, self.heard = (
            _opened(Ragged, folder / f"{name}.npz") for name in ("spoken", "phones", "heard")
        )
        self._said = {text: i for i, text in enumerate(self.spoken.texts)} if self.spoken else {}
        names = [self._word(thing.name) for thing in load_world().objects]
        self._names = np.array([*names, layout.vocabulary.end])
        self._object_of = np.full(len(layout.vocabulary), -1)
        for thing in load_world().objects:
            self._object_of[[self._word(thing.name), self._word(thing.plural)]] = thing.index
        self._untold = np.array([untold_numbers(thing, splits) for thing in load_world().objects])
        self._recordings: dict[str, list[int]] = defaultdict(list)
        if self.heard is not None:
            for index, text in enumerate(self.heard.texts):
                self._recordings[text].append(index)
            self._words = self._spotted(self.heard, folder / "speech_encoder.safetensors")
            encoder = layout.config.speech_encoder
            assert encoder is not None
            self._splicer = Splicer(
                self.heard, self._words, none=layout.vocabulary.end, queries=len(encoder.query_rows)
            )
        self._of_one = frozenset(
            _names_of_kinds(lambda thing, n: n == 1 and trained_in_number(thing, n, splits))
        )
        self._named = {tuple(layout.text(name)) for name in _names_of_kinds(lambda thing, n: True)}
        self._said_sums = [sum_ for sum_ in sums() if sum_.text in self._recordings]
        self._looked_at: Int64[np.ndarray, " pictures"] = np.zeros(0, np.int64)
        if self.pictures is not None:
            mains = [_main_of_a_pair(self.pictures, index) for index in range(len(self.pictures))]
            times = 1 + 3 * _never_alone(mains, splits)
            self._looked_at = np.repeat(np.arange(len(self.pictures)), times)
        self._drawn: Int64[np.ndarray, " drawings"] = np.zeros(0, np.int64)
        self._large: list[Object | None] = []
        if self.drawings is not None:
            # Colours that mean nothing cannot be foretold, nor can an object whose name is masked, so they
            # teach less a drawing.
            self._large = [self.drawings.large_one(index) for index in range(len(self.drawings))]
            foretold = (self.drawings.shown[:, 4] >= 0) & [each is None for each in self._large]
            times = np.where(foretold, 3, 1) + 5 * _never_alone(self._large, splits)
            self._drawn = np.repeat(np.arange(len(self.drawings)), times)
        # what is answered by the words of what is heard is learnt from words
        frames = layout.config.tasks[Task.ANSWER].heard == "frames"
        able = {
            "look": self.pictures is not None,
            "look at crowds": self.crowds is not None,
            "look at strangers": self.strangers is not None,
            "look at nothing": True,
            "sum": True,
            "draw": self.drawings is not None,
            "speak": self.spoken is not None,
            "transcribe": self.heard is not None,
            "transcribe jumbled": self.heard is not None and bool(self._splicer.words),
            "look and listen": frames and self.heard is not None and self.pictures is not None,
            "listen": frames and bool(self._said_sums),
        }
        self.shares = {name: share for name, share in shares.items() if able[name] and share > 0}
        if not self.shares:
            raise FileNotFoundError(f"no pools in {folder}; make them first")

    def check_splits(self) -> None:
        """No picture is of a number of an object that is in none of the splits: what is right about it would
        be left out of the loss.

        Raises:
            InputError: one is.
        """
        for pool in (self.pictures, self.drawings):
            for kind, first, number in [] if pool is None else np.unique(pool.shown[:, [0, 1, 3]], axis=0):
                thing = load_world().objects[first]
                if KINDS[kind] != "pair" and not trained_in_number(thing, number, self._splits):
                    raise InputError(
                        f"given pools with a picture of {number} x {thing.name}; wanted only the splits"
                        f" {', '.join(self._splits)}: give --development to pools and core, or neither"
                    )

    def units(self, rng: np.random.Generator, only: str | None = None) -> Iterator[Unit]:
        """Units by their shares, or of one kind."""
        names = [only] if only else list(self.shares)
        chances = np.array([1.0] if only else list(self.shares.values()))
        makers = {
            "look": self._look,
            "look at crowds": self._look_at_a_crowd,
            "look at strangers": self._look_at_strangers,
            "look at nothing": self._look_at_nothing,
            "sum": self._sum,
            "draw": self._draw,
            "speak": self._speak,
            "transcribe": self._transcribe,
            "transcribe jumbled": self._transcribe_jumbled,
            "look and listen": self._look_and_listen,
            "listen": self._listen,
        }
        while True:
            unit = makers[names[rng.choice(len(names), p=chances / chances.sum())]](rng)
            if len(unit) <= self.room:
                yield unit

    def _word(self, word: str) -> int:
        """The one token of a word."""
        (token,) = self.layout.text(word)
        return token

    def _objects(self, places: NDArray[np.int8]) -> Int64[np.ndarray, " places"]:
        """The names at the places of a picture as tokens, the end token for none."""
        return np.where(places >= 0, self._names[places.clip(min=0)], IGNORED)

    def _spotted(self, heard: Ragged, encoder_file: Path) -> Int64[np.ndarray, " frames"]:
        """The word at each heard frame by the encoder's recognition head. Utterances that it gets wrong are
        IGNORED.
        """
        if not encoder_file.exists():
            raise InputError(
                f"there is no {encoder_file}, which made heard.npz: put it beside, or leave that out"
            )
        head = load_file(encoder_file)
        weight, bias = head["ctc.ctc_lo.weight"].float(), head["ctc.ctc_lo.bias"].float()
        encoder = self.layout.config.speech_encoder
        assert encoder is not None
        queries = len(encoder.query_rows)
        end = self.layout.vocabulary.end
        tokens = np.array([end, *encoder.ctc_tokens])
        found = np.concatenate(
            [
                (torch.from_numpy(part.astype(np.float32)) @ weight.T + bias).argmax(-1).numpy()
                for part in np.array_split(heard.values, len(heard.values) // 50_000 + 1)
            ]
        )
        spotted: Int64[np.ndarray, " frames"] = tokens[found]
        for text, start, stop in zip(heard.texts, heard.starts, heard.starts[1:], strict=False):
            spotted[start : start + queries] = end
            row = spotted[start:stop]
            new = row[(row != end) & (np.diff(row, prepend=end) != 0)]
            if new.tolist() != self.layout.text(text):
                row[:] = IGNORED
        return spotted

    def _text(self, task: Task, given: str | Heard | None, answer: str) -> Segment:
        return self.layout.segment(task, given, Modality.TEXT, self.layout.text(answer))

    def _answer(
        self, numbers: Int8[np.ndarray, " objects"], question: Question, heard: Heard | None = None
    ) -> Segment:
        given = question.text if heard is None else heard
        return self._about(numbers, self._text(Task.ANSWER, given, question.answer))

    def _about(self, numbers: Int8[np.ndarray, " objects"], segment: Segment) -> Segment:
        """The question with how many there are of what it names, given how many there are of each object."""
        ids = np.array(segment.ids[: segment.blank])
        if segment.heard is not None:
            ids[segment.heard_at : segment.heard_at + len(segment.heard)] = segment.heard.words
        named = np.where(ids == IGNORED, -1, self._object_of[ids])
        untold = int(np.bitwise_or.reduce(self._untold[named[named >= 0]], initial=0))
        return replace(segment, named=np.where(named < 0, IGNORED, numbers[named.clip(min=0)]), untold=untold)

    def _picture(self, rng: np.random.Generator) -> _Looked:
        """A picture without questions, and what may be asked about it."""
        assert self.pictures is not None
        index = int(rng.choice(self._looked_at))
        shows = self.pictures.combination(index)
        kinds = [
            kind
            for kind in question_kinds(shows)
            if self.pictures.has_background(index) or kind not in ("where", "caption")
        ]
        # There, the answer is always zero; asked as often as "how many" of what is there, zero becomes the
        # answer to both.
        if shows.kind == "count" and rng.random() < 0.7:
            kinds.remove("one or zero")
        main = _main_of_a_pair(self.pictures, index)
        if main is not None:
            kinds += ["what"]
        numbers = np.zeros(len(load_world().objects), np.int8)
        numbers[[thing.index for thing in shows.objects]] = shows.number
        unit = self._seen(self.pictures, index, numbers)
        if shows.kind == "one":
            unit = replace(unit, untold=ALONE)
        elif shows.kind == "count":
            unit = replace(unit, untold=int(self._untold[shows.objects[0].index]))
        return _Looked(shows, kinds, main, numbers, unit)

    def _seen(self, pool: Codes, index: int, numbers: Int8[np.ndarray, " objects"]) -> Unit:
        places = pool.places[index]
        shown = (places >= 0) & (places < len(numbers))
        there = np.where(shown, places, 0)
        return Unit(
            prefix=self.layout.picture(pool.codes[index].tolist()),
            places=self._objects(places),
            likes=np.where(shown, numbers[there], IGNORED).astype(np.int64),
            untold_at=np.where(shown, self._untold[there], 0),
            centres=pool.centres[index].astype(np.int64),
            number=int(numbers.sum()),
            segments=(),
        )

    def _look(self, rng: np.random.Generator) -> Unit:
        looked = self._picture(rng)
        # "is there" is learnt slowest, so it is asked twice.
        asked: list[QuestionKind] = [*looked.kinds, "is there"]
        chosen = [asked[i] for i in rng.permutation(len(asked))[:5]]
        segments = [
            self._text(Task.DESCRIBE, "", caption(looked.shows))
            if kind == "caption"
            else self._answer(looked.numbers, looked.question(rng, kind))
            for kind in chosen
        ]
        if looked.shows.kind == "count":
            segments[-1] = self._how_many_of_anything(looked.shows.number)
        return replace(looked.unit, segments=segments)

    def _look_at_a_crowd(self, rng: np.random.Generator) -> Unit:
        assert self.crowds is not None
        index = int(rng.integers(len(self.crowds)))
        numbers = self.crowds.numbers[index]
        asked = dict.fromkeys(crowd_question(rng, numbers) for _ in range(4))
        segments = [self._answer(numbers, question) for question in asked]
        segments.append(self._how_many_of_anything(int(numbers.sum())))
        return replace(self._seen(self.crowds, index, numbers), segments=segments)

    def _look_at_strangers(self, rng: np.random.Generator) -> Unit:
        """Nothing there has a name, so it is only counted, and any number is told."""
        assert self.strangers is not None
        index = int(rng.integers(len(self.strangers)))
        numbers = self.strangers.numbers[index]
        seen = self._seen(self.strangers, index, numbers)
        assert seen.places is not None
        nothing = seen.places == self.layout.vocabulary.end
        return replace(
            seen,
            places=np.where(nothing, seen.places, IGNORED),
            untold_at=None,
            segments=[self._how_many_of_anything(int(numbers.sum()))],
        )

    def _how_many_of_anything(self, number: int) -> Segment:
        """How many there are of a name that is masked: whatever lies there is counted."""
        world = load_world()
        asked = how_many(world.objects[0], number)
        segment, name = self._masked(
            self._text(Task.ANSWER, asked.text, asked.answer), world.objects[0].plural
        )
        named = np.full(segment.blank, IGNORED)
        named[name] = number
        return replace(segment, named=named)

    def _masked(self, segment: Segment, word: str) -> tuple[Segment, int]:
        """The segment with a word of its prompt masked, and where that is."""
        at = segment.ids.index(self._word(word))
        ids = [*segment.ids[:at], self.layout.vocabulary.mask, *segment.ids[at + 1 :]]
        return replace(segment, ids=ids), at

    def _look_at_nothing(self, rng: np.random.Generator) -> Unit:
        """Counts of objects in a picture that is hidden, or not there: each is as likely as another.

        Otherwise the name alone would say which number it is: that which was trained on.
        """
        objects = load_world().objects
        segments = []
        for index in rng.permutation(len(objects))[:5].tolist():
            asked = how_many(objects[index], int(rng.integers(2, 6)))
            segments.append(self._text(Task.ANSWER, asked.text, asked.answer))
        hidden = self.layout.picture([0] * 64) if rng.random() < 0.5 else []
        hidden[1:-1] = [self.layout.vocabulary.mask] * max(len(hidden) - 2, 0)
        return Unit(prefix=hidden, segments=segments)

    def _sum(self, rng: np.random.Generator) -> Unit:
        known = sums()
        chosen = [known[int(i)] for i in rng.integers(len(known), size=3)]
        return Unit(segments=[self._text(Task.ANSWER, each.text, each.answer) for each in chosen])

    def _draw(self, rng: np.random.Generator) -> Unit:
        assert self.drawings is not None
        index = int(rng.choice(self._drawn))
        prompt = None if rng.random() < 0.1 else self.drawings.prompt(index)
        return Unit(segments=[self._drawing(prompt, index)])

    def _drawing(self, given: str | None, index: int) -> Segment:
        assert self.drawings is not None
        codes = [self.layout.vocabulary.image.start + int(code) for code in self.drawings.codes[index]]
        hints = self._objects(self.drawings.places[index])
        segment = self.layout.segment(Task.DRAW, given, Modality.IMAGE, codes, hints)
        shows, large = self.drawings.combination(index), self._large[index]
        if given is not None and large is not None and self.drawings.has_background(index):
            # With both names it would be a pair as pairs are drawn.
            (small,) = (thing for thing in shows.objects if thing != large)
            segment, _ = self._masked(segment, small.name)
        return replace(segment, untold=ALONE if shows.kind == "one" else 0)

    def _speak(self, rng: np.random.Generator) -> Unit:
        assert self.spoken is not None
        index = int(rng.integers(len(self.spoken)))
        if rng.random() < 0.6:
            # As often as it is said: most of the pool are captions, and a sum would come once in a hundred.
            index = self._said.get(sample_sentence(rng), index)
        codes = [self.layout.vocabulary.speech.start + int(code) for code in self.spoken[index]]
        hints = None if self.phones is None else self.phones[index].astype(np.int64)
        text = self.spoken.texts[index]
        return Unit(segments=[self.layout.segment(Task.SPEAK, text, Modality.SPEECH, codes, hints)])

    def _recording(self, rng: np.random.Generator, text: str) -> Heard:
        if rng.random() < 0.3:
            spliced = self._splicer.spoken(rng, self.layout.text(text))
            if spliced is not None:
                return spliced
        takes = self._recordings[text]
        return self._heard(takes[int(rng.integers(len(takes)))])

    def _heard(self, index: int) -> Heard:
        assert self.heard is not None
        at = slice(self.heard.starts[index], self.heard.starts[index + 1])
        return Heard(frames=self.heard[index].astype(np.float16, copy=False), words=self._words[at])

    def _transcribe(self, rng: np.random.Generator) -> Unit:
        assert self.heard is not None
        index = int(rng.integers(len(self.heard)))
        text = self.heard.texts[index]
        segment = self._text(Task.TRANSCRIBE, self._heard(index), text)
        return Unit(segments=[replace(segment, untold=ALONE if text in self._of_one else 0)])

    def _transcribe_jumbled(self, rng: np.random.Generator) -> Unit:
        assert self.heard is not None
        while True:
            text = self.layout.text(self.heard.texts[int(rng.integers(len(self.heard)))])
            said = self._splicer.jumbled(rng, text)
            heard = self._splicer.spoken(rng, said)
            if heard is not None and tuple(said) not in self._named:
                return Unit(segments=[self.layout.segment(Task.TRANSCRIBE, heard, Modality.TEXT, said)])

    def _look_and_listen(self, rng: np.random.Generator) -> Unit:
        looked = self._picture(rng)
        segments: list[Segment] = []
        room = self.room - len(looked.unit)
        for _ in range(20):
            question = looked.question(rng, looked.kinds[int(rng.integers(len(looked.kinds)))])
            if question.text not in self._recordings:
                continue
            segment = self._answer(looked.numbers, question, self._recording(rng, question.text))
            if len(segment.ids) > room:
                break
            segments.append(segment)
            room -= len(segment.ids)
        return replace(
            looked.unit,
            segments=segments or [self._answer(looked.numbers, looked.question(rng, looked.kinds[0]))],
        )

    def _listen(self, rng: np.random.Generator) -> Unit:
        each = self._said_sums[int(rng.integers(len(self._said_sums)))]
        return Unit(segments=[self._text(Task.ANSWER, self._recording(rng, each.text), each.answer)])


def _names_of_kinds(wanted: Callable[[Object, int], bool]) -> Iterator[str]:
    """What is said of so many of one kind of object, one to five: captions and drawing prompts, with a
    background or none.
    """
    world = load_world()
    for thing in world.objects:
        for number in range(1, 6):
            if wanted(thing, number):
                things = thing.phrase if number == 1 else f"{world.numbers[number]} {thing.plural}"
                for place in ("", *(f" {background.phrase}" for background in world.backgrounds)):
                    yield from (f"{things}{place}", f"draw {things}{place}")


def _main_of_a_pair(pictures: Pictures, index: int) -> Object | None:
    """The large object of a pair that has one: on colours that mean nothing."""
    if pictures.shown[index, 0] != KINDS.index("pair") or pictures.has_background(index):
        return None
    return pictures.main_object(index)


def _never_alone(large: Sequence[Object | None], splits: Collection[Split]) -> Bool[np.ndarray, " pictures"]:
    """Whether the large object of each picture, of a pair that has one, is one that never stands alone.

    Shown once like the others, such objects would be large a fifth as often as those that also stand alone,
    and "what is this" would rarely be one of them. The factors of their pairs make it about seven tenths.
    """
    return np.array([each is not None and not trained_in_number(each, 1, splits) for each in large])


def _opened(kind: type[Pool], path: Path) -> Pool | None:
    return kind.open(path) if path.exists() else None

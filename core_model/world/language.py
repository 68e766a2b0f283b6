"""What is said about the world: questions with their answers, captions, drawing prompts, sums.

Lower case, no punctuation, numbers as words. Every function reads a scene or a combination: where an object
lies never matters to the words, beyond left and right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, TypeVar, get_args

import numpy as np

from omni_agent.core_model.world.scenes import sample_combination
from omni_agent.core_model.world.splits import Combination, Split
from omni_agent.core_model.world.words import Object, load_world

__all__ = [
    "QUESTION_KINDS",
    "SENTENCE_SHARES",
    "Question",
    "QuestionKind",
    "SentenceKind",
    "Shows",
    "caption",
    "draw_prompt",
    "how_many",
    "is_there",
    "question_kinds",
    "questions",
    "sample_question",
    "sample_sentence",
    "sample_sum",
    "short_answers",
    "sums",
]

QuestionKind = Literal["what", "caption", "count", "one or zero", "where", "is there", "left", "right", "sum"]
QUESTION_KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)

SentenceKind = Literal["question", "answer", "draw", "sum", "word"]
SENTENCE_SHARES: dict[SentenceKind, float] = {
    "question": 0.32,
    "answer": 0.24,
    "draw": 0.2,
    "sum": 0.14,
    "word": 0.1,
}
"""How much of what is said is of each kind. Answers include captions. Sums and single words are few, so more
than half is about pictures."""

T = TypeVar("T")


class Shows(Protocol):
    """A scene or a combination."""

    @property
    def combination(self) -> Combination: ...


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question of the world and its one right answer."""

    kind: QuestionKind
    text: str
    answer: str


def caption(shows: Shows) -> str:
    """The scene in words: "three apples in the snow"."""
    combination = shows.combination
    if not combination.background.phrase:
        raise ValueError("this scene's background is not one of the world's, so no words describe it")
    return f"{_things(combination)} {combination.background.phrase}"


def draw_prompt(shows: Shows) -> str:
    """What one says to have the scene drawn: "draw a dog on the grass"."""
    return f"draw {caption(shows)}"


def how_many(asked: Object, number: int) -> Question:
    """How many of the object there are: "how many apples are there"."""
    return Question(
        kind="count" if number > 1 else "one or zero",
        text=f"how many {asked.plural} are there",
        answer=load_world().numbers[number],
    )


def is_there(asked: Object, number: int) -> Question:
    """Whether there is one, where so many are: "is there an apple"."""
    return Question(kind="is there", text=f"is there {asked.phrase}", answer="yes" if number else "no")


def questions(shows: Shows) -> tuple[Question, ...]:
    """Every question about a scene, "is there" and "how many" asked of all objects of the world."""
    return tuple(
        question
        for kind in question_kinds(shows)
        for question in _questions(shows, kind, load_world().objects)
    )


def question_kinds(shows: Shows) -> tuple[QuestionKind, ...]:
    """The kinds of question that can be asked about a scene. Sums are about none."""
    match shows.combination.kind:
        case "one":
            return ("what", "caption", "one or zero", "where", "is there")
        case "count":
            return ("caption", "count", "one or zero", "is there")
        case "pair":
            return ("caption", "one or zero", "where", "is there", "left", "right")


def sample_question(rng: np.random.Generator, shows: Shows, kind: QuestionKind | None = None) -> Question:
    """A question of that kind about the scene; of any kind that fits, equally likely, when `kind` is None.

    Half of "is there" is answered no, and half of "one or zero" is zero where one is possible; the absent
    object is uniform among those the scene does not show. ValueError when the kind does not fit the scene.
    """
    if kind == "sum":
        return sample_sum(rng)
    kinds = question_kinds(shows)
    kind = kind or _choice(rng, kinds)
    if kind not in kinds:
        raise ValueError(
            f"{kind!r} cannot be asked about a {shows.combination.kind!r} scene: "
            f"choose from {', '.join(kinds)}"
        )
    present = shows.combination.objects
    asked: Sequence[Object] = present
    if kind in ("is there", "one or zero"):
        only_zero = kind == "one or zero" and shows.combination.kind == "count"
        if only_zero or rng.random() < 0.5:
            asked = [thing for thing in load_world().objects if thing not in present]
    elif kind == "caption":
        asked = present[:1]
    return _choice(rng, tuple(_questions(shows, kind, (_choice(rng, asked),))))


@cache
def sums() -> tuple[Question, ...]:
    """All 155 sums: zero to nine plus zero to nine, and minus where the result is not negative."""
    words = load_world().numbers
    plus = [
        Question(kind="sum", text=f"what is {words[a]} plus {words[b]}", answer=words[a + b])
        for a in range(10)
        for b in range(10)
    ]
    minus = [
        Question(kind="sum", text=f"what is {words[a]} minus {words[b]}", answer=words[a - b])
        for a in range(10)
        for b in range(a + 1)
    ]
    return tuple(plus + minus)


def sample_sum(rng: np.random.Generator) -> Question:
    """One of the 155 sums, equally likely."""
    return _choice(rng, sums())


def short_answers() -> tuple[str, ...]:
    """Every answer but captions: numbers, yes and no, each object, each background."""
    world = load_world()
    places = [place.phrase for place in world.backgrounds]
    return (*world.numbers, "yes", "no", *(thing.phrase for thing in world.objects), *places)


def sample_sentence(
    rng: np.random.Generator, split: Split | None = None, kind: SentenceKind | None = None
) -> str:
    """Something that is said in the world: a question, an answer, a drawing prompt, a sum, or a single word.

    `split` restricts the scenes that are spoken about. Hearing and speaking cover every sentence, so it is
    None there.
    """
    if kind is None:
        kinds = tuple(SENTENCE_SHARES)
        kind = kinds[int(rng.choice(len(kinds), p=tuple(SENTENCE_SHARES.values())))]
    if kind == "sum":
        return sample_sum(rng).text
    if kind == "word":
        return _choice(rng, _words())
    shows = sample_combination(rng, split)
    if kind == "draw":
        return draw_prompt(shows)
    question = sample_question(rng, shows)
    return question.text if kind == "question" else question.answer


@cache
def _words() -> tuple[str, ...]:
    """What is said alone: the numbers, yes and no, and each object with its article or as its name."""
    world = load_world()
    things = [form for thing in world.objects for form in (thing.name, thing.phrase)]
    # Numbers, yes and no are the commonest answers: repeated, they are half of the single words.
    short = [*world.numbers, "yes", "no"] * 6
    return (*short, *things)


def _questions(shows: Shows, kind: QuestionKind, asked: Iterable[Object]) -> Iterable[Question]:
    """The questions of a kind about a scene, for those of the asked objects it makes sense for."""
    combination = shows.combination
    present = combination.objects
    match kind:
        case "what":
            yield Question(kind=kind, text="what is this", answer=present[0].phrase)
        case "caption":
            yield Question(kind=kind, text="describe the picture", answer=caption(combination))
        case "left" | "right":
            shown = present[0 if kind == "left" else 1]
            yield Question(kind=kind, text=f"what is on the {kind}", answer=shown.phrase)
        case "count":
            yield how_many(present[0], combination.number)
        case "one or zero":
            for thing in asked:
                number = combination.number if thing in present else 0
                if number < 2:
                    yield how_many(thing, number)
        case "where":
            for thing in asked:
                if thing in present:
                    text = f"where is the {thing.name}"
                    yield Question(kind=kind, text=text, answer=combination.background.phrase)
        case "is there":
            for thing in asked:
                yield is_there(thing, thing in present)
        case "sum":
            yield from sums()


def _things(combination: Combination) -> str:
    if combination.kind == "count":
        return f"{load_world().numbers[combination.number]} {combination.objects[0].plural}"
    return " and ".join(shown.phrase for shown in combination.objects)


def _choice(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]

"""Hearing voices that were never trained on, and being understood: word errors both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable

import numpy as np

from omni_agent.core_model.evaluation.answering import different, shared, strange, voices_of
from omni_agent.core_model.evaluation.bench import WorldBench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.distinct import distinct
from omni_agent.core_model.evaluation.reading_back import one_at_a_time
from omni_agent.core_model.evaluation.scores import Share, agree, word_errors
from omni_agent.core_model.evaluation.speech_judge import SpeechJudge
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.training.speech_corpus import to_say
from omni_agent.core_model.training.voices import SPEAKING_VOICE
from omni_agent.core_model.world import (
    SENTENCE_SHARES,
    SentenceKind,
    Split,
    load_world,
    sample_sentence,
    short_answers,
)

__all__ = ["hearing", "speaking"]

HEARING_WANTED = 0.15
HEARING_WANTED_TOGETHER = 0.05
NUMBER_WORDS_WANTED = 0.02
SPEAKING_ABOVE_VOICE = 0.25
SENTENCES_ABOVE_VOICE = 0.06
SHORT_ANSWERS_WANTED = 0.95
TESTED = 250
"""So many sentences and answers for one judge, who has not seen them. There are some four hundred questions
and sums in all: one who has seen none of them does not understand the original voice either.
"""

SENTENCES: tuple[SentenceKind, ...] = ("question", "draw", "sum")
ANSWERS: tuple[SentenceKind, ...] = ("word", "answer")
"""In the order in which they are drawn: there are fewer words than answers, and some are both."""


async def hearing(bench: WorldBench) -> list[Row]:
    """Word errors of what is written down of each held-out voice, of both, and of their number words."""
    rows = []
    said: list[str] = []
    understood: list[str] = []
    voices = voices_of(bench.split)
    for voice in voices:
        sentences = _spread(bench.rng(f"hearing {voice}"), bench.questions, bench.split)

        async def heard(turn: int, text: str, voice: str = voice) -> str:
            sound = await bench.spoken(voice, text)
            written = await bench.attempt(bench.core.transcribe(sound))
            case = Case(
                part="hearing",
                row=voice,
                turn=turn,
                asked=(sound,),
                wanted=text,
                given=written,
                right=agree(written or "", text),
            )
            bench.gallery.add(case)
            return written or ""

        written = await bench.each(f"hear {voice}", sentences, heard)
        said, understood = said + sentences, understood + written
        share = word_errors(sentences, written)
        notes = [f"{share.total} words, a voice {strange(bench.split)}", different(sentences)]
        rows.append(
            Row(
                part="hearing",
                name=voice,
                measure="word error",
                share=share,
                wanted=HEARING_WANTED,
                note="; ".join(filter(None, notes)),
            )
        )
    both = " and ".join(voices)
    numbers = word_errors(said, understood, among=load_world().numbers)
    return [
        *rows,
        Row(
            part="hearing",
            name=both,
            measure="word error",
            share=word_errors(said, understood),
            wanted=HEARING_WANTED_TOGETHER,
            note="all words of both",
        ),
        Row(
            part="hearing",
            name="number words",
            measure="word error",
            share=Share(hits=numbers.hits, total=numbers.total),
            wanted=NUMBER_WORDS_WANTED,
            note=f"those of {both} together: {numbers.total}",
        ),
    ]


async def speaking(bench: WorldBench) -> list[Row]:
    """Word errors of the judge of speech on what the core says, beside the original voice and chance, also of
    those texts alone that no training has it say; and how many short answers are heard right.
    """
    rng = bench.rng("speaking")
    parts = {
        "sentences": _sentences(rng, SENTENCES, bench.questions, bench.split),
        "answers": _sentences(rng, ANSWERS, bench.questions, bench.split),
    }
    blocks = [slice(at, at + TESTED) for at in range(0, bench.questions, TESTED)]
    judges = [
        await bench.speech_judge([text for texts in parts.values() for text in texts[block]])
        for block in blocks
    ]
    rows: list[Row] = []
    read: list[tuple[str, str, str]] = []
    for name, texts in parts.items():
        heard = [
            each
            for block, judge in zip(blocks, judges, strict=True)
            for each in await bench.each(
                f"speak {name}", texts[block], _reading_back(bench, judge, name, first=block.start)
            )
        ]
        said, original = [each[0] for each in heard], [each[1] for each in heard]
        above = SENTENCES_ABOVE_VOICE if name == "sentences" else None
        rows.append(_speaking_row(name, texts, said, original, above))
        read += zip(texts, said, original, strict=True)
    known = set(to_say())
    if new := [each for each in read if each[0] not in known]:
        rows.append(_speaking_row("never said", *_columns(new), None))
    whole = _speaking_row("all", *_columns(read), SPEAKING_ABOVE_VOICE)
    return [whole, *rows, await _short_answers(bench, judges[0])]


def _columns(read: list[tuple[str, str, str]]) -> tuple[list[str], list[str], list[str]]:
    texts, said, original = map(list, zip(*read, strict=True))
    return texts, said, original


async def _short_answers(bench: WorldBench, judge: SpeechJudge) -> Row:
    """Answers of a word or a few, each once: there are no more of them."""
    name = "short answers"
    answers = list(short_answers())
    texts = [answers[n] for n in bench.rng(name).permutation(len(answers))[: bench.questions]]
    both = await bench.each(f"speak {name}", texts, _reading_back(bench, judge, name))
    voice = shared([agree(each[1], text) for each, text in zip(both, texts, strict=True)])
    return Row(
        part="speaking",
        name=name,
        measure="right",
        share=shared([agree(each[0], text) for each, text in zip(both, texts, strict=True)]),
        wanted=SHORT_ANSWERS_WANTED,
        note=f"heard right, {len(texts)} of all {len(answers)}; of the original voice"
        f" {100 * voice.value:.1f} %",
    )


def _reading_back(
    bench: WorldBench, judge: SpeechJudge, name: str, first: int = 0
) -> Callable[[int, str], Awaitable[tuple[str, str]]]:
    """Says a text: what the judge hears in that, and in the original voice."""
    understood = one_at_a_time(judge.transcribe)

    async def read_back(turn: int, text: str) -> tuple[str, str]:
        said = await bench.attempt(bench.core.speak(text))
        heard = await understood(said)
        original = await understood(await bench.spoken(SPEAKING_VOICE, text))
        case = Case(
            part="speaking",
            row=name,
            turn=first + turn,
            asked=(text,),
            wanted=text,
            given=said,
            judged=f"heard: {heard}; in the original voice: {original}",
            right=agree(heard, text),
        )
        bench.gallery.add(case)
        return heard, original

    return read_back


def _speaking_row(
    name: str, texts: list[str], said: list[str], original: list[str], above: float | None
) -> Row:
    voice = word_errors(texts, original).value
    # Chance: what was understood, held against the next sentence.
    chance = word_errors(texts, said[1:] + said[:1]).value
    notes = [f"the original voice {100 * voice:.1f} %", f"chance {100 * chance:.0f} %", different(texts)]
    return Row(
        part="speaking",
        name=name,
        measure="word error",
        share=word_errors(texts, said),
        wanted=None if above is None else voice + above,
        note=", ".join(filter(None, notes)),
    )


def _spread(rng: np.random.Generator, count: int, split: Split) -> list[str]:
    """So many sentences of all kinds in their shares; of each kind none again while there is another."""
    # The last are the fewest, and some of them are answers too: they are drawn first.
    shares = dict(reversed(SENTENCE_SHARES.items()))
    drawn = rng.choice(len(shares), size=count, p=list(shares.values())).tolist()
    times: Counter[Hashable] = Counter()
    of_kind = {
        n: iter(_distinct_sentences(rng, split, kind, drawn.count(n), times)) for n, kind in enumerate(shares)
    }
    return [next(of_kind[n]) for n in drawn]


def _sentences(
    rng: np.random.Generator, kinds: tuple[SentenceKind, ...], count: int, split: Split
) -> list[str]:
    """So many sentences, each kind as often; of each kind none again while there is another."""
    times: Counter[Hashable] = Counter()
    drawn = [
        _distinct_sentences(rng, split, kind, len(range(first, count, len(kinds))), times)
        for first, kind in enumerate(kinds)
    ]
    return [drawn[turn % len(kinds)][turn // len(kinds)] for turn in range(count)]


def _distinct_sentences(
    rng: np.random.Generator, split: Split, kind: SentenceKind, count: int, times: Counter[Hashable]
) -> list[str]:
    return distinct(lambda: sample_sentence(rng, split, kind), lambda text: text, count, times=times)

"""Questions asked aloud, by voices that were never trained on: kind by kind beside the same ones typed, all
kinds together, and answered aloud.
"""

from __future__ import annotations

from typing import NamedTuple

from omni_agent.core_model.evaluation.answering import (
    PictureQuestion,
    judged,
    sample,
    shared,
    strange,
    voices_of,
)
from omni_agent.core_model.evaluation.bench import WorldBench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.reading_back import one_at_a_time
from omni_agent.core_model.evaluation.scores import agree
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.world import Question, sums
from omni_agent.values import Image

__all__ = ["SPOKEN", "spoken_answers", "spoken_by_kind", "spoken_questions"]

SPOKEN = ("what", "count", "where", "left or right", "is there")
WANTED = 0.7
ANSWERED_WANTED = 0.9
PART = "spoken questions"

# How much worse than typed each kind may be.
WORSE = {"what": 0.03, "count": 0.03, "where": 0.03, "left or right": 0.03, "is there": 0.08, "sum": 0.08}


class Said(NamedTuple):
    """A question to be typed, and said by a voice."""

    question: Question
    picture: Image | None
    voice: str


async def spoken_by_kind(bench: WorldBench) -> list[Row]:
    """Each kind of question asked aloud, and the very same typed: what hearing them costs."""
    rows = []
    for name, worse in WORSE.items():
        asked = _asked(bench, name)

        async def right(turn: int, one: Said, name: str = name) -> tuple[bool, bool]:
            sound = await bench.spoken(one.voice, one.question.text)
            typed = await bench.attempt(bench.core.answer(one.question.text, one.picture))
            spoken = await bench.attempt(bench.core.answer(sound, one.picture))
            seen = (
                (sound, one.question.text) if one.picture is None else (one.picture, sound, one.question.text)
            )
            heard_right = judged(bench, name, turn, seen, one.question.answer, spoken, part=PART)
            return agree(typed or "", one.question.answer), heard_right

        done = await bench.each(f"{name}, typed and spoken", asked, right)
        typed = shared([each[0] for each in done])
        # rounded in questions, so that a row which just reaches it does not fail by a float's noise
        least = round(typed.hits - worse * typed.total, 6)
        rows.append(
            Row(
                part=PART,
                name=name,
                measure="right",
                share=shared([each[1] for each in done]),
                wanted=max(least / typed.total, 0.0),
                note=f"the same typed {100 * typed.value:.1f} %; {_voices(bench)}",
            )
        )
    return rows


async def spoken_questions(bench: WorldBench) -> list[Row]:
    """Questions about pictures asked aloud: answered from the sound, and from what was heard in it."""
    asked = _of_all_kinds(bench, "spoken question")
    names = ("spoken question", "spoken question, written down first")

    async def right(turn: int, one: PictureQuestion) -> tuple[bool, bool]:
        sound = await bench.spoken(one.voice, one.question.text)
        straight = await bench.attempt(bench.core.answer(sound, one.picture))
        written = await bench.attempt(bench.core.transcribe(sound))
        after = await bench.attempt(bench.core.answer(written, one.picture)) if written else None
        seen, wanted = (one.picture, sound, one.question.text), one.question.answer
        return (
            judged(bench, names[0], turn, seen, wanted, straight, part=PART),
            judged(
                bench, names[1], turn, (*seen, f"written down: {written or ''}"), wanted, after, part=PART
            ),
        )

    done = await bench.each("spoken question", asked, right)
    return [
        Row(
            part=PART,
            name=name,
            measure="right",
            share=shared([each[n] for each in done]),
            wanted=WANTED,
            note=_voices(bench),
        )
        for n, name in enumerate(names)
    ]


async def spoken_answers(bench: WorldBench) -> list[Row]:
    """Questions about pictures asked and answered aloud: what the judge of speech hears in the answer."""
    asked = _of_all_kinds(bench, "spoken answer")
    judge = await bench.speech_judge([one.question.answer for one in asked])
    read_back = one_at_a_time(judge.transcribe)
    name = "answered in speech"

    async def right(turn: int, one: PictureQuestion) -> tuple[bool, bool]:
        sound = await bench.spoken(one.voice, one.question.text)
        reply = await bench.attempt(bench.core.reply(sound, one.picture))
        heard = await read_back(None if reply is None else reply.speech)
        hit = reply is not None and agree(heard, one.question.answer)
        bench.gallery.add(
            Case(
                part=PART,
                row=name,
                turn=turn,
                asked=(one.picture, sound, one.question.text),
                wanted=one.question.answer,
                given=None if reply is None else reply.speech,
                judged="" if reply is None else f"written: {reply.text}; heard: {heard}",
                right=hit,
            )
        )
        return hit, reply is not None and agree(heard, reply.text)

    done = await bench.each("spoken answer", asked, right)
    faithful = 100 * sum(each[1] for each in done) / max(len(done), 1)
    return [
        Row(
            part=PART,
            name=name,
            measure="right",
            share=shared([each[0] for each in done]),
            wanted=ANSWERED_WANTED,
            note=f"by the judge of speech, who hears {faithful:.1f} % as they were written",
        )
    ]


def _voices(bench: WorldBench) -> str:
    return f"voices {' and '.join(voices_of(bench.split))}, {strange(bench.split)}"


def _asked(bench: WorldBench, name: str) -> list[Said]:
    """The questions of a kind; sums, which are few, come in each voice."""
    rng = bench.rng(f"spoken {name}")
    if name == "sum":
        every = [Said(question, None, voice) for question in sums() for voice in voices_of(bench.split)]
        return [every[n] for n in rng.permutation(len(every))[: bench.questions]]
    asked = sample(rng, name, bench.questions, bench.split)
    return [Said(one.question, one.picture, one.voice) for one in asked]


def _of_all_kinds(bench: WorldBench, what: str) -> list[PictureQuestion]:
    rng = bench.rng(what)
    each = -(-bench.questions // len(SPOKEN))
    asked = [one for name in SPOKEN for one in sample(rng, name, each, bench.split)]
    return asked[: bench.questions]

"""Hearing voices that were never trained on, and being understood: word errors both ways."""

from __future__ import annotations

import asyncio

import numpy as np

from omni_agent.core_model.evaluation.answering import HEARD_VOICES, SPOKEN, Asked, sample
from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.scores import Share, agree, word_errors
from omni_agent.core_model.evaluation.table import Row
from omni_agent.core_model.training.voices import SPEAKING_VOICE
from omni_agent.core_model.world import SentenceKind, Split, load_world, sample_sentence
from omni_agent.values import Speech

__all__ = ["hearing", "speaking", "spoken_answers"]

HEARING_WANTED = 0.15
SPEAKING_ABOVE_VOICE = 0.25
SENTENCES: tuple[SentenceKind, ...] = ("question", "draw", "sum")
ANSWERS: tuple[SentenceKind, ...] = ("answer", "word")


async def hearing(bench: Bench) -> list[Row]:
    """Word errors of what is written down of each held-out voice."""
    rows = []
    said: list[str] = []
    understood: list[str] = []
    for voice in HEARD_VOICES:
        rng = bench.rng(f"hearing {voice}")
        sentences = [sample_sentence(rng, bench.split) for _ in range(bench.questions)]

        async def heard(text: str, voice: str = voice) -> str:
            return await bench.attempt(bench.core.transcribe(await bench.spoken(voice, text))) or ""

        written = await bench.each(f"hear {voice}", sentences, heard)
        said, understood = said + sentences, understood + written
        share = word_errors(sentences, written)
        note = f"{share.total} words, a voice never trained on"
        rows.append(
            Row(
                part="hearing",
                name=voice,
                measure="word error",
                share=share,
                wanted=HEARING_WANTED,
                note=note,
            )
        )
    numbers = word_errors(said, understood, among=load_world().numbers)
    note = f"those of {' and '.join(HEARD_VOICES)} together: {numbers.total}"
    rows.append(Row(part="hearing", name="number words", measure="word error", share=numbers, note=note))
    return rows


async def speaking(bench: Bench) -> list[Row]:
    """Word errors of the judge of speech on what the core says, beside the original voice and chance."""
    rng = bench.rng("speaking")
    halves = {
        "sentences": _sentences(rng, SENTENCES, bench.questions // 2, bench.split),
        "answers": _sentences(rng, ANSWERS, bench.questions - bench.questions // 2, bench.split),
    }
    judge = await bench.speech_judge([text for texts in halves.values() for text in texts])
    # The judge is not thread-safe: it reads one sound at a time.
    reading = asyncio.Lock()

    async def read_back(text: str) -> tuple[str, str]:
        said = await bench.attempt(bench.core.speak(text))
        original = await bench.spoken(SPEAKING_VOICE, text)

        async def understood(sound: Speech | None) -> str:
            if sound is None:
                return ""
            async with reading:
                return await asyncio.to_thread(judge.transcribe, sound.samples, sound.rate)

        return await understood(said), await understood(original)

    rows: list[Row] = []
    all_texts: list[str] = []
    all_said: list[str] = []
    all_original: list[str] = []
    for name, texts in halves.items():
        both = await bench.each(f"speak {name}", texts, read_back)
        said, original = [each[0] for each in both], [each[1] for each in both]
        rows.append(_row(name, texts, said, original, judged=False))
        all_texts += texts
        all_said += said
        all_original += original
    return [_row("all", all_texts, all_said, all_original, judged=True), *rows]


async def spoken_answers(bench: Bench) -> list[Row]:
    """Questions about pictures asked and answered aloud: what the judge of speech hears in the answer."""
    rng = bench.rng("spoken answer")
    each = -(-bench.questions // len(SPOKEN))
    asked = [one for name in SPOKEN for one in sample(rng, name, each, bench.split)][: bench.questions]
    judge = await bench.speech_judge([one.question.answer for one in asked])
    reading = asyncio.Lock()

    async def right(one: Asked) -> tuple[bool, bool]:
        sound = await bench.spoken(one.voice, one.question.text)
        reply = await bench.attempt(bench.core.reply(sound, one.picture))
        if reply is None:
            return False, False
        async with reading:
            heard = await asyncio.to_thread(judge.transcribe, reply.speech.samples, reply.speech.rate)
        return agree(heard, one.question.answer), agree(heard, reply.text)

    done = await bench.each("spoken answer", asked, right)
    faithful = 100 * sum(each[1] for each in done) / max(len(done), 1)
    return [
        Row(
            part="spoken questions",
            name="answered in speech",
            measure="right",
            share=Share(hits=sum(each[0] for each in done), total=len(done)),
            note=f"by the judge of speech, who hears {faithful:.1f} % as they were written",
        )
    ]


def _row(name: str, texts: list[str], said: list[str], original: list[str], *, judged: bool) -> Row:
    voice = word_errors(texts, original).value
    # Chance: what was understood, held against the next sentence.
    chance = word_errors(texts, said[1:] + said[:1]).value
    return Row(
        part="speaking",
        name=name,
        measure="word error",
        share=word_errors(texts, said),
        wanted=voice + SPEAKING_ABOVE_VOICE if judged else None,
        note=f"the original voice {100 * voice:.1f} %, chance {100 * chance:.0f} %",
    )


def _sentences(
    rng: np.random.Generator, kinds: tuple[SentenceKind, ...], count: int, split: Split
) -> list[str]:
    return [sample_sentence(rng, split, kinds[turn % len(kinds)]) for turn in range(count)]

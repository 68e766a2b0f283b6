"""Speaking: word errors of a recogniser that reads back what the core says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.reading_back import Recogniser, one_at_a_time
from omni_agent.core_model.evaluation.scores import WordErrors, word_errors
from omni_agent.core_model.evaluation.speech_judge import SpeechJudge
from omni_agent.core_model.evaluation.suites.normalising import Normaliser
from omni_agent.core_model.evaluation.suites.utterances import Utterance
from omni_agent.core_model.evaluation.table import Row
from omni_agent.errors import InputError
from omni_agent.values import Speech

__all__ = ["speaking", "world_judge"]

PART = "speaking"


async def speaking(
    bench: Bench,
    name: str,
    utterances: Sequence[Utterance],
    normalise: Normaliser,
    recogniser: Recogniser,
) -> list[Row]:
    """Word errors of what a recogniser hears in the core's speech, and where the files hold sounds of all the
    texts, of what it hears in these: no voice is understood better than that.

    Args:
        bench: the evaluation under way.
        name: of the row.
        utterances: as `read_texts` gives them.
        normalise: what is counted as the same.
        recogniser: what reads back.
    """
    heard = one_at_a_time(recogniser)

    async def said(turn: int, utterance: Utterance) -> WordErrors:
        speech = await bench.attempt(bench.core.speak(utterance.text))
        understood = await heard(speech)
        errors = word_errors([utterance.text], [understood], normalise=normalise)
        bench.gallery.add(
            Case(
                part=PART,
                row=name,
                turn=turn,
                asked=(utterance.text,),
                wanted=utterance.text,
                given=speech,
                judged=f"heard: {understood}",
                right=errors.hits == 0,
            )
        )
        return errors

    async def originally(turn: int, utterance: Utterance) -> WordErrors:
        assert utterance.sound is not None
        understood = await heard(await bench.attempt(asyncio.to_thread(Speech.open, utterance.sound)))
        return word_errors([utterance.text], [understood], normalise=normalise)

    share = WordErrors.together(await bench.each(name, utterances, said))
    note = f"{len(utterances)} texts, {share.total} words"
    if all(each.sound for each in utterances):
        original = WordErrors.together(await bench.each(f"{name}, as recorded", utterances, originally))
        note += f"; of the sounds given {100 * original.value:.1f} %"
    return [Row(part=PART, name=name, measure="word error", share=share, note=note)]


def world_judge(texts: Sequence[str]) -> Recogniser:
    """The judge that reads back what omni-tiny says, which has not seen these texts.

    Raises:
        InputError: there are words in them that it does not know.
        MissingExtra: pocketsphinx is not installed.
    """
    judge = SpeechJudge(texts)
    unknown = sorted({word for text in texts for word in text.lower().split()} - judge.words)
    if unknown:
        raise InputError(
            f"given texts with {', '.join(map(repr, unknown[:5]))}; the judge knows the words of omni-tiny's"
            " world alone, in lower case and without punctuation: give a recogniser of your own"
        )
    return judge.transcribe

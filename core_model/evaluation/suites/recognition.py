"""Recognition: word errors of writing down a folder of sounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.scores import WordErrors, word_errors
from omni_agent.core_model.evaluation.suites.normalising import Normaliser
from omni_agent.core_model.evaluation.suites.utterances import Utterance
from omni_agent.core_model.evaluation.table import Row
from omni_agent.values import Speech

__all__ = ["recognition"]

PART = "recognition"


async def recognition(
    bench: Bench, name: str, utterances: Sequence[Utterance], normalise: Normaliser
) -> list[Row]:
    """Word errors of what the core writes down.

    Args:
        bench: the evaluation under way.
        name: of the row.
        utterances: each with its sound, as `read_utterances` gives them.
        normalise: what is counted as the same.
    """

    async def heard(sound: Path) -> str:
        return await bench.core.transcribe(await asyncio.to_thread(Speech.open, sound))

    async def written(turn: int, utterance: Utterance) -> WordErrors:
        assert utterance.sound is not None
        text = await bench.attempt(heard(utterance.sound))
        errors = word_errors([utterance.text], [text or ""], normalise=normalise)
        bench.gallery.add(
            Case(
                part=PART,
                row=name,
                turn=turn,
                asked=(utterance.sound,),
                wanted=utterance.text,
                given=text,
                right=errors.hits == 0,
            )
        )
        return errors

    done = await bench.each(name, utterances, written)
    share = WordErrors.together(done)
    note = f"{len(done)} sounds, {share.total} words"
    return [Row(part=PART, name=name, measure="word error", share=share, note=note)]

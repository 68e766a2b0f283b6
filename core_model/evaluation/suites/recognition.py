"""Recognition: word errors of writing down a folder of sounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

from omni_agent.core_model.evaluation.bench import Bench
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.scores import WordErrors, word_errors
from omni_agent.core_model.evaluation.suites.normalising import Normaliser
from omni_agent.core_model.evaluation.suites.utterances import Utterance, read_utterances
from omni_agent.core_model.evaluation.table import Row
from omni_agent.values import Speech

__all__ = ["recognition"]

PART = "recognition"


async def recognition(bench: Bench, source: Path, most: int | None, normalise: Normaliser) -> list[Row]:
    """Word errors of what the core writes down.

    Args:
        bench: the evaluation under way.
        source: a folder of sounds with their texts, or a file that lists them (see `utterances`).
        most: at most so many, the first ones.
        normalise: what is counted as the same.

    Raises:
        InputError: as `read_utterances`.
    """
    utterances = await asyncio.to_thread(read_utterances, source)
    name = source.stem

    async def written(turn: int, utterance: Utterance) -> WordErrors:
        assert utterance.sound is not None
        sound = await asyncio.to_thread(Speech.open, utterance.sound)
        text = await bench.attempt(bench.core.transcribe(sound))
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

    done = await bench.each(name, utterances[:most], written)
    share = WordErrors.together(done)
    note = f"{len(done)} sounds, {share.total} words"
    return [Row(part=PART, name=name, measure="word error", share=share, note=note)]

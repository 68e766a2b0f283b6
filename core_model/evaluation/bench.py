"""What every part of an evaluation works with: the core, work done a few at a time, and cases to look at."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from zlib import crc32

import numpy as np
from rich.progress import Progress

from omni_agent.core import Core
from omni_agent.core_model.evaluation.case import Gallery
from omni_agent.core_model.evaluation.picture_judge import PictureJudge
from omni_agent.core_model.evaluation.speech_judge import SpeechJudge
from omni_agent.core_model.training.voices import speak_with
from omni_agent.core_model.world import Split
from omni_agent.errors import InputError
from omni_agent.values import Speech

__all__ = ["Bench", "WorldBench"]

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One evaluation under way."""

    core: Core
    concurrency: int = 4
    progress: Progress | None = None
    failures: Counter[str] = field(default_factory=Counter)
    gallery: Gallery = field(default_factory=Gallery)

    async def each(self, what: str, items: Sequence[A], work: Callable[[int, A], Awaitable[B]]) -> list[B]:
        """The work's results for all items, in order, so many at a time; one that fails stops the rest.

        The work is given each item's number, from 0, and the item.
        """
        slots = asyncio.Semaphore(self.concurrency)
        task = self.progress.add_task(what, total=len(items)) if self.progress else None

        async def one(turn: int, item: A) -> B:
            async with slots:
                result = await work(turn, item)
            if self.progress and task is not None:
                self.progress.advance(task)
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(turn, item)) for turn, item in enumerate(items)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [done.result() for done in tasks]

    async def attempt(self, verb: Awaitable[B]) -> B | None:
        """What the core gives, or None where it gives nothing, say a blank that ended before it began.

        That is a wrong answer, not the end of the evaluation; the table says how often it happened and why.
        """
        try:
            return await verb
        except InputError as error:
            self.failures[str(error)] += 1
            return None


@dataclass(frozen=True, kw_only=True)
class WorldBench(Bench):
    """One evaluation on the world of omni-tiny."""

    split: Split
    questions: int
    seed: int

    def rng(self, part: str) -> np.random.Generator:
        """The part's own random numbers: what else is evaluated does not change its questions."""
        return np.random.default_rng([self.seed, crc32(part.encode())])

    async def spoken(self, voice: str, text: str) -> Speech:
        """The text in one of the world's voices."""
        samples, rate = await asyncio.to_thread(speak_with, voice, text)
        return Speech(samples, rate)

    async def picture_judge(self) -> PictureJudge:
        """The judge of pictures."""
        return await asyncio.to_thread(PictureJudge.load)

    async def speech_judge(self, sentences: Sequence[str]) -> SpeechJudge:
        """The judge of speech, which has not seen these sentences."""
        return await asyncio.to_thread(SpeechJudge, sentences)

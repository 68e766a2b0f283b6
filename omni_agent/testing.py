"""A core that follows a script, for testing graphs without a model."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self, TypeAlias, TypeVar, cast

from omni_agent.core import (
    CanvasChange,
    Core,
    Generation,
    Modality,
    Place,
    Request,
    Snapshot,
    Status,
    Task,
    Value,
    VoiceSettings,
    asked,
    how_it_ended,
    observer,
)
from omni_agent.errors import CoreClosed, InputError, OmniError, SnapshotMismatch
from omni_agent.values import GrowingSpeech, Image, Speech, SpeechChunk, Text, Tokens

__all__ = ["Line", "ScriptedCore", "Sure"]

V = TypeVar("V")


@dataclass(frozen=True)
class Sure:
    """A value of the script, and how sure the core is of it: its confidence, 0 to 1."""

    value: str | Value
    confidence: float


Given: TypeAlias = str | Value | Sure
Line: TypeAlias = Given | Exception | Callable[[Request], Given | Awaitable[Given]] | Sequence["Line"]
"""What the script has for a task.

A value, one with a confidence, an error to raise, a function of the request, or a list of these to be used up
one by one.
"""

TOKENIZER = "scripted"
KINDS: Mapping[Modality, type[Text | Image | Speech]] = {
    Modality.TEXT: Text,
    Modality.IMAGE: Image,
    Modality.SPEECH: Speech,
}


class ScriptedCore(Core):
    """A core that follows a script.

    Behaves as a real one does: it must be entered, its media holds only tokens until it is decoded, its
    requests take steps, are observed, can be cancelled and gone on with, and its speech grows with each step.
    Another one with the same script decodes the same media, where the script has it as a value.

    Args:
        script: what each task gives.
        num_steps: denoising steps of each request.
        pause: seconds that each of them takes.

    Attributes:
        requests: all requests, in the order they came.
        cancelled: those that were cancelled before they were done.
        resumed: those that went on from a snapshot.
    """

    def __init__(self, script: Mapping[Task, Line], *, num_steps: int = 4, pause: float = 0.0) -> None:
        self.requests: list[Request] = []
        self.cancelled: list[Request] = []
        self.resumed: list[Request] = []
        self._script = {
            Task(task): list(line) if isinstance(line, list | tuple) else line
            for task, line in script.items()
        }
        self._num_steps = num_steps
        self._pause = pause
        self._originals: dict[Tokens, Image | Speech] = {}
        self._running: set[asyncio.Task[Value]] = set()
        self._is_open = False
        self._ended: Counter[str] = Counter()
        self._steps = 0
        self._tokens: Counter[Modality] = Counter()
        for line in self._script.values():
            for each in line if isinstance(line, list) else [line]:
                if isinstance(each, Image | Speech):
                    self._as_tokens(each)

    def status(self) -> Status:
        """What was asked of it and how that ended. No time is measured: seconds and rates are 0."""
        self._check_open()
        return Status(
            queued=0,
            active=len(self._running),
            finished=self._ended["finished"],
            failed=self._ended["failed"],
            late=self._ended["late"],
            cancelled=len(self.cancelled),
            refused=0,
            finished_seconds=0.0,
            finished_within={},
            steps=self._steps,
            calls=self._steps,
            busy_seconds=0.0,
            tokens={modality: self._tokens[modality] for modality in Modality},
            batch_sizes={1: self._steps} if self._steps else {},
            steps_per_second=0.0,
            tokens_per_second=dict.fromkeys(Modality, 0.0),
        )

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def aclose(self) -> None:
        self._is_open = False
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def generate(self, request: Request, *, wait: bool = True) -> Generation:
        self._check_open()
        return asked(self, request, self._begin)

    def resume(
        self, snapshot: Snapshot, *, media: Iterable[Image | Speech] = (), wait: bool = True
    ) -> Generation:
        self._check_open()
        if snapshot.weights != TOKENIZER:
            raise SnapshotMismatch("the snapshot is not one of a scripted core: resume it where it was taken")
        by_hash = {each.content_hash: each for each in media}
        request = Request(
            task=snapshot.task,
            content=tuple(
                Text(each) if modality is Modality.TEXT else by_hash[each]
                for modality, each in snapshot.content
            ),
            blank=snapshot.blank,
            settings=snapshot.settings,
        )
        self.resumed.append(request)
        return self._begin(request, steps_done=len(snapshot.run))

    def _check_open(self) -> None:
        if not self._is_open:
            raise CoreClosed("this core is closed: use it inside `async with ScriptedCore(...) as core:`")

    def _begin(self, request: Request, steps_done: int = 0) -> Generation:
        self.requests.append(request)
        generation = _Scripted(len(self.requests), request, self._num_steps, self._pause, self, steps_done)
        task = generation.task
        self._running.add(task)

        def done(task: asyncio.Task[Value]) -> None:
            self._running.discard(task)
            if task.cancelled():
                self.cancelled.append(request)
            else:
                self._ended[how_it_ended(task.exception())] += 1

        task.add_done_callback(done)
        return generation

    def _stepped(self, blank: Modality, places: int) -> None:
        self._steps += 1
        self._tokens[blank] += places

    async def decoded(self, value: V) -> V:
        return self._original(value)

    def _original(self, value: V) -> V:
        if not isinstance(value, Image | Speech) or value.is_decoded:
            return value
        original = self._originals.get(value.tokens) if value.tokens is not None else None
        if original is None:
            raise InputError(f"{value!r} does not come from this core, and it cannot decode it")
        return cast(V, original)

    async def _next(self, request: Request) -> Sure:
        """What the script has for a request, as a core gives it: media as tokens."""
        line = self._script.get(request.task)
        if isinstance(line, list):
            if not line:
                raise OmniError(
                    f"the script has nothing left for {request.task}: this request is one too many"
                )
            line = line.pop(0)
        if line is None:
            raise OmniError(f"the script has nothing for {request.task}: add it to ScriptedCore({{...}})")
        if isinstance(line, Exception):
            raise line
        given: Any = line(request) if callable(line) else line
        if inspect.isawaitable(given):
            given = await given
        sure = given if isinstance(given, Sure) else Sure(given, 1.0)
        value = Text(sure.value) if isinstance(sure.value, str) else sure.value
        kind = KINDS[request.blank]
        if not isinstance(value, kind):
            raise OmniError(
                f"the script has {type(value).__name__} for {request.task}; wanted {kind.__name__}"
            )
        return Sure(self._as_tokens(value), sure.confidence)

    def _as_tokens(self, value: Value) -> Value:
        if isinstance(value, Text) or not value.is_decoded:
            return value
        # of the content, so that they are never taken for another process's
        ids = tuple(bytes.fromhex(value.content_hash)[:8])
        tokens = value.tokens or Tokens(ids=ids, tokenizer=TOKENIZER)
        if isinstance(value, Image):
            self._originals[tokens] = Image(value.array, tokens=tokens)
            return Image.from_tokens(tokens)
        self._originals[tokens] = Speech(value.samples, value.rate, tokens=tokens)
        return Speech.from_tokens(tokens)


class _Scripted(Generation):
    """One request of a scripted core."""

    def __init__(
        self,
        number: int,
        request: Request,
        num_steps: int,
        pause: float,
        core: ScriptedCore,
        steps_done: int,
    ) -> None:
        self._number = number
        self._request = request
        self._num_steps = num_steps
        self._pause = pause
        self.core = core
        self._value: Value | None = None
        self._confidence = 1.0
        self._steps_done = steps_done
        self._speech = _ScriptedSpeech(self)  # in whatever voice
        self._observe = observer.get()
        self._newest: CanvasChange | None = None
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._follow())
        self.task.add_done_callback(self._done)

    def __await__(self) -> Generator[Any, None, Value]:
        return asyncio.shield(self.task).__await__()

    async def __aiter__(self) -> AsyncIterator[CanvasChange]:
        shown: CanvasChange | None = None
        while True:
            if self._newest is not None and self._newest is not shown:
                shown = self._newest
                yield shown
            elif self.task.done():
                return
            else:
                self._news.clear()
                await self._news.wait()

    def speech(self, *, voice: VoiceSettings | None = None) -> GrowingSpeech:
        if self._request.blank is not Modality.SPEECH:
            raise InputError(
                f"{self._request.task} fills a blank of {self._request.blank}, which has no sound"
            )
        return self._speech

    def cancel(self) -> None:
        self.task.cancel()

    def snapshot(self) -> Snapshot:
        modalities = {kind: modality for modality, kind in KINDS.items()}
        return Snapshot(
            weights=TOKENIZER,
            device="cpu",
            dtype="float32",
            task=self._request.task,
            blank=self._request.blank,
            settings=self._request.settings,
            content=tuple(
                (modalities[type(each)], str(each) if isinstance(each, Text) else each.content_hash)
                for each in self._request.content
            ),
            run=(1,) * self._steps_done,
        )

    @property
    def confidence(self) -> float | None:
        is_done = self.task.done() and not self.task.cancelled() and not self.task.exception()
        return self._confidence if is_done else None

    def spoken(self) -> tuple[SpeechChunk, ...]:
        """What the steps until now said of a speech."""
        if not isinstance(self._value, Speech):
            return ()
        whole, steps = self.core._original(self._value), self._num_steps
        ends = [len(whole.samples) * step // steps for step in range(self._steps_done + 1)]
        return tuple(
            SpeechChunk(
                speech=Speech(whole.samples[start:end], whole.rate),
                start=start,
                last=end == len(whole.samples),
            )
            for start, end in pairwise(ends)
            if end > start
        )

    async def _follow(self) -> Value:
        sure = await self.core._next(self._request)
        self._confidence = sure.confidence
        self._value = value = cast(Value, sure.value)
        for step in range(self._steps_done + 1, self._num_steps + 1):
            await asyncio.sleep(self._pause)
            self._tell(step, value)
        return value

    def _tell(self, step: int, value: Value) -> None:
        self._steps_done = step
        length = max(len(value), 1) if isinstance(value, Text) else 16
        committed = length * step // self._num_steps
        self.core._stepped(self._request.blank, committed - length * (step - 1) // self._num_steps)
        shown = value[:committed] if isinstance(value, Text) else "█" * committed
        self._newest = CanvasChange(
            request=self._number,
            task=self._request.task,
            step=step,
            num_steps=self._num_steps,
            committed=committed,
            length=length,
            preview=shown + "░" * (length - committed),
            places=tuple(self._place(index, length) for index in range(length)),
        )
        self._news.set()
        if self._observe is not None:
            self._observe(self._newest)

    def _place(self, index: int, length: int) -> Place:
        """A position of the blank: filled from the left, evenly; a script has no tokens and no guesses."""
        step = -(-(index + 1) * self._num_steps // length)
        if step > self._steps_done:
            return Place(token=None, step=None, confidence=None)
        return Place(token=None, step=step, confidence=1.0)

    def _done(self, task: asyncio.Task[Value]) -> None:
        self._news.set()
        if not task.cancelled():
            task.exception()  # one that nobody awaits is no news for the log


class _ScriptedSpeech(GrowingSpeech):
    """The sound of a scripted request: each step gives its share of the samples."""

    def __init__(self, generation: _Scripted) -> None:
        self._generation = generation

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        seen = 0
        async for _ in self._generation:
            for chunk in self.chunks[seen:]:
                seen += 1
                yield chunk
        await self._generation

    def __await__(self) -> Generator[Any, None, Speech]:
        return self._whole().__await__()

    @property
    def chunks(self) -> tuple[SpeechChunk, ...]:
        return self._generation.spoken()

    async def _whole(self) -> Speech:
        speech = await self._generation
        assert isinstance(speech, Speech)
        return await self._generation.core.decoded(speech)

"""What a core can do: the protocol between graphs and the models that serve them.

Both sides know this file and not each other. `Core` is the face of a resident model; `Core.load` and
`Core.connect` import what implements it only when called. Nothing here computes.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar, get_args

from omni_agent.errors import InputError, NotAvailable, OmniError
from omni_agent.values import Conversation, Image, Reply, Speech, Text

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "CanvasChange",
    "Core",
    "DType",
    "Generation",
    "Modality",
    "Padding",
    "Request",
    "Settings",
    "Task",
    "Value",
    "Yield",
    "observer",
]

Value: TypeAlias = Text | Image | Speech
Yield: TypeAlias = Value | Reply
"""What a request yields."""

V = TypeVar("V")
T = TypeVar("T", Text, Image, Speech, Reply)

Algorithm: TypeAlias = Literal["origin", "maskgit_plus", "topk_margin", "entropy", "entropy-penalty"]
"""The unmasking rules of the published code, by its names: what makes a place sure enough to commit."""

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

DType: TypeAlias = Literal["float32", "bfloat16", "float16"]
Padding: TypeAlias = Literal["masked", "attended"]


def _check_integer(name: str, value: object, *, least: int) -> None:
    if type(value) is not int or not least <= value < 2**63:
        raise InputError(f"{name} was {value!r}; wanted an integer of {least} or more, below 2**63")


def _check_number(name: str, value: object, *, least: float = 0, most: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{name} was {value!r}; wanted a number")
    if not least <= value <= most:
        raise InputError(f"{name} was {value!r}; wanted a number from {least:g} to {most:g}")


def _value(given: object, task: Task) -> Value:
    if isinstance(given, Text | Image | Speech):
        return given
    if isinstance(given, str):
        return Text(given)
    raise InputError(f"a request to {task} holds {type(given).__name__}; wanted Text, Image or Speech")


class Modality(StrEnum):
    """What a blank is to hold, or what is given."""

    TEXT = "text"
    SPEECH = "speech"
    IMAGE = "image"


class Task(StrEnum):
    """What a request asks for; chooses the prompt and the checkpoint's default settings."""

    TRANSCRIBE = "transcribe"
    SPEAK = "speak"
    ANSWER = "answer"
    DESCRIBE = "describe"
    DRAW = "draw"
    REPLY = "reply"
    """An answer in words and, on the same canvas, the same spoken: a `Reply`; its blank is one of speech."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a blank is filled. None leaves a choice to the checkpoint's default for the task.

    Args:
        num_steps: denoising steps, 1 or more.
        temperature: noise in the choice of tokens, 0 (none) or more.
        top_p: tokens outside this much of the probability are never chosen, above 0 to 1.
        top_k: nor are tokens outside this many of the likeliest, 1 or more.
        guidance_scale: how much the prompt is stressed against no prompt, 0 or more (0 is no guidance).
        seed: of the noise, 0 or more.
        length: of the blank in tokens, 1 or more; None chooses it from the input.
        block_length: places that are denoised before the next ones, from the left, 1 or more; None takes the
            whole blank. Speech is heard sooner in blocks, and may come out worse.
        algorithm: a published unmasking rule; with one, the logits are read as published, every column of the
            vocabulary at every masked place. The settings below belong to this reading.
        repeat_penalty: weakens what stands in the blank already, 0.1 to 10 (1 changes nothing);
            `entropy-penalty` only.
        max_position_penalty: weakens masked places behind the hundredth, the last most, 0.1 to 10.

    Raises:
        InputError: a setting outside its range.
    """

    num_steps: int | None = None
    temperature: float | None = None
    top_p: float = 0.9
    top_k: int = 50
    guidance_scale: float | None = None
    seed: int = 0
    length: int | None = None
    block_length: int | None = None
    algorithm: Algorithm | None = None
    repeat_penalty: float | None = None
    max_position_penalty: float | None = None

    def __post_init__(self) -> None:
        if self.num_steps is not None:
            _check_integer("num_steps", self.num_steps, least=1)
        if self.temperature is not None:
            _check_number("temperature", self.temperature, most=100)
            if 0 < self.temperature < 0.001:
                raise InputError(f"temperature was {self.temperature}; wanted 0, or 0.001 to 100")
        _check_number("top_p", self.top_p, most=1)
        if self.top_p == 0:
            raise InputError("top_p was 0; wanted a number above 0 and up to 1")
        _check_integer("top_k", self.top_k, least=1)
        if self.guidance_scale is not None:
            _check_number("guidance_scale", self.guidance_scale, most=100)
        _check_integer("seed", self.seed, least=0)
        if self.length is not None:
            _check_integer("length", self.length, least=1)
        if self.algorithm is not None and self.algorithm not in ALGORITHMS:
            raise InputError(f"algorithm was {self.algorithm!r}; wanted one of {', '.join(ALGORITHMS)}")
        if self.block_length is not None:
            _check_integer("block_length", self.block_length, least=1)
        for name in ("repeat_penalty", "max_position_penalty"):
            if (penalty := getattr(self, name)) is not None:
                _check_number(name, penalty, least=0.1, most=10)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One blank to fill: the values it depends on, what it is to hold, and how.

    Args:
        task: what is asked for.
        content: the values, pictures first (the model wants them in front). A plain `str` is wrapped.
        blank: what the blank holds.
        history: what was said before.
        settings: how the blank is filled.

    Raises:
        InputError: no content, or content that is not Text, Image or Speech.
    """

    task: Task
    content: tuple[Value, ...]
    blank: Modality
    history: Conversation | None = None
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        if not self.content:
            raise InputError(f"a request to {self.task} has no content; wanted Text, Image or Speech")
        if not isinstance(self.settings, Settings):
            raise InputError(f"the settings were {type(self.settings).__name__}; wanted Settings(...)")
        object.__setattr__(self, "content", tuple(_value(each, self.task) for each in self.content))


@dataclass(frozen=True, kw_only=True)
class CanvasChange:
    """A canvas after one denoising step."""

    request: int
    """Numbers the core's requests."""
    task: Task
    step: int
    """Denoising steps done so far."""
    num_steps: int
    committed: int
    """Positions of the blank that have their token."""
    length: int
    """Positions of the blank."""
    preview: str
    """The text so far, masked places as "░"; for media a row of "█" and "░"."""


observer: ContextVar[Callable[[CanvasChange], None] | None] = ContextVar("omni_agent.observer", default=None)
"""Told of every change of the canvases that are requested in this context; a graph sets it around each step.

`Core.generate` reads it once, when called. Changes are delivered on the event loop of the caller.
"""


class Generation(ABC):
    """One request under way: await it for the value, iterate it for its changes.

    Leaving its ``async with`` cancels it.

    Awaiting again gives the same value or error again. A failed request raises its error when awaited; a
    cancelled one raises `asyncio.CancelledError`.
    """

    @abstractmethod
    def __await__(self) -> Generator[Any, None, Yield]:
        """Wait for the value that fills the blank; a `Reply` where that was asked for."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[CanvasChange]:
        """The changes from now on, until the request ends; never raises.

        A slow reader sees fewer of them, but always the last.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stop the request before its next model call. Does nothing once it is done."""

    @property
    @abstractmethod
    def confidence(self) -> float | None:
        """The lowest confidence among the committed tokens, 0 to 1; None until the request is done."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class Core(ABC):
    """A resident model that fills blanks with text, speech or pictures.

    Use it inside ``async with``: entering loads what is needed, leaving frees it. Every verb accepts
    `settings`. In plain code a verb returns decoded media; inside a graph's step media stays tokens until the
    run ends or `decoded` is called, so that a picture drawn by one step and read by the next never becomes
    pixels.
    """

    @abstractmethod
    def generate(self, request: Request, *, wait: bool = True) -> Generation:
        """Start filling a blank.

        Args:
            request: what to fill, from what, and how.
            wait: wait for room where the core's queue is full.

        Raises:
            CoreClosed: the core is not inside its ``async with``.
            Overloaded: the queue is full and `wait` is false.
            InputError: the core cannot fill this request.
        """

    @abstractmethod
    async def decoded(self, value: V) -> V:
        """The same value with pixels or samples; itself where it has them or is no media."""

    @abstractmethod
    async def aclose(self) -> None:
        """Cancel all requests, wait until they stopped, and free the model. May be called again."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Load the model, off the event loop."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a folder that `load` reads, in the layout that it was read from.

        How it was loaded (device, padding) is not written; the type of its weights is.

        Raises:
            CoreClosed: the core is not inside its ``async with``.
            CheckpointError: it cannot be written there, or a weight is no number that its file's type holds.
            NotAvailable: this core has no model in this process.
        """
        raise NotAvailable(f"{type(self).__name__} has no model to write: save the one of Core.load()")

    @staticmethod
    def load(
        name_or_path: str | os.PathLike[str] = "omni-tiny",
        *,
        device: str = "cpu",
        dtype: DType | None = None,
        padding: Padding | None = None,
    ) -> Core:
        """A core in this process. Nothing is read, nor fetched, before it is entered.

        Args:
            name_or_path: the name of a checkpoint that comes with the package, the path of one, or the id of
                one on the Hugging Face hub, such as ``"lijiang/Omni-Diffusion"``, which is fetched, or taken
                from the hub's cache where there is no network.
            device: where the weights go, as torch names it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
            dtype: of the core's weights; None takes float32 for what comes with the package, and what the
                checkpoint is stored in for others.
            padding: how rows of unequal length share a model call, ``"masked"`` or, as the published code
                does it, ``"attended"``; None leaves it to the checkpoint. See docs/decisions/0007.

        Raises:
            CheckpointError: there is no such checkpoint.
            InputError: no such device or dtype.
        """
        # only those who load a model import torch, and this file knows no model
        implementation = import_module("omni_agent.core_model.local_core")
        core: Core = implementation.LocalCore.load(name_or_path, device=device, dtype=dtype, padding=padding)
        return core

    @staticmethod
    def connect(url: str) -> Core:
        """A core in another process or on another machine.

        Raises:
            NotAvailable: always, in this version.
        """
        raise NotAvailable(
            f"{url!r} cannot be connected to: this version has no remote cores; use Core.load() instead"
        )

    async def transcribe(self, speech: Speech, *, settings: Settings | None = None) -> Text:
        """The words spoken in `speech`."""
        return await self._fill(Text, Task.TRANSCRIBE, Modality.TEXT, (speech,), settings=settings)

    async def speak(self, text: Text | str, *, settings: Settings | None = None) -> Speech:
        """`text`, read aloud."""
        return await self._fill(Speech, Task.SPEAK, Modality.SPEECH, (text,), settings=settings)

    async def answer(
        self,
        question: Text | str | Speech,
        picture: Image | None = None,
        *,
        history: Conversation | None = None,
        settings: Settings | None = None,
    ) -> Text:
        """The answer to a written or spoken question, about a picture if there is one."""
        content = (question,) if picture is None else (picture, question)
        return await self._fill(Text, Task.ANSWER, Modality.TEXT, content, history=history, settings=settings)

    async def describe(self, picture: Image, *, settings: Settings | None = None) -> Text:
        """What is to be seen in `picture`."""
        return await self._fill(Text, Task.DESCRIBE, Modality.TEXT, (picture,), settings=settings)

    async def draw(self, prompt: Text | str | Speech, *, settings: Settings | None = None) -> Image:
        """A picture of what the written or spoken `prompt` asks for."""
        return await self._fill(Image, Task.DRAW, Modality.IMAGE, (prompt,), settings=settings)

    async def reply(
        self,
        question: Text | str | Speech,
        picture: Image | None = None,
        *,
        history: Conversation | None = None,
        settings: Settings | None = None,
    ) -> Reply:
        """The answer to a question, written, and then the same spoken."""
        text = await self.answer(question, picture, history=history, settings=settings)
        return Reply(text=text, speech=await self.speak(text, settings=settings))

    async def _fill(
        self,
        kind: type[T],
        task: Task,
        blank: Modality,
        content: tuple[Value | str, ...],
        *,
        history: Conversation | None = None,
        settings: Settings | None = None,
    ) -> T:
        request = Request(
            task=task,
            content=tuple(_value(each, task) for each in content),
            blank=blank,
            history=history,
            settings=settings or Settings(),
        )
        async with self.generate(request) as generation:
            value = await generation
        if not isinstance(value, kind):
            raise OmniError(f"the core filled a blank of {blank} with {type(value).__name__}")
        return value if observer.get() is not None else await self.decoded(value)

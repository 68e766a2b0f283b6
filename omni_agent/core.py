"""What a core can do: the protocol between graphs and the models that serve them.

Both sides know this file and not each other. `Core` is the face of a resident model; `Core.load` and
`Core.connect` import what implements it only when called. Nothing here computes.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from omni_agent.errors import DeadlineExceeded, InputError, NotAvailable, OmniError
from omni_agent.values import Conversation, GrowingSpeech, Image, Reply, Speech, Text

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Begin",
    "CanvasChange",
    "Core",
    "DType",
    "Generation",
    "Modality",
    "Mode",
    "Padding",
    "Place",
    "Request",
    "Schedule",
    "Settings",
    "Snapshot",
    "Status",
    "Task",
    "Value",
    "VoiceSettings",
    "Yield",
    "asked",
    "caller",
    "check_voice",
    "how_it_ended",
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
Mode: TypeAlias = Literal["exact", "fast"]
Padding: TypeAlias = Literal["masked", "attended"]


def _check_integer(name: str, value: object, *, least: int) -> None:
    if type(value) is not int or not least <= value < 2**63:
        raise InputError(f"{name} was {value!r}; wanted an integer of {least} or more, below 2**63")


def _check_number(name: str, value: object, *, least: float = 0, most: float, above: bool = False) -> None:
    """A number from `least`, or `above` it, to `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        raise InputError(f"{name} was {value!r}; wanted a number")
    if not least <= value <= most or (above and value == least):
        span = f"above {least:g}, {most:g} at most" if above else f"from {least:g} to {most:g}"
        raise InputError(f"{name} was {value!r}; wanted a number {span}")


def _of_enum(request: Request, field: str, kind: type[StrEnum]) -> None:
    """Make a name what it names."""
    value = getattr(request, field)
    if value not in list(kind):
        raise InputError(f"the {field} was {value!r}; wanted one of {', '.join(kind)}")
    object.__setattr__(request, field, kind(value))


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

    In mode ``"exact"`` nothing is left out that could change a token, in mode ``"fast"`` what the
    checkpoint's author found to be worth its price. Its parts are settings of their own, in either mode:
    `num_steps`, `prompt_cache`, `threshold`, `early_end` and `guidance_until`.

    Args:
        num_steps: denoising steps, 1 or more.
        temperature: noise in the choice of tokens, 0 (none) or more.
        top_p: tokens outside this much of the probability are never chosen, above 0 to 1.
        top_k: nor are tokens outside this many of the likeliest, 1 or more.
        guidance_scale: how much the prompt is stressed against no prompt, 0 or more (0 is no guidance).
        seed: of the noise, 0 or more.
        length: of the blank in tokens, 1 or more; None chooses it from the input.
        block_length: places that are denoised before the next ones, from the left, 1 or more; None takes the
            whole blank. Speech is heard sooner in blocks; no place sees what will stand behind its block.
        algorithm: a published unmasking rule; with one, the logits are read as published, every column of the
            vocabulary at every masked place. The settings below belong to this reading.
        repeat_penalty: weakens what stands in the blank already, 0.1 to 10 (1 changes nothing);
            `entropy-penalty` only.
        max_position_penalty: weakens masked places behind the hundredth, the last most, 0.1 to 10.
        mode: what None means below, and for `num_steps`: nothing in ``"exact"``, the checkpoint's choice in
            ``"fast"``.
        prompt_cache: what the prompt and finished blocks contribute is computed once a block, not once a
            step.
        threshold: all places at least this sure commit at once, above 0 to 1; fewer never than the schedule
            has.
        early_end: a request ends when only padding is left.
        guidance_until: steps have guidance until this share of the places is decided, 0 to 1.
        schedule: how many places each step commits, each 1 or more; instead of `num_steps`. What
            `Generation.schedule.run` says, given here, gives the same tokens; refused for the algorithm
            `origin`, whose steps commit by chance.
        deadline: seconds from asking to the decoded value, above 0: there will be fewer and larger steps
            rather than a late answer, and `DeadlineExceeded` where not even one step is in time. What takes
            longer than it took before can still be late, and is then given all the same.
        priority: those of higher priority go first, -100 to 100; those of lower wait, but not for ever. Among
            those with a deadline the earliest goes first, whatever their priority.

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
    mode: Mode = "exact"
    prompt_cache: bool | None = None
    threshold: float | None = None
    early_end: bool | None = None
    guidance_until: float | None = None
    schedule: tuple[int, ...] | None = None
    deadline: float | None = None
    priority: int = 0

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
        self._check_speed()

    def _check_speed(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(f"mode was {self.mode!r}; wanted one of {', '.join(get_args(Mode))}")
        for name in ("prompt_cache", "early_end"):
            if not isinstance(given := getattr(self, name), bool | None):
                raise InputError(f"{name} was {given!r}; wanted True, False or None")
        if self.guidance_until is not None:
            _check_number("guidance_until", self.guidance_until, most=1)
        if self.threshold is not None:
            _check_number("threshold", self.threshold, most=1, above=True)
        if self.deadline is not None:
            _check_number("deadline", self.deadline, most=86_400, above=True)
        if type(self.priority) is not int or not -100 <= self.priority <= 100:
            raise InputError(f"priority was {self.priority!r}; wanted an integer from -100 to 100")
        if self.schedule is None:
            return
        schedule: object = self.schedule
        if not isinstance(schedule, tuple) or not schedule:
            raise InputError(
                f"schedule was {schedule!r}; wanted a tuple of integers, one for each step, such as the"
                " `schedule.run` of a generation"
            )
        for count in self.schedule:
            _check_integer("a step of the schedule", count, least=1)
        if self.num_steps is not None:
            raise InputError(
                "num_steps and schedule were both given; the schedule has its steps: leave one out"
            )


def _check_settings(given: object) -> None:
    if not isinstance(given, Settings):
        raise InputError(f"the settings were {type(given).__name__}; wanted Settings(...)")


@dataclass(frozen=True, kw_only=True)
class VoiceSettings:
    """How sound is made of speech tokens. None leaves a choice to the core's voice.

    They belong to whoever makes the sound, not to the request: tokens stay the same, however they are spoken.

    Args:
        num_steps: steps of the flow decoder from noise to a spectrogram, 1 or more.
        guidance_scale: how much it stresses the tokens against none, 0 or more (0 is no guidance).
        speaker: the vector of a voice, as many numbers as the core's decoder has (published: 192).

    Raises:
        InputError: a setting outside its range.
    """

    num_steps: int | None = None
    guidance_scale: float | None = None
    speaker: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.num_steps is not None:
            _check_integer("num_steps", self.num_steps, least=1)
        if self.guidance_scale is not None:
            _check_number("guidance_scale", self.guidance_scale, most=100)
        speaker: object = self.speaker
        if self.speaker is not None:
            if not isinstance(speaker, tuple) or not speaker:
                raise InputError(
                    f"the speaker was {type(self.speaker).__name__}; wanted a tuple of numbers:"
                    " convert an array with `tuple(vector.tolist())`"
                )
            for number in self.speaker:
                _check_number("a number of the speaker", number, least=-1e6, most=1e6)

    def over(self, voice: VoiceSettings) -> VoiceSettings:
        """These, and those of `voice` where these leave a choice."""
        own = {name: value for name, value in vars(self).items() if value is not None}
        return replace(voice, **own)


def check_voice(voice: object) -> None:
    """Raises InputError where that is neither settings of a voice nor None."""
    if not isinstance(voice, VoiceSettings | None):
        raise InputError(f"the voice was {type(voice).__name__}; wanted VoiceSettings(...)")


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
        InputError: no content, or content that is not Text, Image or Speech; a task, blank, history or
            settings that are none.
    """

    task: Task
    content: tuple[Value, ...]
    blank: Modality
    history: Conversation | None = None
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        _of_enum(self, "task", Task)
        _of_enum(self, "blank", Modality)
        content: object = self.content
        if isinstance(content, str) or not isinstance(content, Iterable):
            raise InputError(
                f"the content was {type(content).__name__}; wanted a tuple of values: content=(value,)"
            )
        if not isinstance(self.history, Conversation | None):
            raise InputError(f"the history was {type(self.history).__name__}; wanted Conversation(...)")
        if not self.content:
            raise InputError(f"a request to {self.task} has no content; wanted Text, Image or Speech")
        _check_settings(self.settings)
        object.__setattr__(self, "content", tuple(_value(each, self.task) for each in self.content))


@dataclass(frozen=True, kw_only=True)
class Place:
    """One position of a blank, after some denoising step."""

    token: int | None
    """The id it has in the core's vocabulary or, while it is masked, would have; None where nobody looked."""
    step: int | None
    """The denoising step that committed it, from 1; 0 where it was given; None while it is masked."""
    confidence: float | None
    """The probability of the token when it was last looked at, 0 to 1; None where nobody looked."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How many places each denoising step commits: at least, where a threshold lets more go."""

    asked: tuple[int, ...]
    """As the settings wanted it."""
    run: tuple[int, ...]
    """The steps so far, as they were: others than asked where a deadline made them fewer."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A request between two model calls, as plain data: what is decided, and what it takes to go on.

    `Core.resume` goes on from it, in another process too, and ends in the same tokens on the same machine
    with the same weights. One with a deadline plans its further steps anew, as the time left allows: it ends
    in the tokens of the schedule that it says was run. It holds texts, token ids and numbers, and media by
    their hashes only.

    Attributes:
        version: of this form.
        weights: fingerprint of the core's weights and configuration.
        device: where they are, and
        dtype: of which type.
        task: what was asked for.
        blank: what the blank holds.
        settings: how it is filled.
        content: what it depends on: modality and text, or modality and content hash.
        prompt: ids before the blank; empty where the request was not begun.
        prefix: how many of them look only at each other.
        heard: where in the prompt each sound begins.
        filled: the blank's ids, with the mask token where nothing is decided.
        tokens: for each place what it has or would have,
        confidences: how sure that is, -1 where nobody looked,
        committed: and the step that decided, -1 while it is masked.
        steps: the schedule: for each step the first place of its block and the one behind its last, the share
            of its masked places that commits, whether it is the block's last, and how many places commit
            where that is fixed, else -1.
        asked: the schedule as it was asked for.
        run: the steps so far, in places.
        seconds_left: until the deadline. `dataclasses.replace(snapshot, seconds_left=...)` gives it more
            time, its settings' deadline does not.
    """

    weights: str
    device: str
    dtype: str
    task: Task
    blank: Modality
    settings: Settings
    content: tuple[tuple[Modality, str], ...]
    prompt: tuple[int, ...] = ()
    prefix: int = 0
    heard: tuple[int, ...] = ()
    filled: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()
    committed: tuple[int, ...] = ()
    steps: tuple[tuple[int, int, float, int, int], ...] = ()
    asked: tuple[int, ...] = ()
    run: tuple[int, ...] = ()
    seconds_left: float | None = None
    version: Literal[1] = 1

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return _snapshots().dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Snapshot:
        """What `to_json` wrote.

        Raises:
            InputError: it is no snapshot, or one of another version.
        """
        try:
            return _snapshots().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the text"
            raise InputError(f"this is no snapshot of this version: {where}: {first['msg']}") from error


@cache
def _snapshots() -> TypeAdapter[Snapshot]:
    return TypeAdapter(Snapshot)


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
    places: tuple[Place, ...] = ()
    """Every position of the blank, in order: what is committed, since when and how sure, and the guesses."""


def how_it_ended(error: BaseException | None) -> Literal["finished", "failed", "late"]:
    """What `Status` counts a request as that was not cancelled, by its error."""
    if error is None:
        return "finished"
    return "late" if isinstance(error, DeadlineExceeded) else "failed"


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a core is doing, and what it has done since it was entered."""

    queued: int
    """Requests that wait for their first turn, in the queue or behind it; who has a deadline is under way at
    once."""
    active: int
    """Requests under way."""
    finished: int
    failed: int
    """But for those that are"""
    late: int
    """by `DeadlineExceeded`."""
    cancelled: int
    refused: int
    """By `Overloaded`: they were never queued."""
    finished_seconds: float
    """What those who finished took together, each from when it was asked for until its blank was filled: to
    make pixels or sound of that comes after."""
    finished_within: Mapping[float, int]
    """How many of them took so many seconds at most."""
    steps: int
    """Denoising steps of all requests."""
    calls: int
    """Model calls that made them."""
    busy_seconds: float
    """What those took."""
    tokens: Mapping[Modality, int]
    """Places decided, by what their blank holds."""
    batch_sizes: Mapping[int, int]
    """How many calls were for so many requests."""
    steps_per_second: float
    """Over the last ten seconds, as are"""
    tokens_per_second: Mapping[Modality, float]
    """places decided."""


observer: ContextVar[Callable[[CanvasChange], None] | None] = ContextVar("omni_agent.observer", default=None)
"""Told of every change of the canvases that are requested in this context; a graph sets it around each step.

`Core.generate` reads it once, when called. Changes are delivered on the event loop of the caller.
"""

Begin: TypeAlias = "Callable[[Request], Generation]"
"""Begins a request at a core."""

caller: ContextVar[Callable[[Core, Request, Begin], Generation] | None] = ContextVar(
    "omni_agent.caller", default=None
)
"""Stands between who asks in this context and the core: a request goes through it, and the
generation comes from it.

A graph sets it around each step, to know what the step asked for. It may change the request (its seed), or
answer without beginning it.
"""


def asked(core: Core, request: Request, begin: Begin) -> Generation:
    """Begin a request at a core, through the `caller` of this context if there is one.

    Every core's `generate` ends in this, after it has checked the request.
    """
    through = caller.get()
    return begin(request) if through is None else through(core, request, begin)


class Generation(ABC):
    """One request under way: await it for the value, iterate it for its changes, and hear its `speech`.

    Leaving its ``async with`` cancels it, with whatever sound of it is still being made.

    Awaiting again gives the same value or error again. A failed request raises its error when awaited; a
    cancelled one raises `asyncio.CancelledError`. A task that is cancelled while it awaits cancels the
    request, also for others who await it.
    """

    @abstractmethod
    def __await__(self) -> Generator[Any, None, Yield]:
        """Wait for the value that fills the blank; a `Reply` where that was asked for."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[CanvasChange]:
        """The present state, then the changes until the request ends; of one that is over its last one. Never
        raises.

        A slow reader sees fewer of them, but always the last.
        """

    def speech(self, *, voice: VoiceSettings | None = None) -> GrowingSpeech:
        """The speech that fills the blank as sound, made while its tokens are still being decided.

        Sound begins once the tokens at the blank's left end are decided, and goes as far as they do:
        `Settings(block_length=...)` has them decided from the left. Nothing is made before the first call;
        calling again gives the same. The value itself stays what awaiting this gives.

        Args:
            voice: how the sound is made; None is the core's own voice.

        Raises:
            InputError: the blank is not one of speech, or the core has no such voice.
            NotAvailable: this core makes no sound, or only of whole values.
            CoreClosed: the core was left.
        """
        raise NotAvailable(
            f"{type(self).__name__} makes no sound while it goes on: await it, then `await core.decoded(...)`"
        )

    @abstractmethod
    def cancel(self) -> None:
        """Stop the request before its next model call, and its `speech`. Does nothing once both are done."""

    @property
    @abstractmethod
    def confidence(self) -> float | None:
        """The lowest confidence among the committed tokens, 0 to 1; None until the request is done."""

    @property
    def schedule(self) -> Schedule | None:
        """The denoising steps, as asked and as run so far; None before the first, and of a core without."""
        return None

    def snapshot(self) -> Snapshot:
        """Where the request stands, to go on from with `Core.resume`; it itself goes on.

        In mode ``"fast"`` with a prompt cache that is the last state at which the cache was made anew.

        Raises:
            NotAvailable: this core takes no snapshots.
        """
        raise NotAvailable(f"{type(self).__name__} takes no snapshots")

    async def preview(self) -> Image | None:
        """The picture as it stands, with the model's guesses where nothing is decided yet; None before the
        first step.

        Raises:
            InputError: the blank holds no picture.
            NotAvailable: this core has no previews.
            CoreClosed: the core was left.
        """
        raise NotAvailable(f"{type(self).__name__} has no previews")

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

    def resume(
        self, snapshot: Snapshot, *, media: Iterable[Image | Speech] = (), wait: bool = True
    ) -> Generation:
        """Go on with a request where a snapshot of it was taken.

        Args:
            snapshot: of a core with the same weights, on the same kind of device.
            media: values the snapshot names by their hashes: of a request under way the sounds it hears, of
                one that was not begun all its pictures and sounds. Others are not looked at.
            wait: wait for room where the core's queue is full.

        Raises:
            CoreClosed: the core is not inside its ``async with``.
            Overloaded: the queue is full and `wait` is false.
            SnapshotMismatch: it was taken on another core, or another kind of device.
            InputError: media is missing.
            NotAvailable: this core takes no snapshots.
        """
        raise NotAvailable(f"{type(self).__name__} takes no snapshots")

    def status(self) -> Status:
        """What the core is doing, and what it has done.

        Raises:
            CoreClosed: the core is not inside its ``async with``.
            NotAvailable: this core does not count.
        """
        raise NotAvailable(f"{type(self).__name__} does not count what it does")

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
        voice: VoiceSettings | None = None,
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
            voice: how the core makes sound of speech tokens; None leaves it to the checkpoint. A core that
                has no such voice says so when it is entered.

        Raises:
            CheckpointError: there is no such checkpoint.
            InputError: no such device or dtype.
        """
        # only those who load a model import torch, and this file knows no model
        implementation = import_module("omni_agent.core_model.local_core")
        core: Core = implementation.LocalCore.load(
            name_or_path, device=device, dtype=dtype, padding=padding, voice=voice
        )
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
        """The answer to a question, written, and then the same spoken.

        A deadline is for both: a quarter of the time is for the words at most, and what is left then for the
        sound.

        Raises:
            InputError: settings of one blank, as here are two: `length` or `schedule`.
        """
        asked = first = then = Settings() if settings is None else settings
        _check_settings(asked)
        for name in ("length", "schedule"):
            if getattr(asked, name) is not None:
                raise InputError(
                    f"reply was given {name}={getattr(asked, name)}, which is of one blank, and here are two,"
                    " of text and of speech: leave it out, or call answer and speak"
                )
        begun = time.monotonic()
        if asked.deadline is not None:
            first = replace(asked, deadline=asked.deadline / 4)
        text = await self.answer(question, picture, history=history, settings=first)
        if asked.deadline is not None:
            left = asked.deadline - (time.monotonic() - begun)
            if left <= 0:
                raise DeadlineExceeded(
                    f"the words of a reply due after {asked.deadline:g} s took {asked.deadline - left:.3f} s:"
                    " give it more time, or ask when less goes on"
                )
            then = replace(asked, deadline=left)
        return Reply(text=text, speech=await self.speak(text, settings=then))

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
            settings=Settings() if settings is None else settings,
        )
        async with self.generate(request) as generation:
            value = await generation
        if not isinstance(value, kind):
            raise OmniError(f"the core filled a blank of {blank} with {type(value).__name__}")
        return value if observer.get() is not None else await self.decoded(value)

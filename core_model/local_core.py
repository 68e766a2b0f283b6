"""A core in this process: the verbs on an engine, with the event loop kept free.

Loading, denoising and decoding happen in threads. A `LocalCore` may be used from several event loops at once,
as its engine knows none of them.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from typing import Self, TypeVar, cast

from omni_agent.core import (
    Core,
    DType,
    Generation,
    Modality,
    Padding,
    Request,
    Settings,
    Snapshot,
    Status,
    Task,
    VoiceSettings,
    asked,
    check_voice,
)
from omni_agent.core_model import checkpoints, snapshots
from omni_agent.core_model.acceptance import check_request, check_task, check_tokens
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.engine import IN_FLIGHT, QUEUE_SIZE, Engine
from omni_agent.core_model.generation import LocalGeneration, finished
from omni_agent.core_model.grouping import Paying
from omni_agent.core_model.model import Model
from omni_agent.core_model.ticket import Ticket
from omni_agent.errors import CoreClosed, InputError, OmniError
from omni_agent.values import Conversation, Image, Reply, Speech, Text, Tokens

__all__ = ["LocalCore"]

V = TypeVar("V")


class LocalCore(Core):
    """A model in this process. `LocalCore.load` makes one of a checkpoint.

    Args:
        open_model: makes the model, when the core is entered, in a thread. It is the core's from then on,
            which moves and freezes some of its weights (`Transformer.fuse`).
        queue_size: how many requests may be queued behind those that are advanced, before `generate` waits
            for room.
        in_flight: how many requests are advanced in turns.
        voice: how sound is made of speech tokens; None leaves it to the model.
    """

    def __init__(
        self,
        open_model: Callable[[], Model],
        *,
        queue_size: int = QUEUE_SIZE,
        in_flight: int = IN_FLIGHT,
        voice: VoiceSettings | None = None,
    ) -> None:
        self._open_model = open_model
        self._queue_size = queue_size
        self._in_flight = in_flight
        self._voice = voice
        self._entered = False
        self._model: Model | None = None
        self._engine: Engine | None = None

    @staticmethod
    def load(
        name_or_path: str | os.PathLike[str] = "omni-tiny",
        *,
        device: str = "cpu",
        dtype: DType | None = None,
        padding: Padding | None = None,
        voice: VoiceSettings | None = None,
    ) -> LocalCore:
        """A core on a checkpoint; see `Core.load`. Nothing is read yet."""
        check_voice(voice)
        loading = checkpoints.Loading.of(device, dtype, padding)
        return LocalCore(partial(checkpoints.load, checkpoints.find(name_or_path), loading), voice=voice)

    async def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a folder that `load` reads; see `Core.save`.

        Raises:
            CheckpointError: it cannot be written there, or a weight is no number that its file's type holds.
        """
        _, model = self._running()
        await asyncio.to_thread(checkpoints.save, model, folder)

    async def reply(
        self,
        question: Text | str | Speech,
        picture: Image | None = None,
        *,
        history: Conversation | None = None,
        settings: Settings | None = None,
    ) -> Reply:
        """The answer to a question, written and spoken: on one canvas, where the checkpoint does that with
        such a question; else one after the other.
        """
        content = (question,) if picture is None else (picture, question)
        _, model = self._running()
        kinds = [Modality.SPEECH if isinstance(question, Speech) else Modality.TEXT]
        kinds += [] if picture is None else [Modality.IMAGE]
        if model.config.task(Task.REPLY, kinds) is None:
            return await super().reply(question, picture, history=history, settings=settings)
        return await self._fill(
            Reply, Task.REPLY, Modality.SPEECH, content, history=history, settings=settings
        )

    async def __aenter__(self) -> Self:
        if self._entered:
            raise OmniError("this core is entered already: use the one from the outer `async with`")
        self._entered = True
        try:
            self._model = await asyncio.to_thread(self._opened)
        except BaseException:
            self._entered = False
            raise
        self._engine = Engine(
            self._model, queue_size=self._queue_size, in_flight=self._in_flight, grouping=Paying()
        )
        return self

    async def aclose(self) -> None:
        """Cancel all requests, wait until they stopped, and free the model. May be called again."""
        engine = self._engine
        if engine is None:
            return
        engine.stop()  # at once, whatever becomes of the waiting
        try:
            await asyncio.to_thread(engine.close)
        finally:
            if self._engine is engine:
                self._engine = self._model = None
                self._entered = False

    def generate(self, request: Request, *, wait: bool = True) -> Generation:
        """Start filling a blank; see `Core.generate`."""
        engine, model = self._running()
        check_request(request, model)

        def begin(request: Request) -> Generation:
            return self._generation(request, engine.submit(request, wait=wait))

        return asked(self, request, begin)

    def resume(
        self, snapshot: Snapshot, *, media: Iterable[Image | Speech] = (), wait: bool = True
    ) -> Generation:
        """Go on with a request where a snapshot of it was taken; see `Core.resume`."""
        engine, model = self._running()
        snapshots.check(snapshot, snapshots.Origin.of(model))
        kinds = [modality for modality, _ in snapshot.content]
        check_task(snapshot.task, kinds, snapshot.blank, model)
        request = snapshots.request_of(snapshot, media)
        if not snapshot.prompt:
            check_request(request, model)
        return self._generation(request, engine.submit(request, wait=wait, snapshot=snapshot), snapshot)

    def status(self) -> Status:
        """What the core is doing, and what it has done; see `Core.status`."""
        engine, _ = self._running()
        return engine.status()

    async def decoded(self, value: V) -> V:
        """The same value with pixels or samples; a reply's or a conversation's values too; else itself.

        Raises:
            InputError: tokens of another core.
            CoreClosed: it has to be decoded, and the core is not inside its `async with`.
        """
        if isinstance(value, Image | Speech):
            return value if value.is_decoded else cast(V, await self._decoded(value))
        if isinstance(value, Reply):
            return cast(V, replace(value, speech=await self.decoded(value.speech)))
        if isinstance(value, Conversation):
            turns = [replace(turn, value=await self.decoded(turn.value)) for turn in value]
            return cast(V, replace(value, turns=tuple(turns)))
        return value

    async def tokenized(self, picture: Image) -> Image:
        """The picture as this core sees it: its tokens alone, which `decoded` makes pixels of again.

        Raises:
            InputError: this core has no pictures.
            CoreClosed: the core is not inside its `async with`.
        """
        _, model = self._running()
        codes = await asyncio.to_thread(model.image_codes, picture)
        return Image.from_tokens(Tokens(ids=tuple(codes), tokenizer=model.tokenizer_name(Modality.IMAGE)))

    async def _decoded(self, value: Image | Speech) -> Image | Speech:
        engine, model = self._running()
        check_tokens(value, model)
        decoded = (await finished(engine.decode(value))).value
        assert isinstance(decoded, Image | Speech)
        return decoded

    def _listen(self, request: Request, ticket: Ticket, voice: VoiceSettings | None) -> Ticket:
        if request.blank is not Modality.SPEECH:
            raise InputError(
                f"{request.task} fills a blank of {request.blank}, which has no sound: ask it of a request"
                " whose blank is speech"
            )
        engine, model = self._running()
        model.voice.check_voice(voice or VoiceSettings())
        return engine.listen(ticket, voice)

    def _generation(
        self, request: Request, ticket: Ticket, snapshot: Snapshot | None = None
    ) -> LocalGeneration:
        _, model = self._running()
        origin = snapshots.Origin.of(model)

        def take(state: Decoding | None, seconds_left: float | None) -> Snapshot:
            if state is None and snapshot is not None:
                return replace(snapshot, seconds_left=seconds_left)
            content = None if snapshot is None else snapshot.content
            return snapshots.taken(origin, request, state, content=content, seconds_left=seconds_left)

        return LocalGeneration(ticket, partial(self._listen, request, ticket), take, self._look)

    def _look(self, state: Decoding) -> Ticket:
        if state.canvas.blank.modality is not Modality.IMAGE:
            raise InputError(
                f"{state.canvas.task} fills a blank of {state.canvas.blank.modality}, which has no picture to"
                " look at: ask it of a request whose blank is a picture"
            )
        engine, model = self._running()
        return engine.decode(model.guessed(state))

    def _opened(self) -> Model:
        model = self._open_model()
        model.transformer.fuse()
        _ = model.fingerprint  # hashes the weights once, here, as event loops ask for it later
        for modality in (Modality.IMAGE, Modality.SPEECH):
            model.tokenizer_name(modality)
        if self._voice is not None:
            model.voice.speak_as(self._voice)
        _collect_garbage_once()
        return model

    def _running(self) -> tuple[Engine, Model]:
        if self._engine is None or self._model is None:
            raise CoreClosed("this core is not entered: use it within `async with Core.load(...) as core:`")
        return self._engine, self._model


@cache
def _collect_garbage_once() -> None:
    """What comes with a first core is some 300,000 objects, and the collector looks through all there are
    when so many are new: 0.1 to 0.2 seconds in which nothing else goes on, and here rather than amid the
    first requests. It does so again when there are a quarter more.
    """
    gc.collect()

"""Calling a step's function: attempts, a time for each, and what its value is held against."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import aclosing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from time import monotonic
from typing import Any

from omni_agent.core import Begin, CanvasChange, Core, Generation, Request, caller, observer
from omni_agent.errors import WrongReturn
from omni_agent.graph.activity import Activity, Outcome
from omni_agent.graph.beside import beside
from omni_agent.graph.brief import brief
from omni_agent.graph.context import StepContext, UnderWay, current
from omni_agent.graph.events import CanvasChanged, Custom, StepRetried, StreamChunk
from omni_agent.graph.keeper import Kept
from omni_agent.graph.plan import Call, stream_of
from omni_agent.graph.retry import retried
from omni_agent.graph.scope import Scope
from omni_agent.graph.stream import Stream, StreamLog
from omni_agent.graph.thread import call_in_thread
from omni_agent.graph.types import conforms, name_of, wrapped
from omni_agent.graph.within import within

__all__ = ["call"]


async def call(activity: Activity, body: Call, scope: Scope | None) -> Outcome:
    """Call a step's function until it returns, as often as it may be.

    Args:
        activity: the step, or the item of it.
        body: its function.
        scope: where its chunks are offered while they come; None where nobody can read them.
    """
    run = activity.run
    begun = monotonic()
    chunks: Sequence[Any] = ()
    if run.keeper is not None:
        chunk = body.returns if body.yields else None
        memory = await run.keeper.remembered(activity.path, _kept_hint(body), chunk)
        if memory.kept is not None:
            return _outcome(body, memory.kept, Stream(memory.kept.value) if body.yields else None)
        chunks = memory.chunks
    log = StreamLog(chunks) if body.yields else None
    if log is not None:
        # readers count as running too, and may only wait for one who does: a step that yields keeps its place
        async with run.places:
            if scope is not None:
                scope.offer(stream_of(activity.node.key), log.reader())
            kept = await _attempts(activity, body, log)
    else:
        kept = await _attempts(activity, body, log)
    if run.keeper is not None:
        kept = replace(kept, seconds=monotonic() - begun)
        await run.keeper.keep(activity.path, kept, _kept_hint(body))
    return _outcome(body, kept, None)


async def _attempts(activity: Activity, body: Call, log: StreamLog | None) -> Kept:
    if not body.retries and body.unsure is None:
        return await _attempt(activity, body, log, 1)

    def tell(attempt: int, error: BaseException | None, confidence: float | None, wait: float) -> None:
        activity.run.tell(
            StepRetried,
            activity.path,
            step=activity.node.name,
            attempt=attempt,
            error=error,
            confidence=confidence,
            wait=wait,
        )

    return await retried(
        partial(_attempt, activity, body, log),
        body,
        may_retry=lambda: log is None or not log.was_read,
        tell=tell,
    )


async def _attempt(activity: Activity, body: Call, log: StreamLog | None, number: int) -> Kept:
    run, node = activity.run, activity.node
    async with run.places if log is None else nullcontext():
        activity.begin(number)
        context = StepContext(step=node.name, path=activity.path, attempt=number, run_id=run.run_id)
        under_way = _under_way(activity, context)
        try:
            if node.timeout is None:
                value = await _value(activity, body, log, under_way, context)
            else:
                async with within(node.timeout):
                    value = await _value(activity, body, log, under_way, context)
            return Kept(value=value, confidence=under_way.confidence, attempt=number)
        finally:
            await under_way.close()


async def _value(
    activity: Activity, body: Call, log: StreamLog | None, under_way: UnderWay, context: StepContext
) -> Any:
    run = activity.run
    named = dict(activity.arguments)
    for name, kind in body.resources.items():
        named[name] = context if kind is StepContext else run.resources[kind]
    positional = [named.pop(name) for name in body.positional if name in named]
    if log is not None:
        return await _chunks(activity, body, log, body.function(*positional, **named), context.attempt)
    if body.is_async:
        value = await body.function(*positional, **named)
    else:
        function = partial(body.function, *positional, **named)
        value = await call_in_thread(function, name=activity.node.name, step=under_way, threads=run.threads)
        if isawaitable(value):  # a decorator's plain function around an async one
            value = await value
    return _checked(value, body.returns, "returned")


async def _chunks(activity: Activity, body: Call, log: StreamLog, generator: Any, attempt: int) -> list[Any]:
    run, path, name = activity.run, activity.path, activity.node.name
    if attempt > 1:
        log.chunks.clear()  # of an attempt that nobody read
        if run.keeper is not None:
            await run.keeper.drop_chunks(path)
    # what an earlier process stored may have been read, so it stays, and the function only catches up with it
    for index, chunk in enumerate(log.chunks):
        run.tell(StreamChunk, path, step=name, index=index, chunk=chunk)
    behind = len(log.chunks)
    async with aclosing(generator) as chunks:
        async for chunk in chunks:
            chunk = _checked(chunk, body.returns, "yielded")
            if behind:
                behind -= 1
                continue
            if run.keeper is not None:
                await run.keeper.keep_chunk(path, len(log.chunks), chunk, body.returns)
            run.tell(StreamChunk, path, step=name, index=len(log.chunks), chunk=chunk)
            log.add(chunk)
    log.end()
    return list(log.chunks)


def _kept_hint(body: Call) -> Any:
    return list[body.returns] if body.yields else body.returns  # type: ignore[name-defined]


def _checked(value: Any, hint: Any, verb: str) -> Any:
    """`value`, wrapped as its annotation says and held against it."""
    value = wrapped(value, hint)
    if not conforms(value, hint):
        raise WrongReturn(
            f"it {verb} {brief(value)} ({type(value).__name__}); wanted {name_of(hint)},"
            " as its annotation says: mend one of the two"
        )
    return value


def _joined(body: Call, value: Any) -> Any:
    return _checked(value, body.joined, "was joined to")


def _outcome(body: Call, kept: Kept, stream: Stream[Any] | None) -> Outcome:
    value = kept.value
    if body.join is not None:
        chunks = list(value)
        value = beside("join", partial(body.join, chunks), {"chunks": chunks}, partial(_joined, body))
    unsure = body.unsure
    is_unsure = unsure is not None and kept.confidence is not None and kept.confidence < unsure.below
    return Outcome(value=value, confidence=kept.confidence, is_unsure=is_unsure, stream=stream)


def _under_way(activity: Activity, context: StepContext) -> UnderWay:
    """Around the call of a step's function: what it and its requests tell becomes events of the run."""
    run, path, name = activity.run, activity.path, activity.node.name

    def tell(kind: type[Any], **fields: Any) -> None:
        if threading.get_ident() != run.thread:
            run.loop.call_soon_threadsafe(partial(tell, kind, **fields))
        elif under_way.is_open:
            run.tell(kind, path, step=name, **fields)

    def ask(core: Core, request: Request, begin: Begin) -> Generation:
        if run.keeper is not None:
            return run.keeper.ask(context, core, request, begin)
        return begin(run.draws.drawn(run.draws.key(context, request), request))

    def changed(change: CanvasChange) -> None:
        tell(CanvasChanged, change=change)

    async def watch(request: Request, generation: Generation) -> None:
        assert run.tracer is not None
        with suppress(Exception, asyncio.CancelledError), run.tracer.request(request, generation):
            await generation

    watching = None if run.tracer is None else watch
    under_way = UnderWay(lambda data: tell(Custom, data=data), ask, watching)
    # set for the rest of this task, which has a context of its own
    current.set(under_way)
    observer.set(changed)
    caller.set(under_way.asked)
    return under_way

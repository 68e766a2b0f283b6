"""Carrying out a run: each step starts the moment its inputs exist, and all of them end with the run."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from time import monotonic
from typing import Any

from omni_agent.core import Core, observer
from omni_agent.errors import RunTimedOut, StepError, StepTimedOut, WrongReturn
from omni_agent.graph.brief import brief
from omni_agent.graph.decode import decoded
from omni_agent.graph.events import (
    CanvasChanged,
    Custom,
    Event,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    StepCancelled,
    StepFailed,
    StepFinished,
    StepStarted,
)
from omni_agent.graph.log import EventLog
from omni_agent.graph.offer import Offer
from omni_agent.graph.options import RunOptions
from omni_agent.graph.plan import Plan, PlannedStep
from omni_agent.graph.scope import Scope, scope
from omni_agent.graph.thread import call_in_thread
from omni_agent.graph.types import conforms, name_of, wrapped
from omni_agent.values import Text

__all__ = ["Execution"]


class Execution:
    """The state of one run: which values are there, who still reads them, what failed.

    Args:
        plan: the checked graph.
        offer: the accepted inputs, resources and given values.
        options: how to run.
        log: where events go.
    """

    def __init__(self, plan: Plan, offer: Offer, options: RunOptions, log: EventLog) -> None:
        self.graph = plan.graph
        self.log = log
        self.outputs: dict[str, Any] | None = None
        """By step, once the run finished."""
        self.error: BaseException | None = None
        """What the run failed with."""
        self._plan = plan
        self._options = options
        self._resources = offer.resources
        self._values = dict(offer.values)
        self._steps = {name: step for name, step in plan.steps.items() if name in offer.needed}
        self._missing = {name: len(step.sources & self._steps.keys()) for name, step in self._steps.items()}
        self._followers: dict[str, list[str]] = {name: [] for name in self._steps}
        for name, step in self._steps.items():
            for source in step.sources & self._steps.keys():
                self._followers[source].append(name)
        self._readers = Counter(source for step in self._steps.values() for source in step.sources)
        self._readers.update(name for name, step in plan.steps.items() if step.is_output)
        limit = options.limit
        self._slots: nullcontext[None] | asyncio.Semaphore = (
            asyncio.Semaphore(limit) if limit else nullcontext()
        )
        self._failures: list[StepError] = []
        self._aftermath: list[StepError] = []
        """Steps that failed while they were being cancelled."""
        self._begun = monotonic()

    async def carry_out(self) -> None:
        """Run the steps and keep the outputs or the error. Raises only when cancelled."""
        self._begun = monotonic()
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        sync = sum(not step.is_async for step in self._steps.values())
        # as many threads as could ever be busy, so that no step waits for another's; they start when needed
        self._threads = ThreadPoolExecutor(max(1, sync), thread_name_prefix=self.graph)
        self.log.add(RunStarted, graph=self.graph, steps=tuple(self._steps))
        deadline = asyncio.timeout(self._options.timeout)
        try:
            async with deadline, asyncio.TaskGroup() as self._group:
                for name, missing in self._missing.items():
                    if missing == 0:
                        self._start(name)
            names = [name for name, step in self._plan.steps.items() if step.is_output]
            self.outputs = {name: await self._decoded(self._values[name]) for name in names}
        except Exception as error:  # the deadline's TimeoutError, or the group of the steps' errors
            if self._failures:
                self.error, *others = self._failures
                self._failures[0].others = (*others, *self._aftermath)
            elif deadline.expired():
                self.error = RunTimedOut(
                    f"the run of graph {self.graph!r} took longer than its {self._options.timeout:g} s:"
                    " allow more with RunOptions(timeout=...)"
                )
            elif not self._aftermath:
                self.error = error
        finally:
            self._threads.shutdown(wait=False)
            self.conclude()

    def conclude(self) -> None:
        """Tell how the run ended. Does nothing the second time."""
        if self.log.is_closed:
            return
        seconds = monotonic() - self._begun
        if self.error is not None:
            self.log.add(RunFailed, error=self.error, seconds=seconds)
        elif self.outputs is not None:
            self.log.add(RunFinished, outputs=dict(self.outputs), seconds=seconds)
        else:
            self.log.add(RunCancelled, seconds=seconds)
        self.log.close()
        self._values.clear()

    def _start(self, name: str) -> None:
        # each step sees the context variables of the run, not of the step that happened to finish before it
        context = self._context.copy()
        self._group.create_task(
            self._run(self._steps[name]), name=f"step {name} of {self.graph}", context=context
        )

    async def _run(self, step: PlannedStep) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with self._slots:
            arguments = self._arguments(step)
            begun = monotonic()
            self._tell(step, StepStarted)
            failure: BaseException
            try:
                value = await self._value(step, arguments)
            except asyncio.CancelledError as error:
                if task.cancelling():
                    self._tell(step, StepCancelled, seconds=monotonic() - begun)
                    raise
                # not this run's doing: something the step waited for was cancelled, and there is no value
                failure = error
            except (GeneratorExit, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # also those of test frameworks and other event loops
                failure = error
            else:
                self._tell(step, StepFinished, value=value, seconds=monotonic() - begun)
                self._keep(step, value)
                return
        kind = StepTimedOut if isinstance(failure, TimeoutError) else StepError
        inputs = {edge.parameter: brief(arguments[edge.parameter]) for edge in step.edges}
        told = kind(step.name, cause=failure, path=(step.name,), inputs=inputs)
        (self._aftermath if task.cancelling() else self._failures).append(told)
        self._tell(step, StepFailed, error=told, seconds=monotonic() - begun)
        raise told

    async def _value(self, step: PlannedStep, arguments: Mapping[str, Any]) -> Any:
        """What the step returns: wrapped, held against its annotation, decoded where it is an output."""
        named = dict(arguments)
        positional = [named.pop(name) for name in step.positional]
        call = partial(step.function, *positional, **named)
        with self._watched(step) as current:
            if step.is_async:
                value = await call()
            else:
                value = await call_in_thread(call, name=step.name, scope=current, threads=self._threads)
                if isawaitable(value):  # a decorator's plain function around an async one
                    value = await value
        value = wrapped(value, step.returns)
        if not conforms(value, step.returns):
            raise WrongReturn(
                f"it returned {brief(value)} ({type(value).__name__}); wanted {name_of(step.returns)},"
                " as its annotation says: mend one of the two"
            )
        return await self._decoded(value) if step.is_output else value

    async def _decoded(self, value: Any) -> Any:
        core = self._resources.get(Core)
        return await decoded(core, value) if isinstance(core, Core) else value

    def _arguments(self, step: PlannedStep) -> dict[str, Any]:
        arguments: dict[str, Any] = {name: self._resources[kind] for name, kind in step.resources.items()}
        for edge in step.edges:
            value = self._values[edge.source]
            is_plain = edge.wraps_text and type(value) is str
            arguments[edge.parameter] = Text(value) if is_plain else value
        for source in step.sources:
            self._readers[source] -= 1
            if not self._readers[source]:
                del self._values[source]
        return arguments

    def _keep(self, step: PlannedStep, value: Any) -> None:
        """Keep a value for its readers, and start those that waited for nothing else."""
        if self._readers[step.name]:
            self._values[step.name] = value
        task = asyncio.current_task()
        if self._failures or (task is not None and task.cancelling()):
            return  # the run is ending: its group takes no new tasks
        for name in self._followers[step.name]:
            self._missing[name] -= 1
            if not self._missing[name]:
                self._start(name)

    @contextmanager
    def _watched(self, step: PlannedStep) -> Iterator[Scope]:
        """Around the call of a step's function: what it and its requests tell becomes events of the run."""
        is_open = True

        def tell(kind: type[Event], **fields: Any) -> None:
            if threading.get_ident() != self._thread:
                self._loop.call_soon_threadsafe(partial(tell, kind, **fields))
            elif is_open:
                self._tell(step, kind, **fields)

        current = Scope(lambda data: tell(Custom, data=data))
        tokens = scope.set(current), observer.set(lambda change: tell(CanvasChanged, change=change))
        try:
            yield current
        finally:
            is_open = False
            scope.reset(tokens[0])
            observer.reset(tokens[1])

    def _tell(self, step: PlannedStep, kind: type[Event], **fields: Any) -> None:
        self.log.add(kind, path=(step.name,), step=step.name, **fields)

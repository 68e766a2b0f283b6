"""One run as a whole: what all of its steps share, how it begins, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import cached_property
from time import monotonic
from typing import Any
from uuid import uuid4

from omni_agent.core import Core
from omni_agent.errors import InputError, RunTimedOut, StepError, StoreError
from omni_agent.graph.activity import Outcome
from omni_agent.graph.context import Path
from omni_agent.graph.decode import decoded
from omni_agent.graph.draws import Draws
from omni_agent.graph.events import RunCancelled, RunFailed, RunFinished, RunStarted
from omni_agent.graph.forms import perform
from omni_agent.graph.keeper import Keeper
from omni_agent.graph.late import Mail, late_inputs
from omni_agent.graph.log import EventLog
from omni_agent.graph.offer import Offer
from omni_agent.graph.options import RunOptions
from omni_agent.graph.plan import First, Node, Plan
from omni_agent.graph.scope import SKIPPED, Scope
from omni_agent.graph.store.outlasting import outlasting
from omni_agent.graph.store.records import path_given
from omni_agent.graph.threads import threads_of

__all__ = ["Execution"]


class Execution:
    """The state of one run.

    Args:
        plan: the checked graph.
        offer: the accepted inputs, resources and given values.
        options: how to run.
        log: where events go.
        keeper: who remembers the run; None where nobody does.
        may_wait: whether late inputs may come while it runs.
    """

    def __init__(
        self,
        plan: Plan,
        offer: Offer,
        options: RunOptions,
        log: EventLog,
        *,
        keeper: Keeper | None = None,
        may_wait: bool = True,
    ) -> None:
        self.graph = plan.graph
        self.plan = plan
        self.log = log
        self.keeper = keeper
        self.outputs: dict[str, Any] | None = None
        """By step, once the run finished; `SKIPPED` for those that were skipped."""
        self.error: BaseException | None = None
        """What the run failed with."""
        self.resources = offer.resources
        self.draws = Draws(options.seed)
        self.mail = Mail(plan)
        self.places: AbstractAsyncContextManager[Any] = (
            asyncio.Semaphore(options.limit) if options.limit else nullcontext()
        )
        """What a running function takes one of. Nothing else does, so nothing waits for what waits for it."""
        self.tell = log.add
        self.tracer = options.tracer
        self._offer = offer
        self._options = options
        self._may_wait = may_wait
        self._begun = monotonic()
        self._is_ending = False
        self._has_begun = asyncio.Event()
        """Set once it is known which late inputs arrived before, or that the run is over."""

    @cached_property
    def run_id(self) -> str:
        """Names the run."""
        return self._options.run_id or uuid4().hex

    @cached_property
    def threads(self) -> Executor:
        """Where sync steps run: so many threads that no step waits for another's; they start when needed."""
        return ThreadPoolExecutor(threads_of(self.plan), thread_name_prefix=self.graph)

    @property
    def unsent(self) -> list[Path]:
        """The late inputs that the run needs and that were not given to it."""
        return [path for path in late_inputs(self.plan, self._offer.values) if not self.mail.has(path)]

    async def perform(
        self,
        scope: Scope,
        node: Node,
        path: Path,
        arguments: Mapping[str, Any],
        failure: Exception | None,
    ) -> Outcome:
        """Carry out one node of a scope."""
        return await perform(self, scope, node, path, arguments, failure)

    async def decoded(self, value: Any) -> Any:
        """A value with pixels and samples, where there is a core to make them."""
        core = self.resources.get(Core)
        return await decoded(core, value) if isinstance(core, Core) else value

    async def send(self, path: str | Path, value: Any) -> None:
        """Take in a late input, and return when it is stored. The same value again changes nothing.

        Raises:
            InputError: there is no such late input, it is of another type, another value was sent before, or
                it is new and the run is over.
            StoreError: the run ended as its store did not let it go on: another process holds it, say.
        """
        place = path_given(path)
        await self._has_begun.wait()
        if self.log.is_closed and isinstance(self.error, StoreError):
            raise self.error
        checked = self.mail.checked(place, value)
        async with self.mail.turn(place):
            over = f"the run of graph {self.graph!r} is over" if self._is_ending else ""
            if self.mail.came_before(place, checked, over):
                return
            if over:
                raise InputError(f"late input {'/'.join(map(str, place))!r} comes too late: {over}")
            if self.keeper is not None:
                await self.keeper.receive(place, checked)
            self.mail.deliver(place, checked)

    async def carry_out(self) -> None:
        """Run the steps and keep the outputs or the error. Raises only when cancelled."""
        self._begun = monotonic()
        self.thread = threading.get_ident()
        self.loop = asyncio.get_running_loop()
        plan = self.plan
        nodes = plan.wiring(self._offer.values.keys() & plan.nodes.keys()).nodes.values()
        silent = {node.key for node in nodes if isinstance(node.body, First) and node.body.is_silent}
        self.tell(
            RunStarted, graph=self.graph, steps=tuple(node.name for node in nodes if node.key not in silent)
        )
        deadline = asyncio.timeout(self._options.timeout)
        lost: list[Exception] = []

        def lose(error: Exception) -> None:
            lost.append(error)
            if self._is_ending:
                return
            deadline.reschedule(self.loop.time())

        try:
            with self._traced():
                async with deadline:
                    await self._carried_out(lose)
        except StepError as error:
            self.error = error
        except TimeoutError as error:
            self.error = error
            if deadline.expired():
                self.error = RunTimedOut(
                    f"the run of graph {self.graph!r} took longer than its {self._options.timeout or 0:g} s:"
                    " allow more with RunOptions(timeout=...)"
                )
        except Exception as error:  # of a keeper, or of decoding what was given
            self.error = error
        finally:
            self._is_ending = True
            if lost:
                self.error, self.outputs = lost[0], None
            if "threads" in self.__dict__:
                self.threads.shutdown(wait=False)
            try:
                await outlasting(self._end())
            finally:
                self.conclude()

    async def _carried_out(self, lose: Callable[[Exception], None]) -> None:
        for name in self.plan.late.keys() & self._offer.values.keys():
            self.mail.deliver((name,), self._offer.values[name])
        if self.keeper is not None:
            begun = await self.keeper.begin(lose)
            for path, value in begun.late.items():
                self.mail.deliver(path, value)
            if begun.outputs is not None:
                self.outputs = {name: begun.outputs.get(name, SKIPPED) for name in self.plan.outputs}
                return
        self._has_begun.set()
        if not self._may_wait and self.unsent:
            missing = ", ".join(sorted({"/".join(map(str, path)) for path in self.unsent}))
            raise InputError(
                f"graph {self.graph!r} was run without the late input {missing}: pass it by name, or use"
                " graph.start(...) and send it by run.send(...)"
            )
        values = await Scope(self, self.plan, (), self._offer.values, keep=self.plan.outputs).carry_out()
        self.outputs = {name: await self.decoded(value) for name, value in values.items()}

    async def _end(self) -> None:
        if self.keeper is None:
            return
        await self.mail.idle()
        try:
            await self.keeper.end(outputs=self.outputs, error=self.error)
        except Exception as error:
            self.error, self.outputs = self.error or error, None

    def _traced(self) -> AbstractContextManager[None]:
        if self.tracer is None:
            return nullcontext()
        return self.tracer.run(graph=self.graph, run_id=self.run_id)

    def conclude(self) -> None:
        """Tell how the run ended. Does nothing the second time."""
        self._is_ending = True
        if self.log.is_closed:
            return
        seconds = monotonic() - self._begun
        if self.error is not None:
            self.tell(RunFailed, error=self.error, seconds=seconds)
        elif self.outputs is not None:
            self.tell(RunFinished, outputs=_present(self.outputs), seconds=seconds)
        else:
            self.tell(RunCancelled, seconds=seconds)
        self.log.close()
        self._has_begun.set()


def _present(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outputs.items() if value is not SKIPPED}

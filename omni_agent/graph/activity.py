"""One path of a run from its beginning to its end, as events tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from omni_agent.errors import LoopExhausted, StepError, StepTimedOut
from omni_agent.graph.beside import BesideError
from omni_agent.graph.brief import brief
from omni_agent.graph.context import Path
from omni_agent.graph.events import StepCancelled, StepFailed, StepFinished, StepSkipped, StepStarted
from omni_agent.graph.plan import Node
from omni_agent.graph.scope import SKIPPED
from omni_agent.graph.siblings import Siblings
from omni_agent.graph.stream import Stream
from omni_agent.graph.tracer import Tracer

if TYPE_CHECKING:
    from omni_agent.graph.execution import Execution

__all__ = ["Activity", "BoundReachedError", "Outcome"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a node, an item or a round came to."""

    value: Any
    """`SKIPPED` where it was skipped."""
    confidence: float | None = None
    is_unsure: bool = False
    reason: str = ""
    """Why it was skipped."""
    stream: Stream[Any] | None = None
    """Its chunks, where nobody could read them before."""


class BoundReachedError(Exception):
    """A loop reached its bound."""


class Activity:
    """A node, or an item of a mapped one, under way.

    Args:
        run: where it is told.
        siblings: those it ends with.
        node: what is carried out.
        path: where it stands.
        arguments: what it was given.
        forgives: whether a failure only skips it.
    """

    __slots__ = ("_begun", "_forgives", "_siblings", "arguments", "is_call", "node", "path", "run")

    def __init__(
        self,
        run: Execution,
        siblings: Siblings,
        node: Node,
        path: Path,
        arguments: Mapping[str, Any],
        *,
        is_call: bool,
        forgives: bool = False,
    ) -> None:
        self.run = run
        self._siblings = siblings
        self.node = node
        self.path = path
        self.arguments = arguments
        self.is_call = is_call
        self._forgives = forgives
        self._begun: float | None = None

    def begin(self, attempt: int = 1) -> None:
        """It starts, or starts again."""
        if self._begun is None:
            self._begun = monotonic()
        self.run.tell(StepStarted, self.path, step=self.node.name, attempt=attempt)

    async def settle(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Wait for the outcome and tell it.

        Raises:
            StepError: it failed, and that is not forgiven.
            asyncio.CancelledError: it was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None
        failure: BaseException
        try:
            outcome = await work if self.run.tracer is None else await self._traced(self.run.tracer, work)
        except asyncio.CancelledError as error:
            if task.cancelling() and self._siblings.are_ending:
                if self._begun is not None:
                    self._tell(StepCancelled, seconds=monotonic() - self._begun)
                raise
            # not this run's doing: something the step waited for was cancelled, or it cancelled its own task
            failure = error
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # also those of test frameworks and other event loops
            if isinstance(error, GeneratorExit) and not _is_running(task):
                raise  # nobody raised it: this coroutine is thrown away, with the event loop of its task
            failure = error
        else:
            if outcome.value is SKIPPED:
                self._tell(StepSkipped, reason=outcome.reason, error=None)
            else:
                self._tell(
                    StepFinished,
                    value=outcome.value,
                    confidence=outcome.confidence,
                    seconds=self._seconds(),
                )
            return outcome
        told = self._error(failure)
        if self._forgives and not (task.cancelling() and self._siblings.are_ending):
            if self.run.keeper is not None:
                await self.run.keeper.leave_out(self.path)
            self._tell(StepSkipped, reason="it failed", error=told)
            return Outcome(value=SKIPPED, reason="it failed")
        self._tell(StepFailed, error=told, seconds=self._seconds())
        raise told

    async def _traced(self, tracer: Tracer, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        with tracer.step(step=self.node.name, path=self.path):
            return await work

    def _error(self, failure: BaseException) -> StepError:
        if isinstance(failure, StepError) and not self.is_call:
            return failure  # of a step inside, which told it
        if isinstance(failure, BesideError):
            assert failure.__cause__ is not None
            kind = StepTimedOut if isinstance(failure.__cause__, TimeoutError) else StepError
            return kind(
                self.node.name,
                cause=failure.__cause__,
                path=self.path,
                inputs=failure.given,
                part=failure.which,
            )
        inputs = {
            edge.parameter: brief(self.arguments[edge.parameter])
            for edge in self.node.edges
            if edge.parameter in self.arguments
        }
        if isinstance(failure, BoundReachedError):
            return LoopExhausted(self.node.name, str(failure), path=self.path, inputs=inputs)
        kind = StepTimedOut if isinstance(failure, TimeoutError) else StepError
        return kind(self.node.name, cause=failure, path=self.path, inputs=inputs)

    def _seconds(self) -> float:
        return 0.0 if self._begun is None else monotonic() - self._begun

    def _tell(self, kind: type[Any], **fields: Any) -> None:
        self.run.tell(kind, self.path, step=self.node.name, **fields)


def _is_running(task: asyncio.Task[Any]) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no event loop runs any more
        return False

"""One pass through a plan: each node starts the moment its sources are there.

A run is one of these; a graph that is a step is another, and so is every round of a loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from omni_agent.errors import StepError
from omni_agent.graph.beside import BesideError, beside
from omni_agent.graph.context import Path
from omni_agent.graph.events import InputAwaited, StepSkipped
from omni_agent.graph.plan import Condition, First, Node, Plan, stream_of, unsure_of
from omni_agent.graph.siblings import Siblings
from omni_agent.values import Text

if TYPE_CHECKING:
    from omni_agent.graph.execution import Execution

__all__ = ["SKIPPED", "Scope", "decided"]


class _Skipped:
    def __repr__(self) -> str:
        return "skipped"


SKIPPED = _Skipped()
"""Stands for the value of a step that was skipped."""


class Scope:
    """The state of one pass: which values are there, who waits for what, who still reads what.

    Args:
        run: what this is part of.
        plan: what to carry out.
        path: where in the run it stands.
        values: of inputs, and of steps that need not run.
        keep: the sources to give back, beside the plan's outputs.
        parent: the siblings of the task that runs this.
    """

    def __init__(
        self,
        run: Execution,
        plan: Plan,
        path: Path,
        values: Mapping[str, Any],
        *,
        keep: Collection[str],
        parent: Siblings | None = None,
    ) -> None:
        self.path = path
        self.siblings = Siblings(parent)
        self._run = run
        self._plan = plan
        self._keep = keep
        self._wiring = plan.wiring(values.keys() & plan.nodes.keys())
        self._missing = dict(self._wiring.missing)
        """Of the nodes that neither started nor were skipped: how many sources have not arrived."""
        self._readers = dict(self._wiring.readers)
        for source in keep:
            self._readers[source] = self._readers.get(source, 0) + 1
        self._values: dict[str, Any] = {}
        self._arriving: deque[tuple[str, Any]] = deque(values.items())
        self._late: dict[str, asyncio.Task[None]] = {}
        """The late inputs that have not arrived, each with the task that waits for it."""
        self._announced: set[str] = set()
        # of the run, and of what traces what this is in: the task that makes a scope sets nothing else
        self._context = copy_context()

    async def carry_out(self) -> dict[str, Any]:
        """Run the nodes.

        Returns:
            What is kept; `SKIPPED` where it was skipped.

        Raises:
            StepError: of the first node that failed.
        """
        async with self.siblings:
            given = {source for source, _ in self._arriving}
            for name in self._wiring.late:
                if name not in given:
                    self._late[name] = self._begin(self._receive(name), f"input {name}")
            for key, missing in self._wiring.missing.items():
                if not missing:
                    self._start(self._wiring.nodes[key])
            self._spread()
            self._announce_early()
        return {source: self._values.pop(source) for source in self._keep}

    def offer(self, source: str, value: Any) -> None:
        """Something that a running node has for others beside its value."""
        if not self.siblings.are_ending:
            self._arriving.append((source, value))
            self._spread()

    # what arrives

    def _spread(self) -> None:
        """Hand on what arrived, and what follows from that; not recursive, as chains may be long."""
        nodes, followers = self._wiring.nodes, self._wiring.followers
        while self._arriving:
            source, value = self._arriving.popleft()
            if self._readers.get(source):
                self._values[source] = value
            for key in followers.get(source, ()):
                if key in self._missing:
                    self._missing[key] -= 1
                    self._advance(nodes[key], source, value)

    def _advance(self, node: Node, source: str, value: Any) -> None:
        if isinstance(node.body, First):
            self._choose(node)
        elif value is SKIPPED and source in node.required:
            self._skip(node, f"{source.partition(':')[0]!r} was skipped")
        elif node.conditions and not self._is_open(node, source):
            return
        elif not self._missing[node.key]:
            self._start(node)
        elif self._late:
            self._announce(node)

    def _is_open(self, node: Node, source: str) -> bool:
        """Whether the conditions that `source` completes hold; if not, the node is skipped or has failed."""
        for condition in node.conditions:
            sources = {edge.source for edge in condition.edges}
            if source not in sources or not sources <= self._values.keys():
                continue
            try:
                holds = decided(condition, self._values)
            except BesideError as error:
                self._start(node, failure=error)
                return False
            if not holds:
                self._skip(node, condition.told)
                return False
        return True

    def _choose(self, node: Node) -> None:
        for edge in node.edges:
            if edge.source not in self._values:
                return
            if self._values[edge.source] is not SKIPPED:
                self._start(node, arguments={edge.parameter: self._values[edge.source]})
                return
        self._skip(node, "all it could choose from was skipped")

    async def _receive(self, name: str) -> None:
        value = await self._run.mail.arrival((*self.path, name))
        del self._late[name]
        self.offer(name, value)

    def _announce_early(self) -> None:
        for key in [key for key in self._missing if self._late]:
            self._announce(self._wiring.nodes[key])

    def _announce(self, node: Node) -> None:
        """Tell which late inputs a node waits for, once it waits for nothing else."""
        waited = [source for source in node.sources if source in self._late]
        if len(waited) == self._missing[node.key]:
            for name in sorted(set(waited) - self._announced):
                self._announced.add(name)
                self._run.tell(InputAwaited, (*self.path, name), name=name)

    # what becomes of a node

    def _start(
        self, node: Node, *, arguments: dict[str, Any] | None = None, failure: Exception | None = None
    ) -> None:
        if arguments is None:
            arguments = {} if failure is not None else self._arguments(node)
        self._settle(node)
        self._begin(self._perform(node, arguments, failure), f"step {node.name}")

    def _begin(self, work: Any, name: str) -> asyncio.Task[None]:
        # each step sees the context variables of the run, not of the step that happened to finish before it
        return self.siblings.start(work, name=f"{name} of {self._plan.graph}", context=self._context.copy())

    def _skip(self, node: Node, reason: str) -> None:
        self._settle(node)
        if not (isinstance(node.body, First) and node.body.is_silent):
            path = (*self.path, node.name)
            self._run.tell(StepSkipped, path, step=node.name, reason=reason, error=None)
        self._arriving.extend((source, SKIPPED) for source in (node.key, *node.offers))

    def _settle(self, node: Node) -> None:
        """A node waits no more: what only it would still have read is dropped."""
        del self._missing[node.key]
        for source in node.sources:
            self._readers[source] -= 1
            if not self._readers[source]:
                self._values.pop(source, None)
                if source in self._late:
                    self._late.pop(source).cancel()

    def _arguments(self, node: Node) -> dict[str, Any]:
        arguments = {}
        for edge in node.edges:
            value = self._values[edge.source]
            if value is not SKIPPED:
                arguments[edge.parameter] = Text(value) if edge.wraps_text and type(value) is str else value
        return arguments

    async def _perform(self, node: Node, arguments: dict[str, Any], failure: Exception | None) -> None:
        try:
            outcome = await self._run.perform(self, node, (*self.path, node.name), arguments, failure)
        except StepError as error:
            self.siblings.failed(error)
            return
        if self.siblings.are_ending:
            return
        if outcome.value is SKIPPED:
            self._arriving.extend((source, SKIPPED) for source in (node.key, *node.offers))
        else:
            for source in node.offers:
                if source == unsure_of(node.name):
                    self._arriving.append((source, outcome.is_unsure))
                elif source == stream_of(node.name) and outcome.stream is not None:
                    self._arriving.append((source, outcome.stream))
            self._arriving.append((node.key, outcome.value))
        self._spread()


def decided(condition: Condition, values: Mapping[str, Any]) -> bool:
    """What a condition says of these values; false where it reads what was skipped and has no default.

    Raises:
        BesideError: its function raised something.
    """
    given: dict[str, Any] = {}
    for edge in condition.edges:
        value = values[edge.source]
        if value is SKIPPED:
            if not edge.has_default:
                return False
        else:
            given[edge.parameter] = value
    named = dict(given)
    positional = [named.pop(name) for name in condition.positional if name in named]
    return beside(condition.which, partial(condition.function, *positional, **named), given, bool)

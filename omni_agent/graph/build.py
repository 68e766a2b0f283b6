"""Building a graph: inputs, resources and steps are declared here, and checked and run elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar, overload

from omni_agent.errors import InputError
from omni_agent.graph.check import check
from omni_agent.graph.execution import Execution
from omni_agent.graph.log import EventLog
from omni_agent.graph.offer import accepted
from omni_agent.graph.options import RunOptions
from omni_agent.graph.plan import Plan
from omni_agent.graph.result import Result
from omni_agent.graph.run import Run
from omni_agent.graph.step import Step

__all__ = ["Graph"]

F = TypeVar("F", bound=Callable[..., Any])

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Graph:
    """Typed steps, joined by the names of their parameters.

    A parameter named like a step or an input reads it; a parameter typed as a resource is given it. Steps
    may be declared in any order. Nothing is checked before `check`, which runs on first use.

    Args:
        name: what errors and events call the graph.
        inputs: what a run is given, by name, with their types.
        resources: types of which a run is given one object each, beside `Core`, which needs no mention.

    Raises:
        InputError: the inputs are no mapping.
    """

    def __init__(
        self, name: str, *, inputs: Mapping[str, Any] = NOTHING, resources: Sequence[type] = ()
    ) -> None:
        if not isinstance(inputs, Mapping):
            raise InputError(
                f"the graph's inputs were {type(inputs).__name__}; wanted a mapping of names to types, as in"
                " {'question': Speech}"
            )
        self.name = name
        self.inputs: Mapping[str, Any] = MappingProxyType(dict(inputs))
        self.resources = tuple(resources)
        self._steps: list[Step] = []
        self._plan: Plan | None = None

    @overload
    def step(
        self, function: F, /, *, as_: str | None = None, reads: Mapping[str, str] = ..., output: bool = False
    ) -> F: ...
    @overload
    def step(
        self, /, *, as_: str | None = None, reads: Mapping[str, str] = ..., output: bool = False
    ) -> Callable[[F], F]: ...
    def step(
        self,
        function: F | None = None,
        /,
        *,
        as_: str | None = None,
        reads: Mapping[str, str] = NOTHING,
        output: bool = False,
    ) -> F | Callable[[F], F]:
        """Make a function a step, and return it unchanged. A decorator, with or without arguments.

        Args:
            function: sync or async, with every parameter and its return annotated. A sync one runs in a
                worker thread.
            as_: the step's name, if not the function's.
            reads: parameters that read a step or an input of another name.
            output: keep the step's value as a result of the run. Without any such mark the outputs are the
                steps nobody reads.
        """
        frame = sys._getframe(1)

        def declared(function: F) -> F:
            self._steps.append(
                Step(
                    name=as_ if as_ is not None else getattr(function, "__name__", ""),
                    function=function,
                    reads=reads,
                    output=output,
                    frame=frame,
                )
            )
            self._plan = None
            return function

        return declared if function is None else declared(function)

    def check(self) -> None:
        """Check names, types and order. Runs nothing.

        Raises:
            GraphError: with every fault there is.
        """
        self._checked()

    def start(self, /, *resources: object, options: RunOptions | None = None, **inputs: Any) -> Run:
        """A run to be entered with ``async with``: watch its events, await its result, leave it to cancel.

        Args:
            resources: one object for each resource the steps take, in any order: the core, ...
            options: how to run.
            inputs: the declared inputs.

        Raises:
            GraphError: the graph has faults.
            InputError: an input, a resource or a given value is missing, unknown or of the wrong type.
        """
        return self._run(resources, inputs, options, watched=True)

    async def run(self, /, *resources: object, options: RunOptions | None = None, **inputs: Any) -> Result:
        """Run all steps and return the outputs; the short form of `start`.

        Raises:
            GraphError: the graph has faults.
            InputError: an input, a resource or a given value is missing, unknown or of the wrong type.
            StepError: a step failed.
            RunTimedOut: the run took longer than its options allow.
        """
        # nobody can read this run's events, so none are kept
        async with self._run(resources, inputs, options, watched=False) as run:
            return await run.result()

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {', '.join(step.name for step in self._steps) or 'no steps'}>"

    def _checked(self) -> Plan:
        if self._plan is None:
            self._plan = check(self.name, self.inputs, self.resources, self._steps)
        return self._plan

    def _run(
        self,
        resources: tuple[object, ...],
        inputs: Mapping[str, Any],
        options: RunOptions | None,
        *,
        watched: bool,
    ) -> Run:
        plan = self._checked()
        chosen = options or RunOptions()
        offer = accepted(plan, resources, inputs, chosen.given)
        return Run(Execution(plan, offer, chosen, EventLog(kept=watched)), self._names_of)

    def _names_of(self, function: Callable[..., Any]) -> tuple[str, ...]:
        return tuple(step.name for step in self._steps if step.is_made_of(function))

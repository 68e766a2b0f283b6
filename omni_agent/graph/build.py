"""Building a graph: inputs, resources and steps are declared here, and checked and run elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeVar, Unpack, overload

from omni_agent.errors import Fault, GraphError, InputError
from omni_agent.graph.brief import brief
from omni_agent.graph.check import check
from omni_agent.graph.control import Control
from omni_agent.graph.declared import Choice, Declared, Repeat, Step
from omni_agent.graph.draw import Drawing
from omni_agent.graph.execution import Execution
from omni_agent.graph.log import EventLog
from omni_agent.graph.offer import accepted
from omni_agent.graph.options import RunOptions
from omni_agent.graph.plan import Plan
from omni_agent.graph.result import Result
from omni_agent.graph.run import Run

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
        late: what it is sent while it is under way, by name, with their types: see `Run.send`.
        resources: types of which a run is given one object each, beside `Core`, which needs no mention.
        version: what this state of the graph is called. A stored run refuses to go on with another one.

    Raises:
        InputError: the name is no text, the inputs are no mapping, or the resources no list.
    """

    def __init__(
        self,
        name: str,
        *,
        inputs: Mapping[str, Any] = NOTHING,
        late: Mapping[str, Any] = NOTHING,
        resources: Sequence[type] = (),
        version: str | int = "",
    ) -> None:
        for what, given in (("inputs", inputs), ("late inputs", late)):
            if not isinstance(given, Mapping):
                raise InputError(
                    f"the graph's {what} were {type(given).__name__}; wanted a mapping of names to types, as"
                    " in {'question': Speech}"
                )
        given_name: object = name
        if not isinstance(given_name, str):
            raise InputError(f"the graph's name was {brief(given_name)}; wanted a text")
        given_resources: object = resources
        if not isinstance(given_resources, list | tuple | set | frozenset):
            raise InputError(
                f"graph {name!r} was declared with resources {brief(given_resources)}; wanted a list of"
                " types, as in [Shop, Clock]"
            )
        self.name = name
        self.inputs: Mapping[str, Any] = MappingProxyType(dict(inputs))
        self.late: Mapping[str, Any] = MappingProxyType(dict(late))
        self.resources = tuple(resources)
        self.version = str(version)
        self._steps: list[Declared] = []
        self._plan: Plan | None = None
        self._graphs: list[Graph] = []
        self._checked_at: tuple[Any, ...] = ()
        self._is_checking = False
        self._is_stamping = False

    @overload
    def step(
        self,
        function: Graph,
        /,
        *,
        as_: str | None = None,
        reads: Mapping[str, str] = ...,
        output: bool | str = False,
        **control: Unpack[Control],
    ) -> Graph: ...
    @overload
    def step(
        self,
        function: F,
        /,
        *,
        as_: str | None = None,
        reads: Mapping[str, str] = ...,
        output: bool = False,
        **control: Unpack[Control],
    ) -> F: ...
    @overload
    def step(
        self,
        /,
        *,
        as_: str | None = None,
        reads: Mapping[str, str] = ...,
        output: bool = False,
        **control: Unpack[Control],
    ) -> Callable[[F], F]: ...
    def step(
        self,
        function: Any = None,
        /,
        *,
        as_: str | None = None,
        reads: Mapping[str, str] = NOTHING,
        output: bool | str = False,
        **control: Unpack[Control],
    ) -> Any:
        """Make a function a step, and return it unchanged. A decorator, with or without arguments.

        Args:
            function: sync or async, with every parameter and its return annotated. A sync one runs in a
                worker thread; an async generator yields chunks, which others can read as a `Stream`. Or
                another graph: its inputs are the parameters.
            as_: the step's name, if not the function's.
            reads: parameters that read a step or an input of another name.
            output: keep the step's value as a result of the run. Without any such mark the outputs are the
                steps nobody reads. Of a graph, the name of the step inside whose value is taken.
            control: see `Control`: `when`, `map`, `width`, `on_error`, `retries`, `backoff`, `timeout`,
                `unsure`, `join`, `version`.
        """
        frame = sys._getframe(1)

        def declared(function: Any) -> Any:
            self._declare(
                Step(
                    name=_name_of(function, as_),
                    function=function,
                    reads=reads,
                    output=output,
                    control=control,
                    frame=frame,
                )
            )
            return function

        return declared if function is None else declared(function)

    def first_of(self, name: str, /, *steps: str | Callable[..., Any], output: bool = False) -> None:
        """A step whose value is that of the first of `steps`, in this order, that is not skipped.

        Never a race: a step that is done waits for those before it.

        Args:
            name: of the new step.
            steps: functions that are steps, or names.
            output: keep the value as a result of the run.
        """
        self._declare(Choice(name=_name_of(None, name), of=steps, output=output, frame=sys._getframe(1)))

    def loop(
        self,
        function: Callable[..., Any] | Graph,
        /,
        *,
        as_: str | None = None,
        reads: Mapping[str, str] = NOTHING,
        carry: Mapping[str, str],
        until: Callable[..., Any],
        max_rounds: int,
        on_bound: Literal["raise", "last"] = "raise",
        output: bool | str = False,
        version: str | int = "",
    ) -> None:
        """A step that runs a function or a graph again and again, until a condition holds.

        Args:
            function: what runs each round. Its parameters, or a graph's inputs, are edges in the first round.
            as_: the step's name, if not the function's.
            reads: parameters that read a step or an input of another name.
            carry: parameters that take, from the second round on, what a step inside came to in the round
                before. A function is itself the only step inside, by its name. Of an empty mapping each round
                begins as the first one: for those that wait for late inputs, or look at something outside.
            until: a plain function of steps and inputs inside, by its parameters' names.
            max_rounds: rounds at most, 1 or more.
            on_bound: whether to fail with `LoopExhausted` after them, or to take the last round's value.
            output: keep the value as a result of the run; of a graph, the name of the step inside whose
                value is taken.
            version: see `Control`.
        """
        self._declare(
            Step(
                name=_name_of(function, as_),
                function=function,
                reads=reads,
                output=output,
                control={"version": version},
                frame=sys._getframe(1),
                repeat=Repeat(carry=carry, until=until, max_rounds=max_rounds, on_bound=on_bound),
            )
        )

    def check(self) -> None:
        """Check names, types and order. Runs nothing.

        Raises:
            GraphError: with every fault there is.
        """
        self.plan()

    def plan(self) -> Plan:
        """What a run follows: the graph, checked.

        Raises:
            GraphError: with every fault there is.
        """
        stamp = self._stamp()
        if self._plan is None or stamp != self._checked_at:
            if self._is_checking:
                fault = Fault(
                    subject="the graph",
                    given="it is a step of itself",
                    wanted="another graph",
                    mend="Use graph.loop(...) to repeat it.",
                )
                raise GraphError(self.name, (fault,))
            self._is_checking = True
            try:
                self._plan = check(
                    self.name,
                    version=self.version,
                    inputs=self.inputs,
                    late=self.late,
                    resources=self.resources,
                    steps=self._steps,
                )
            finally:
                self._is_checking = False
            self._checked_at = stamp
        return self._plan

    def draw(self, run: Run | None = None) -> Drawing:
        """The graph as a drawing, which notebooks show: Mermaid text and SVG, with types on the lines.

        Args:
            run: a run of this graph; how far its steps have come is shown in colours.

        Raises:
            GraphError: the graph has faults.
            InputError: what was given is no run.
        """
        given: object = run
        if given is not None and not isinstance(given, Run):
            raise InputError(f"run was {brief(given)}; wanted a run of this graph, or none")
        return Drawing(self.plan(), {} if run is None else run.states)

    def start(self, /, *resources: object, options: RunOptions | None = None, **inputs: Any) -> Run:
        """A run to be entered with ``async with``: watch its events, await its result, leave it to cancel.

        Args:
            resources: one object for each resource the steps take, in any order: the core, ...
            options: how to run.
            inputs: the declared inputs; late ones may be given as well.

        Raises:
            GraphError: the graph has faults.
            InputError: an input, a resource or a given value is missing, unknown or of the wrong type.
        """
        return self._run(resources, inputs, options, watched=True)

    async def run(self, /, *resources: object, options: RunOptions | None = None, **inputs: Any) -> Result:
        """Run all steps and return the outputs; the short form of `start`.

        Raises:
            GraphError: the graph has faults.
            InputError: an input, a resource or a given value is missing, unknown or of the wrong type; also a
                late one, as nobody could send it.
            StepError: a step failed.
            RunTimedOut: the run took longer than its options allow.
        """
        # nobody can read this run's events, so none are kept
        async with self._run(resources, inputs, options, watched=False) as run:
            return await run.result()

    def holds(self, other: Graph) -> bool:
        """Whether another graph is a step of this one, or of a graph in it."""
        return any(each is other or each.holds(other) for each in self._graphs if each is not self)

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {', '.join(step.name for step in self._steps) or 'no steps'}>"

    def _declare(self, step: Declared) -> None:
        self._steps.append(step)
        if isinstance(step, Step) and isinstance(step.function, Graph):
            self._graphs.append(step.function)

    def _stamp(self) -> tuple[Any, ...]:
        """Changes with every step that is declared here or in a graph inside."""
        if self._is_stamping:  # it is a step of itself, which is a fault
            return ()
        self._is_stamping = True
        try:
            return (len(self._steps), *(each._stamp() for each in self._graphs))
        finally:
            self._is_stamping = False

    def _run(
        self,
        resources: tuple[object, ...],
        inputs: Mapping[str, Any],
        options: RunOptions | None,
        *,
        watched: bool,
    ) -> Run:
        plan = self.plan()
        given: object = options
        if given is not None and not isinstance(given, RunOptions):
            raise InputError(
                f"options were {brief(given)}; wanted RunOptions(...), as in options=RunOptions(limit=3)"
            )
        chosen = options or RunOptions()
        offer = accepted(plan, resources, inputs, chosen.given)
        keeper = None
        if chosen.store is not None:
            # it needs the database's library, which only those who store runs have
            from omni_agent.graph.durable import DurableRun

            keeper = DurableRun(plan, offer, chosen)
        log = EventLog(kept=watched)
        execution = Execution(plan, offer, chosen, log, keeper=keeper, may_wait=watched)
        return Run(execution, self._names_of)

    def _names_of(self, function: Callable[..., Any]) -> tuple[str, ...]:
        return tuple(step.name for step in self._steps if step.is_made_of(function))


def _name_of(function: Callable[..., Any] | Graph | None, given: object) -> str:
    """What a step is called: what was given, or the name of its function."""
    if given is not None:
        return given if isinstance(given, str) else brief(given)  # which is no name, and so a fault
    name: str = function.name if isinstance(function, Graph) else getattr(function, "__name__", "")
    return name

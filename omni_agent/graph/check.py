"""Checking a graph: every fault at once, before anything runs."""

from __future__ import annotations

import keyword
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from inspect import isclass
from typing import Any

from omni_agent.core import Core
from omni_agent.errors import Fault, GraphError
from omni_agent.graph.names import listed, nearest
from omni_agent.graph.plan import Edge, Plan, PlannedStep
from omni_agent.graph.signature import MISSING, Parameter, Unresolved
from omni_agent.graph.step import Step
from omni_agent.graph.types import assignable, is_checkable, name_of, wants_text

__all__ = ["check"]

RESERVED = "options"


def check(name: str, inputs: Mapping[str, Any], resources: Sequence[type], steps: Sequence[Step]) -> Plan:
    """Turn declarations into a plan.

    Raises:
        GraphError: with every fault of names, types and order.
    """
    return _Check(name, inputs, resources, steps).plan()


class _Check:
    """One check: collects faults while it builds the plan's parts."""

    def __init__(
        self, name: str, inputs: Mapping[str, Any], resources: Sequence[type], steps: Sequence[Step]
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.resources = (*(each for each in resources if each is not Core), Core)
        self.steps = {step.name: step for step in steps if _has_signature(step)}
        self.known = [*(step.name for step in steps), *inputs]
        self.faults: list[Fault] = []
        self.declared = steps

    def plan(self) -> Plan:
        self.check_declarations()
        edges = {step.name: tuple(self.edges(step)) for step in self.steps.values()}
        for step in self.steps.values():
            self.check_return(step)
        reads = {name: [edge.source for edge in found] for name, found in edges.items()}
        order = self.order(reads)
        if self.faults:
            raise GraphError(self.name, tuple(self.faults))

        marked = {step.name for step in self.steps.values() if step.output}
        outputs = marked or set(self.steps) - {source for each in reads.values() for source in each}
        return Plan(
            graph=self.name,
            inputs=self.inputs,
            resources=self.resources,
            steps={
                name: self.planned(self.steps[name], edges[name], name in outputs)
                for name in order
                if name in self.steps
            },
        )

    def planned(self, step: Step, edges: tuple[Edge, ...], is_output: bool) -> PlannedStep:
        read = {edge.parameter for edge in edges}
        parameters = step.signature.parameters
        matched = {each.name: self.resource(each.hint) for each in parameters if each.name not in read}
        return PlannedStep(
            name=step.name,
            function=step.function,
            edges=edges,
            resources={name: kind for name, kind in matched.items() if kind is not None},
            positional=tuple(each.name for each in parameters if each.positional_only),
            returns=step.signature.returns,
            is_async=step.signature.is_async,
            is_output=is_output,
        )

    # names

    def check_declarations(self) -> None:
        if not self.declared:
            self.fault(
                "the graph", "it has no steps", "at least one", "Decorate a function with @graph.step."
            )
        for name, hint in self.inputs.items():
            subject = f"input {name!r}"
            if not _is_name(name) or name == RESERVED:
                why = "reserved for run options" if name == RESERVED else "not a name a parameter can have"
                self.fault(subject, f"the name is {why}", "an identifier", "Give it another name.")
            if not is_checkable(hint):
                self.fault(subject, f"its type is {hint!r}", "a type", "Declare it as inputs={'name': Type}.")
        for kind in self.resources:
            if not _is_resource(kind):
                self.fault(
                    f"resource {name_of(kind)}",
                    "isinstance() does not work with it",
                    "a class, or a protocol marked @runtime_checkable",
                    "Declare the class of the object that the run is given.",
                )
        for step in self.declared:
            self.check_declaration(step)
        for name, count in Counter(self.known).items():
            if count > 1:
                places = tuple(step.place for step in self.declared if step.name == name)
                self.fault(
                    f"name {name!r}",
                    f"{count} steps or inputs have it",
                    "one",
                    "Name a step otherwise: graph.step(function, as_='...').",
                    *places,
                )

    def check_declaration(self, step: Step) -> None:
        subject = f"step {step.name!r}"
        if not _is_name(step.name):
            self.fault(
                subject,
                "the name is not one a parameter can have",
                "an identifier",
                "Name it: graph.step(function, as_='...').",
                step.place,
            )
        if not _has_signature(step):
            self.fault(
                subject,
                f"{type(step.function).__name__} has no signature to read",
                "a function",
                "Write a function with annotations that calls it.",
                step.place,
            )
            return
        if step.signature.is_generator:
            self.fault(
                subject,
                "its function is a generator",
                "a function that returns its value",
                "Return a list; steps that yield are not part of this version.",
                step.place,
            )
        parameters = [each.name for each in step.signature.parameters]
        for parameter in step.reads:
            if parameter not in parameters:
                self.fault(
                    f"{subject}, reads={{{parameter!r}: ...}}",
                    "its function has no such parameter",
                    f"one of {listed(parameters)}",
                    nearest(parameter, parameters) or "Take it out of reads.",
                    step.place,
                )

    # edges

    def edges(self, step: Step) -> Iterator[Edge]:
        for parameter in step.signature.parameters:
            subject = f"step {step.name!r}, parameter {parameter.name!r}"
            if parameter.variadic:
                self.fault(
                    subject,
                    "it takes any number of arguments",
                    "parameters with names",
                    "Name each one, since names are edges.",
                    step.place,
                )
                continue
            resolved = self.check_hint(step, subject, parameter.hint)
            source = step.source(parameter.name)
            if source in self.known:
                if resolved:
                    self.check_types(step, parameter, source)
                yield Edge(
                    parameter=parameter.name,
                    source=source,
                    wraps_text=resolved and wants_text(parameter.hint),
                )
            elif not resolved:
                # it may be meant for a resource: only a near name makes a second fault likely
                if nearest(source, self.known):
                    self.fault_unknown(step, parameter, source)
            elif parameter.name in step.reads or self.resource(parameter.hint) is None:
                self.fault_unknown(step, parameter, source)

    def check_hint(self, step: Step, subject: str, hint: Any) -> bool:
        """Whether an annotation is a type; faults it otherwise."""
        if hint is MISSING:
            self.fault(subject, "it has no annotation", "a type", "Annotate it.", step.place)
        elif isinstance(hint, Unresolved):
            self.fault(
                subject,
                f"the annotation {hint.text!r} cannot be resolved ({hint.reason})",
                "a type known where the step is declared",
                "Import it at run time, outside `if TYPE_CHECKING`, or define it before the graph is used.",
                step.place,
            )
        elif not is_checkable(hint):
            self.fault(
                subject,
                f"values cannot be held against {name_of(hint)}",
                "a type that isinstance() or beartype can check",
                "Annotate it otherwise.",
                step.place,
            )
        else:
            return True
        return False

    def check_types(self, step: Step, parameter: Parameter, source: str) -> None:
        if source in self.inputs:
            given, places = self.inputs[source], [step.place]
            called = f"input {source!r} is"
        else:
            producer = next(each for each in self.declared if each.name == source)
            if producer.name not in self.steps:
                return
            given, places = producer.signature.returns, [step.place, producer.place]
            called = f"step {source!r} returns"
        if given is MISSING or isinstance(given, Unresolved) or not is_checkable(given):
            return
        if not assignable(given, parameter.hint):
            self.fault(
                f"step {step.name!r}, parameter {parameter.name!r}",
                f"{called} {name_of(given)}",
                name_of(parameter.hint),
                "Change one of the two annotations, or put a step between them.",
                *places,
            )

    def check_return(self, step: Step) -> None:
        self.check_hint(step, f"step {step.name!r}, return", step.signature.returns)

    def fault_unknown(self, step: Step, parameter: Parameter, source: str) -> None:
        kinds = listed(name_of(each) for each in self.resources).replace("'", "")
        known = [name for name in self.known if name != step.name]
        self.fault(
            f"step {step.name!r}, parameter {parameter.name!r}",
            f"there is no step or input {source!r}",
            f"one of {listed(known)}, or a resource ({kinds})",
            nearest(source, known)
            or f"Add inputs={{{source!r}: ...}} or a step, or bind it with functools.partial.",
            step.place,
        )

    def resource(self, hint: Any) -> type | None:
        """The declared resource that a parameter of this type is given."""
        return next((kind for kind in self.resources if kind is hint), None)

    # order

    def order(self, reads: Mapping[str, Sequence[str]]) -> list[str]:
        """The steps so that each comes after what it reads; faults every cycle."""
        left = {name: list(sources) for name, sources in reads.items()}
        while True:
            try:
                return list(TopologicalSorter(left).static_order())
            except CycleError as error:
                cycle: list[str] = error.args[1]
            # graphlib lists a cycle from the step that is read to the one that reads it
            cycle.reverse()
            self.fault(
                f"steps {' -> '.join(map(repr, cycle))}",
                "each reads the next, round in a circle",
                "an order in which steps can run",
                "Remove one of the parameters.",
                *(self.steps[name].place for name in cycle[:-1]),
            )
            # one fault for each cycle: break this one and look for more
            left[cycle[0]] = [source for source in left[cycle[0]] if source != cycle[1]]

    def fault(self, subject: str, given: str, wanted: str, mend: str, *places: str) -> None:
        self.faults.append(Fault(subject=subject, given=given, wanted=wanted, mend=mend, places=places))


def _has_signature(step: Step) -> bool:
    try:
        return bool(step.signature)
    except (TypeError, ValueError):
        return False


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def _is_resource(kind: object) -> bool:
    if not isclass(kind):
        return False
    try:
        isinstance(None, kind)
    except TypeError:
        return False
    return True

"""Checking a graph: every fault at once, before anything runs.

Here are the names and the order; `checked_step` holds one step against what it reads, `checked_control`
against what it is told to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from inspect import isclass
from typing import Any

from omni_agent.core import Core
from omni_agent.errors import GraphError
from omni_agent.graph.checked_choice import checked_choice
from omni_agent.graph.checked_step import CheckedStep
from omni_agent.graph.context import StepContext
from omni_agent.graph.declared import Choice, Declared, Step
from omni_agent.graph.faults import Faults, is_name
from omni_agent.graph.known import Known
from omni_agent.graph.plan import Condition, Edge, First, Node, Plan, own, unsure_of
from omni_agent.graph.types import CHECKABLE, is_checkable, mend_of, name_of

__all__ = ["check"]

RESERVED = "options"
BUILT_IN = (Core, StepContext)


def check(
    name: str,
    *,
    version: str = "",
    inputs: Mapping[str, Any],
    late: Mapping[str, Any],
    resources: Sequence[type],
    steps: Sequence[Declared],
) -> Plan:
    """Turn declarations into a plan.

    Raises:
        GraphError: with every fault of names, types, control and order.
    """
    faults = Faults()
    kinds = (*(each for each in resources if each not in BUILT_IN), *BUILT_IN)
    _check_graph(faults, inputs, late, kinds, steps)
    known = Known(inputs=inputs, late=late, resources=kinds, faults=faults)
    checked = {}
    for step in steps:
        if isinstance(step, Step):
            each = CheckedStep(step, known)
            if each.is_readable:
                checked[step.name] = each
                known.steps.setdefault(step.name, each)
        else:
            known.choices.setdefault(step.name, step)
    known.names = Counter([*(step.name for step in steps), *inputs, *late])
    _check_names(faults, known.names, steps)

    nodes: dict[str, Node] = {}
    for step in steps:
        if isinstance(step, Choice):
            nodes[step.name] = checked_choice(step, known)
        elif step.name in checked:
            nodes[step.name] = checked[step.name].node()
    for each in checked.values():
        each.check_return()
    nodes = _with_stand_ins(nodes, checked)
    order = _order(faults, nodes, steps)
    if faults.found:
        raise GraphError(name, tuple(faults.found))

    marked = {key for key, node in nodes.items() if node.is_output}
    producers = _producers(nodes)
    read = {producers.get(source) for node in nodes.values() for source in node.sources}
    outputs = marked or set(nodes) - read
    inner = (kind for each in checked.values() for kind in each.inner_resources)
    return Plan(
        graph=name,
        version=version,
        inputs=inputs,
        late=late,
        resources=tuple(dict.fromkeys((*kinds, *inner))),
        nodes={key: replace(nodes[key], is_output=key in outputs) for key in order},
    )


def _check_graph(
    faults: Faults,
    inputs: Mapping[str, Any],
    late: Mapping[str, Any],
    kinds: Sequence[type],
    steps: Sequence[Declared],
) -> None:
    if not steps:
        faults.add("the graph", "it has no steps", "at least one", "Decorate a function with @graph.step.")
    for what, declared in (("input", inputs), ("late input", late)):
        for name, hint in declared.items():
            subject = f"{what} {name!r}"
            if not is_name(name) or name == RESERVED:
                why = "reserved for run options" if name == RESERVED else "not a name a parameter can have"
                faults.add(subject, f"the name is {why}", "an identifier", "Give it another name.")
            if not is_checkable(hint):
                mend = mend_of(hint) or "Declare it as inputs={'name': Type}."
                faults.add(subject, f"its type is {hint!r}", CHECKABLE if mend_of(hint) else "a type", mend)
    for kind in kinds:
        if not _is_resource(kind):
            faults.add(
                f"resource {name_of(kind)}",
                "isinstance() does not work with it",
                "a class, or a protocol marked @runtime_checkable",
                "Declare the class of the object that the run is given.",
            )


def _check_names(faults: Faults, names: Mapping[str, int], steps: Sequence[Declared]) -> None:
    for name, count in names.items():
        if count > 1:
            places = tuple(step.place for step in steps if step.name == name)
            faults.add(
                f"name {name!r}",
                f"{count} steps or inputs have it",
                "one",
                "Name a step otherwise: graph.step(function, as_='...').",
                *places,
            )


def _with_stand_ins(nodes: Mapping[str, Node], checked: Mapping[str, CheckedStep]) -> dict[str, Node]:
    """A step with a stand-in for when it is unsure becomes two nodes: itself, and the choice of the two.

    The stand-in alone reads the step itself, and is skipped unless the step says that it is unsure.
    """
    changed = dict(nodes)
    for name, step in checked.items():
        stand_in = step.stand_in
        if stand_in is None or stand_in not in changed:
            continue
        self_ = own(name)
        node = changed[name]
        changed[self_] = replace(node, key=self_, is_output=False, offers=(*node.offers, unsure_of(name)))
        changed[name] = replace(
            node,
            edges=(
                Edge(parameter="stand_in", source=stand_in, has_default=True),
                Edge(parameter="own", source=self_, has_default=True),
            ),
            conditions=(),
            each=None,
            timeout=None,
            body=First(is_silent=True),
            offers=(),
        )
        gate = Condition(
            function=bool,
            edges=(Edge(parameter="", source=unsure_of(name)),),
            which="when",
            positional=("",),
            told=f"{name!r} was not unsure",
        )
        taker = changed[stand_in]
        changed[stand_in] = replace(
            taker,
            edges=tuple(replace(edge, source=self_) if edge.source == name else edge for edge in taker.edges),
            conditions=(gate, *taker.conditions),
        )
    return changed


def _order(faults: Faults, nodes: Mapping[str, Node], steps: Sequence[Declared]) -> list[str]:
    """The nodes so that each comes after what it reads; faults every cycle."""
    producers = _producers(nodes)
    left = {
        key: [producers[source] for source in sorted(node.sources) if source in producers]
        for key, node in nodes.items()
    }
    while True:
        try:
            return list(TopologicalSorter(left).static_order())
        except CycleError as error:
            cycle: list[str] = error.args[1]
        # graphlib lists a cycle from the step that is read to the one that reads it
        cycle.reverse()
        shown = [nodes[key].name for key in cycle]
        faults.add(
            f"steps {' -> '.join(map(repr, shown))}",
            "each reads the next, round in a circle",
            "an order in which steps can run",
            "Remove one of the parameters.",
            *dict.fromkeys(nodes[key].place for key in cycle[:-1]),
        )
        # one fault for each cycle: break this one and look for more
        left[cycle[0]] = [source for source in left[cycle[0]] if source != cycle[1]]


def _producers(nodes: Mapping[str, Node]) -> dict[str, str]:
    return {source: key for key, node in nodes.items() for source in (key, *node.offers)}


def _is_resource(kind: object) -> bool:
    if not isclass(kind):
        return False
    try:
        isinstance(None, kind)
    except TypeError:
        return False
    return True

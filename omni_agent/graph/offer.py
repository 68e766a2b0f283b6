"""What a run is given, held against what its graph wants. All of it is checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.brief import brief
from omni_agent.graph.context import StepContext
from omni_agent.graph.names import listed, nearest
from omni_agent.graph.plan import Call, Nested, Node, Plan, Rounds, stream_of
from omni_agent.graph.stream import Stream
from omni_agent.graph.types import conforms, name_of, wrapped

__all__ = ["Offer", "accepted"]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a run starts from."""

    values: Mapping[str, Any]
    """Of the inputs and of the steps whose values were given, by source."""
    resources: Mapping[type, object]


def accepted(
    plan: Plan, resources: tuple[object, ...], inputs: Mapping[str, Any], given: Mapping[str, Any]
) -> Offer:
    """Check what a run is given.

    Raises:
        InputError: something is unknown, of the wrong type, given twice or missing.
    """
    returns = {key: node.returns for key, node in plan.nodes.items() if ":" not in key}
    values = {
        **_values(plan, "input", inputs, {**plan.inputs, **plan.late}),
        **_values(plan, "given step", given, returns),
        **_beside(plan, given),
    }
    wiring = plan.wiring(given)
    read = wiring.readers.keys() - given.keys()
    missing = [name for name in plan.inputs if name in read and name not in values]
    if missing:
        wanted = ", ".join(f"{name}: {name_of(plan.inputs[name])}" for name in missing)
        raise InputError(f"graph {plan.graph!r} was run without {wanted}: pass it by name")
    return Offer(values=values, resources=_resources(plan, resources, wiring.nodes.values()))


def _beside(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """What given steps offer beside their values, where others read it."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        node = plan.nodes[name]
        if any(edge.source.endswith(":unsure") for each in node.conditions for edge in each.edges):
            raise InputError(
                f"given step {name!r} stands in for another where that is unsure: give that one instead"
            )
        if stream_of(name) in node.offers:
            values[stream_of(name)] = Stream(value if isinstance(value, list) else [value])
    return values


def _values(plan: Plan, what: str, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        if name not in wanted:
            has = listed(wanted, none="none")
            raise InputError(
                f"{what} {name!r} is not part of graph {plan.graph!r}, which has {has}."
                f" {nearest(name, wanted)}".rstrip()
            )
        values[name] = wrapped(value, wanted[name])
        if not conforms(values[name], wanted[name]):
            raise InputError(
                f"{what} {name!r} of graph {plan.graph!r} was {brief(value)} ({type(value).__name__});"
                f" wanted {name_of(wanted[name])}"
            )
    return values


def _resources(plan: Plan, given: tuple[object, ...], nodes: Iterable[Node]) -> dict[type, object]:
    matched: dict[type, object] = {}
    for each in given:
        kinds = [kind for kind in plan.resources if isinstance(each, kind)]
        if not kinds:
            raise InputError(
                f"{brief(each)} is no resource of graph {plan.graph!r}, which takes"
                f" {_named(plan.resources)}; inputs are passed by name"
            )
        for kind in kinds:
            if kind in matched:
                raise InputError(
                    f"graph {plan.graph!r} was given two objects for {name_of(kind)}; wanted one"
                )
            matched[kind] = each
    wanted = dict(_wanted(nodes))
    for kind, step in wanted.items():
        if kind not in matched:
            raise InputError(
                f"graph {plan.graph!r} was run without {name_of(kind)}, which step {step!r} takes:"
                " pass it in front of the inputs"
            )
    return matched


def _named(kinds: tuple[type, ...]) -> str:
    return ", ".join(name_of(kind) for kind in kinds if kind is not StepContext)


def _wanted(nodes: Iterable[Node]) -> Iterator[tuple[type, str]]:
    """What the steps of a run take, also those of the graphs inside."""
    for node in nodes:
        if isinstance(node.body, Call):
            yield from ((kind, node.name) for kind in node.body.resources.values() if kind is not StepContext)
        elif isinstance(node.body, Nested | Rounds):
            yield from _wanted(node.body.plan.wiring().nodes.values())

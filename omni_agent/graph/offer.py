"""What a run is given, held against what its graph wants. All of it is checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.brief import brief
from omni_agent.graph.names import listed, nearest
from omni_agent.graph.plan import Plan
from omni_agent.graph.types import conforms, name_of, wrapped

__all__ = ["Offer", "accepted"]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a run starts from."""

    values: Mapping[str, Any]
    """Of the inputs and of the steps whose values were given."""
    resources: Mapping[type, object]
    needed: frozenset[str]
    """The steps to run, and the inputs they read."""


def accepted(
    plan: Plan, resources: tuple[object, ...], inputs: Mapping[str, Any], given: Mapping[str, Any]
) -> Offer:
    """Check what a run is given.

    Raises:
        InputError: something is unknown, of the wrong type, given twice or missing.
    """
    needed = plan.needed(given)
    values = {
        **_values(plan, "input", inputs, plan.inputs),
        **_values(plan, "given step", given, {name: step.returns for name, step in plan.steps.items()}),
    }
    missing = [name for name in plan.inputs if name in needed and name not in values]
    if missing:
        wanted = ", ".join(f"{name}: {name_of(plan.inputs[name])}" for name in missing)
        raise InputError(f"graph {plan.graph!r} was run without {wanted}: pass it by name")
    return Offer(values=values, resources=_resources(plan, resources, needed), needed=needed)


def _values(plan: Plan, what: str, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        if name not in wanted:
            raise InputError(
                f"{what} {name!r} is not part of graph {plan.graph!r}, which has {listed(wanted)}."
                f" {nearest(name, wanted)}".rstrip()
            )
        values[name] = wrapped(value, wanted[name])
        if not conforms(values[name], wanted[name]):
            raise InputError(
                f"{what} {name!r} of graph {plan.graph!r} was {brief(value)} ({type(value).__name__});"
                f" wanted {name_of(wanted[name])}"
            )
    return values


def _resources(plan: Plan, given: tuple[object, ...], needed: frozenset[str]) -> dict[type, object]:
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
    wanted = {
        kind: step.name
        for step in plan.steps.values()
        if step.name in needed
        for kind in step.resources.values()
    }
    for kind, step in wanted.items():
        if kind not in matched:
            raise InputError(
                f"graph {plan.graph!r} was run without {name_of(kind)}, which step {step!r} takes:"
                " pass it in front of the inputs"
            )
    return matched


def _named(kinds: tuple[type, ...]) -> str:
    return ", ".join(name_of(kind) for kind in kinds)

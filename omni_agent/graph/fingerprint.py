"""What a resumed run must find unchanged in its graph: names, types, control, versions. No source text."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from omni_agent.graph.plan import Call, Condition, Edge, First, Nested, Node, Plan, Rounds
from omni_agent.graph.types import name_of

__all__ = ["fingerprint", "stale"]

INPUTS = ":inputs"
VERSION = ":version"
"""No step's name has a colon in front."""


def fingerprint(plan: Plan) -> dict[str, str]:
    """For each step, and for what belongs to no step, a hash that changes when it does."""
    whole = {INPUTS: [_types(plan.inputs), _types(plan.late)], VERSION: plan.version}
    return {key: _hash(told) for key, told in (whole | {k: _node(n) for k, n in plan.nodes.items()}).items()}


def stale(plan: Plan, changed: Collection[str]) -> frozenset[str]:
    """The steps whose values do not hold any more: what changed, is gone, or reads what changed."""
    names = {key.partition(":")[0] for key in changed if not key.startswith(":")}
    if INPUTS in changed or VERSION in changed:
        return frozenset(names.union(node.name for node in plan.nodes.values()))
    sources = {offer for key in changed if key in plan.nodes for offer in _offers(plan.nodes[key])}
    for node in plan.nodes.values():  # in an order in which each comes after what it reads
        if node.sources & sources:
            sources.update(_offers(node))
            names.add(node.name)
    return frozenset(names)


def _offers(node: Node) -> tuple[str, ...]:
    return (node.key, *node.offers)


def _node(node: Node) -> list[Any]:
    each = node.each
    return [
        node.name,
        node.version,
        name_of(node.returns),
        _edges(node.edges),
        [_condition(condition) for condition in node.conditions],
        None if each is None else [sorted(each.parameters), each.width, each.on_error],
        node.timeout,
        node.is_output,
        _body(node),
    ]


def _body(node: Node) -> list[Any]:
    body = node.body
    if isinstance(body, Call):
        unsure = body.unsure
        return [
            "call",
            name_of(body.returns),
            sorted((name, name_of(kind)) for name, kind in body.resources.items()),
            body.yields,
            body.join is not None,
            body.retries,
            body.backoff,
            None if unsure is None else [unsure.below, unsure.retry, unsure.then],
        ]
    if isinstance(body, First):
        return ["first"]
    inner = [fingerprint(body.plan), body.output]
    if isinstance(body, Nested):
        return ["graph", *inner]
    assert isinstance(body, Rounds)
    carry, until = sorted(body.carry.items()), _condition(body.until)
    return ["rounds", *inner, carry, until, body.max_rounds, body.on_bound]


def _condition(condition: Condition) -> Any:
    return _edges(condition.edges)


def _edges(edges: tuple[Edge, ...]) -> list[Any]:
    return [[edge.parameter, edge.source, edge.has_default] for edge in edges]


def _types(hints: Mapping[str, Any]) -> list[Any]:
    return sorted((name, name_of(hint)) for name, hint in hints.items())


def _hash(told: object) -> str:
    return sha256(json.dumps(told).encode()).hexdigest()[:32]

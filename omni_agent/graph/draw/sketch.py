"""What there is to draw of a plan: shapes, and the lines between them. Knows no coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from omni_agent.graph.plan import Call, First, Nested, Node, Plan, Rounds, own, stream_of, unsure_of
from omni_agent.graph.types import name_of

__all__ = ["Line", "LineKind", "Shape", "ShapeKind", "Sketch", "sketch_of"]

ShapeKind: TypeAlias = Literal["input", "late", "step", "choice", "box"]
LineKind: TypeAlias = Literal["value", "stream", "condition"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One input, step, choice, or graph inside."""

    key: str
    """Unique in its sketch."""
    path: tuple[str, ...]
    """The steps it stands in and its own name, without indices and rounds."""
    label: str
    details: tuple[str, ...] = ()
    """What is special about it, in a few words each."""
    kind: ShapeKind
    is_output: bool = False
    is_many: bool = False
    """Whether it runs once for each item of a list."""
    inside: Sketch | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A value that goes from one shape to another."""

    source: str
    target: str
    label: str
    """The type of the value."""
    kind: LineKind


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """The shapes of one graph, in an order in which they could run, and its lines."""

    title: str
    shapes: tuple[Shape, ...]
    lines: tuple[Line, ...]


def sketch_of(plan: Plan, path: tuple[str, ...] = (), carry: dict[str, str] | None = None) -> Sketch:
    """What there is to draw of a plan.

    Args:
        plan: the checked graph.
        path: the steps it stands in.
        carry: in a loop, which inputs take which steps of the round before.
    """
    read = {source for node in plan.nodes.values() for source in node.sources}
    carried = carry or {}
    shapes = [
        Shape(
            key=name,
            path=(*path, name),
            label=name,
            details=(f"then {carried[name]}",) if name in carried else (),
            kind="late" if name in plan.late else "input",
        )
        for name in (*plan.inputs, *plan.late)
        if name in read
    ]
    shapes += [_shape(node, path) for node in plan.nodes.values()]
    return Sketch(title=plan.graph, shapes=tuple(shapes), lines=tuple(dict.fromkeys(_lines(plan))))


def _shape(node: Node, path: tuple[str, ...]) -> Shape:
    body, here = node.body, (*path, node.name)
    inside = None
    details = [*_control(node)]
    if isinstance(body, Nested):
        inside = sketch_of(body.plan, here)
    elif isinstance(body, Rounds):
        inside = sketch_of(body.plan, here, dict(body.carry))
        until = ", ".join(edge.parameter for edge in body.until.edges)
        details.append(f"until {until}" if until else "until told")
        details.append(f"at most {body.max_rounds} rounds")
    return Shape(
        key=node.key,
        path=here,
        label=node.name,
        details=tuple(details),
        kind="box" if inside else "choice" if isinstance(body, First) else "step",
        is_output=node.is_output,
        is_many=node.each is not None,
        inside=inside,
    )


def _control(node: Node) -> Iterator[str]:
    body = node.body
    if isinstance(body, First):
        yield "if sure" if body.is_silent else "first of"
    if node.each is not None:
        width = "" if node.each.width is None else f", {node.each.width} at once"
        yield f"each of {', '.join(node.each.parameters)}{width}"
    if isinstance(body, Call):
        if body.yields:
            yield "yields"
        if body.retries:
            yield f"{body.retries} {'retry' if body.retries == 1 else 'retries'}"
        if body.unsure is not None:
            yield f"sure from {body.unsure.below:g}"
    if node.timeout is not None:
        yield f"within {node.timeout:g} s"


def _lines(plan: Plan) -> Iterator[Line]:
    for node in plan.nodes.values():
        for edge in node.edges:
            yield _line(plan, edge.source, node.key, "value")
        for condition in node.conditions:
            for edge in condition.edges:
                yield _line(plan, edge.source, node.key, "condition")


def _line(plan: Plan, source: str, target: str, kind: LineKind) -> Line:
    name = source.partition(":")[0]
    if source == unsure_of(name):
        return Line(source=own(name), target=target, label="unsure", kind="condition")
    if source == stream_of(name):
        node = plan.nodes[name]
        assert isinstance(node.body, Call)
        return Line(source=name, target=target, label=f"Stream[{name_of(node.body.returns)}]", kind="stream")
    if kind == "condition":
        return Line(source=source, target=target, label="when", kind=kind)
    hint: Any = plan.nodes[source].returns if source in plan.nodes else {**plan.inputs, **plan.late}[name]
    return Line(source=source, target=target, label=name_of(hint), kind=kind)

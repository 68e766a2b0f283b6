"""The forms of control, carried out: a call, a choice, a graph inside, each item of a list, rounds."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from omni_agent.errors import InputError, StepError
from omni_agent.graph.activity import Activity, BoundReachedError, Outcome
from omni_agent.graph.call import call
from omni_agent.graph.context import Path
from omni_agent.graph.events import RoundStarted
from omni_agent.graph.names import counted
from omni_agent.graph.plan import Call, Each, First, Nested, Node, Rounds
from omni_agent.graph.scope import SKIPPED, Scope, decided
from omni_agent.graph.siblings import Siblings
from omni_agent.graph.within import within
from omni_agent.values import Text

if TYPE_CHECKING:
    from omni_agent.graph.execution import Execution

__all__ = ["perform"]


async def perform(
    run: Execution,
    scope: Scope,
    node: Node,
    path: Path,
    arguments: Mapping[str, Any],
    failure: Exception | None = None,
) -> Outcome:
    """Carry out a node.

    Args:
        run: what it is part of.
        scope: where its sources came from, and where its chunks go.
        node: what to carry out.
        path: where it stands.
        arguments: by its parameters' names.
        failure: what it fails with before it begins, where a condition raised.

    Raises:
        StepError: it failed, or something inside it did.
    """
    if isinstance(node.body, First) and node.body.is_silent:
        return Outcome(value=next(iter(arguments.values())))
    activity = Activity(run, scope.siblings, node, path, arguments, is_call=node.is_leaf)
    return await activity.settle(_outcome(scope, activity, failure))


async def _outcome(scope: Scope, activity: Activity, failure: Exception | None) -> Outcome:
    node = activity.node
    if failure is not None:
        raise failure
    if isinstance(node.body, First):
        outcome = Outcome(value=next(iter(activity.arguments.values())))
    elif node.each is not None:
        activity.begin()
        outcome = await _mapped(scope, activity, node.each)
    else:
        outcome = await _once(scope.siblings, activity, scope)
    if node.is_output and not scope.path:
        value = await activity.run.decoded(outcome.value)
        if value is not outcome.value:
            return Outcome(
                value=value, confidence=outcome.confidence, is_unsure=outcome.is_unsure, stream=outcome.stream
            )
    return outcome


async def _once(siblings: Siblings, activity: Activity, scope: Scope | None) -> Outcome:
    """The body of a node, for all of its arguments or for one item of them."""
    body = activity.node.body
    if isinstance(body, Call):
        return await call(activity, body, scope)
    activity.begin()
    async with within(activity.node.timeout):
        if isinstance(body, Nested):
            return await _nested(siblings, activity, body)
        assert isinstance(body, Rounds)
        return await _rounds(siblings, activity, body)


async def _nested(siblings: Siblings, activity: Activity, body: Nested) -> Outcome:
    scope = Scope(
        activity.run, body.plan, activity.path, activity.arguments, keep={body.output}, parent=siblings
    )
    values = await scope.carry_out()
    return _taken(values, body.output)


async def _rounds(siblings: Siblings, activity: Activity, body: Rounds) -> Outcome:
    run, arguments = activity.run, dict(activity.arguments)
    keep = {body.output, *body.carry.values(), *(edge.source for edge in body.until.edges)}
    values: dict[str, Any] = {}
    for number in range(body.max_rounds):
        path = (*activity.path, number)
        run.tell(RoundStarted, path, step=activity.node.name, round=number)
        values = await Scope(run, body.plan, path, arguments, keep=keep, parent=siblings).carry_out()
        if decided(body.until, values):
            return _taken(values, body.output)
        # what a round skipped stays as it was
        carried = {taken: values[source] for taken, source in body.carry.items()}
        arguments |= {taken: value for taken, value in carried.items() if value is not SKIPPED}
    if body.on_bound == "last":
        return _taken(values, body.output)
    raise BoundReachedError(f"its condition did not hold in {counted(body.max_rounds, 'round')}")


def _taken(values: Mapping[str, Any], output: str) -> Outcome:
    value = values[output]
    return Outcome(value=value, reason=f"{output!r} was skipped" if value is SKIPPED else "")


async def _mapped(scope: Scope, activity: Activity, each: Each) -> Outcome:
    run, node = activity.run, activity.node
    items = {name: list(activity.arguments[name]) for name in each.parameters}
    lengths = {name: len(values) for name, values in items.items()}
    count = next(iter(lengths.values()), 0)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"lists that are mapped side by side differ in length: {told}; wanted the same")
    results: list[Any] = [SKIPPED] * count
    siblings = Siblings(scope.siblings)
    left = iter(range(count))

    def begin() -> None:
        index = next(left, None)
        if index is not None and not siblings.are_ending:
            name = f"item {index} of step {node.name}"
            siblings.start(work(index), name=name, context=copy_context())

    async def work(index: int) -> None:
        arguments = dict(activity.arguments)
        for name, wraps_text in each.parameters.items():
            item = items[name][index]
            arguments[name] = Text(item) if wraps_text and type(item) is str else item
        one = Activity(
            run,
            siblings,
            node,
            (*activity.path, index),
            arguments,
            is_call=isinstance(node.body, Call),
            forgives=each.on_error == "skip",
        )
        forgiven = each.on_error == "skip" and run.keeper is not None and run.keeper.has_left_out(one.path)
        try:
            outcome = await one.settle(_left_out() if forgiven else _once(siblings, one, None))
        except StepError as error:
            siblings.failed(error)
            return
        results[index] = outcome.value
        begin()

    async with siblings:
        for _ in range(min(each.width or count, count)):
            begin()
    return Outcome(value=[value for value in results if value is not SKIPPED])


async def _left_out() -> Outcome:
    """Of an item that failed in an earlier process."""
    return Outcome(value=SKIPPED, reason="it failed")

"""Inputs that come while a run is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.brief import brief
from omni_agent.graph.context import Path
from omni_agent.graph.names import listed, nearest
from omni_agent.graph.plan import Nested, Plan, Rounds
from omni_agent.graph.types import conforms, name_of, wrapped

__all__ = ["Mail", "hint_of", "late_inputs", "parsed"]


class Mail:
    """Late inputs on their way to the steps that wait for them. Used from the event loop only."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sent: dict[Path, asyncio.Future[Any]] = {}

    def accepted(self, path: Path, value: Any) -> Any:
        """The value as it will arrive.

        Raises:
            InputError: the run has no such late input, it was sent before, or it is of another type.
        """
        hint = hint_of(self._plan, path)
        told = "/".join(map(str, path))
        if path in self._sent and self._sent[path].done():
            raise InputError(f"late input {told!r} was sent already; wanted each of them once")
        value = wrapped(value, hint)
        if not conforms(value, hint):
            raise InputError(
                f"late input {told!r} was {brief(value)} ({type(value).__name__}); wanted {name_of(hint)}"
            )
        return value

    def deliver(self, path: Path, value: Any) -> None:
        """Hand over an accepted value. A second one for the same path does nothing."""
        future = self._slot(path)
        if not future.done():
            future.set_result(value)

    def has(self, path: Path) -> bool:
        """Whether it came."""
        return path in self._sent and self._sent[path].done()

    async def arrival(self, path: Path) -> Any:
        """The value, once it is there."""
        return await asyncio.shield(self._slot(path))

    def _slot(self, path: Path) -> asyncio.Future[Any]:
        if path not in self._sent:
            self._sent[path] = asyncio.get_running_loop().create_future()
        return self._sent[path]


def parsed(path: str | Path) -> Path:
    """``"game/2/guess"`` as ``("game", 2, "guess")``."""
    if not isinstance(path, str):
        return tuple(path)
    return tuple(int(part) if part.isdigit() else part for part in path.split("/"))


def late_inputs(plan: Plan, given: Mapping[str, Any]) -> Iterator[Path]:
    """The late inputs that a run of these inputs needs, also those of the graphs inside.

    Indices and rounds are left out, as they are not known before.
    """
    wiring = plan.wiring(given)
    yield from ((name,) for name in wiring.late if name not in given)
    for node in wiring.nodes.values():
        if isinstance(node.body, Nested | Rounds):
            taken = {edge.parameter: None for edge in node.edges}
            for path in late_inputs(node.body.plan, taken):
                yield (node.name, *path)


def hint_of(plan: Plan, path: Path) -> Any:
    """The type of a late input, wherever in the graphs of a run it is."""
    told = "/".join(map(str, path))
    *inner, name = path or ("",)
    rest = list(inner)
    while rest:
        step = rest.pop(0)
        node = plan.nodes.get(str(step))
        if node is None or not isinstance(node.body, Nested | Rounds):
            known = [key for key, each in plan.nodes.items() if isinstance(each.body, Nested | Rounds)]
            raise InputError(
                f"there is no late input {told!r}: graph {plan.graph!r} runs no graph as {step!r}, only"
                f" {listed(known)}. {nearest(str(step), known)}".rstrip()
            )
        last = 0
        levels = (node.each is not None) + isinstance(node.body, Rounds)
        for _ in range(levels):
            index = rest.pop(0) if rest else None
            if not isinstance(index, int) or index < 0:
                raise InputError(
                    f"there is no late input {told!r}: {step!r} runs more than once, so the number of the"
                    f" item or round comes behind it, as in '{step}/0/...'"
                )
            last = index
        if isinstance(node.body, Rounds) and last >= node.body.max_rounds:
            raise InputError(
                f"there is no late input {told!r}: {step!r} runs {node.body.max_rounds} rounds at most,"
                " from 0"
            )
        plan = node.body.plan
    if name not in plan.late:
        raise InputError(
            f"there is no late input {told!r}: graph {plan.graph!r} has {listed(plan.late)}."
            f" {nearest(str(name), plan.late)}".rstrip()
        )
    return plan.late[str(name)]

"""Inputs that come while a run is under way."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.brief import brief
from omni_agent.graph.context import Path
from omni_agent.graph.names import counted, listed, nearest
from omni_agent.graph.plan import Nested, Plan, Rounds
from omni_agent.graph.types import conforms, name_of, wrapped

__all__ = ["Mail", "hint_of", "late_inputs"]

LONGEST = 200
"""Characters of a path that a message repeats."""


class Mail:
    """Late inputs on their way to the steps that wait for them. Used from the event loop only."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sent: dict[Path, asyncio.Future[Any]] = {}
        self._turns: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._taking = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def checked(self, path: Path, value: Any) -> Any:
        """The value as it will arrive.

        Raises:
            InputError: the run has no such late input, or it is of another type.
        """
        hint = hint_of(self._plan, path)
        value = wrapped(value, hint)
        if not conforms(value, hint):
            raise InputError(
                f"late input {_told(path)!r} was {brief(value)} ({type(value).__name__}); wanted"
                f" {name_of(hint)}"
            )
        return value

    @asynccontextmanager
    async def turn(self, path: Path) -> AsyncIterator[None]:
        """While one value for a path is taken in, which takes as long as storing it does, another waits."""
        self._taking += 1
        self._is_idle.clear()
        try:
            async with self._turns[path]:
                yield
        finally:
            self._taking -= 1
            if not self._taking:
                self._is_idle.set()

    async def idle(self) -> None:
        """Wait until nothing is being taken in."""
        await self._is_idle.wait()

    def came_before(self, path: Path, value: Any, over: str = "") -> bool:
        """Whether this value came for this path before.

        Args:
            over: what is to be said of a run that is over.

        Raises:
            InputError: another one did.
        """
        if not self.has(path):
            return False
        before = self._sent[path].result()
        if before is value or _are_equal(before, value):
            return True
        raise InputError(
            f"late input {_told(path)!r} was sent already, as {brief(before)}, and now as {brief(value)};"
            f" wanted the same value, or none{over and f', as {over}'}"
        )

    def deliver(self, path: Path, value: Any) -> None:
        """Hand over an accepted value. A second one for the same path does nothing."""
        future = self._slot(path)
        if not future.done():
            future.set_result(value)

    def has(self, path: Path) -> bool:
        """Whether one came."""
        return path in self._sent and self._sent[path].done()

    async def arrival(self, path: Path) -> Any:
        """The value, once it is there."""
        return await asyncio.shield(self._slot(path))

    def _slot(self, path: Path) -> asyncio.Future[Any]:
        if path not in self._sent:
            self._sent[path] = asyncio.get_running_loop().create_future()
        return self._sent[path]


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
    """The type of a late input, wherever in the graphs of a run it is.

    Raises:
        InputError: there is no such late input.
    """
    told = _told(path)
    *inner, name = path or ("",)
    rest = list(inner)
    read: Mapping[str, str] = {}
    while rest:
        step = rest.pop(0)
        node = plan.nodes.get(str(step))
        if node is None or not isinstance(node.body, Nested | Rounds):
            known = [key for key, each in plan.nodes.items() if isinstance(each.body, Nested | Rounds)]
            only = f", only as {listed(known)}" if known else ", nor any other graph"
            raise InputError(
                f"there is no late input {told!r}: graph {plan.graph!r} runs no graph as {step!r}{only}."
                f" {nearest(step, known)}".rstrip()
            )
        read = {edge.parameter: edge.source for edge in node.edges}
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
                f"there is no late input {told!r}: {step!r} runs {counted(node.body.max_rounds, 'round')} at"
                " most, from 0"
            )
        plan = node.body.plan
    if name not in plan.late:
        raise InputError(
            f"there is no late input {told!r}: graph {plan.graph!r} has {listed(plan.late, none='none')}."
            f" {nearest(name, plan.late)}".rstrip()
        )
    if name in read:
        raise InputError(
            f"there is no late input {told!r} to send: the step around it reads it from {read[str(name)]!r}"
        )
    return plan.late[str(name)]


def _told(path: Path) -> str:
    told = "/".join(map(str, path))
    return told if len(told) <= LONGEST else f"{told[:LONGEST]}..."


def _are_equal(before: object, now: object) -> bool:
    if isinstance(before, float) and isinstance(now, float) and before != before:
        return now != now  # not-a-number is sent again as well
    try:
        return bool(before == now)
    except Exception:  # arrays and the like have no one answer
        return False

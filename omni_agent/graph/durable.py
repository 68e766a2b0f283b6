"""Durable runs: a `Keeper` on a `RunStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from omni_agent.core import Begin, Core, Generation, Request
from omni_agent.errors import InputError, NotStorable
from omni_agent.graph.context import Path, StepContext
from omni_agent.graph.fingerprint import fingerprint, stale
from omni_agent.graph.journal import Journal
from omni_agent.graph.keeper import Begun, Kept, Memory
from omni_agent.graph.late import hint_of
from omni_agent.graph.offer import Offer
from omni_agent.graph.options import RunOptions
from omni_agent.graph.plan import Call, Nested, Plan, Rounds
from omni_agent.graph.scope import SKIPPED
from omni_agent.graph.store.codec import check_storable
from omni_agent.graph.store.held import FinishedRun, HeldRun
from omni_agent.graph.store.records import Beginning, StoredStep

__all__ = ["DurableRun"]


class DurableRun:
    """Remembers a run in the store of its options. See `Keeper`.

    Args:
        plan: the checked graph.
        offer: what the run was given.
        options: name the store and the run.
    """

    def __init__(self, plan: Plan, offer: Offer, options: RunOptions) -> None:
        assert options.store is not None
        assert options.run_id is not None
        self._plan = plan
        self._store = options.store
        hints = {**plan.inputs, **plan.late, **{key: node.returns for key, node in plan.nodes.items()}}
        self._beginning = Beginning(
            run_id=options.run_id,
            graph=plan.graph,
            fingerprint=fingerprint(plan),
            inputs={name: (value, hints[name]) for name, value in offer.values.items() if ":" not in name},
            options={"limit": options.limit, "timeout": options.timeout},
            seed=options.seed,
            stale=partial(stale, plan) if options.rerun_changed else None,
        )
        self._stack = AsyncExitStack()
        self._held: HeldRun | None = None
        self._journal: Journal | None = None

    async def begin(self, lost: Callable[[Exception], None]) -> Begun:
        for what, hint in _hints(self._plan):
            check_storable(hint, what=what)
        taken = await self._stack.enter_async_context(self._store.hold(self._beginning, lost=lost))
        if isinstance(taken, HeldRun):
            self._held = taken
            self._journal = Journal(taken, snapshot_every=self._store.snapshot_every)
        late = await self._late(taken)
        if isinstance(taken, FinishedRun):
            outputs = {
                name: await taken.value(text, self._plan.nodes[name].returns, what=f"the output {name!r}")
                for name, text in taken.outputs.items()
            }
            return Begun(late=late, outputs=outputs)
        return Begun(late=late)

    async def _late(self, taken: FinishedRun | HeldRun) -> dict[Path, Any]:
        values: dict[Path, Any] = {}
        for each in taken.late:
            try:
                hint = hint_of(self._plan, each.path)
                values[each.path] = await taken.value(
                    each.value, hint, what=f"the late input {_shown(each.path)}"
                )
            except (InputError, NotStorable):
                # the graph changed since, and may go on: what it does not take any more is sent anew
                if self._beginning.stale is None or isinstance(taken, FinishedRun):
                    raise
                await taken.drop_late(each.path)
        return values

    async def remembered(self, path: Path, hint: Any, chunk: Any | None) -> Memory:
        held, journal = self._running()
        stored = held.progress.steps.get(path)
        if stored is not None and stored.value is not None:
            value = await held.value(stored.value, hint, what=f"the value of step {_shown(path)}")
            return Memory(
                kept=Kept(
                    value=value,
                    confidence=stored.confidence,
                    attempt=stored.attempt,
                    seconds=stored.seconds,
                )
            )
        await journal.load(path)
        return Memory(chunks=() if chunk is None else await held.chunks(path, chunk))

    async def keep(self, path: Path, kept: Kept, hint: Any) -> None:
        held, _ = self._running()
        step = StoredStep(
            outcome="finished", attempt=kept.attempt, confidence=kept.confidence, seconds=kept.seconds
        )
        await held.finish_step(path, kept.value, hint, step)

    def has_left_out(self, path: Path) -> bool:
        held, _ = self._running()
        stored = held.progress.steps.get(path)
        return stored is not None and stored.outcome == "left out"

    async def leave_out(self, path: Path) -> None:
        held, _ = self._running()
        await held.leave_out(path)

    async def keep_chunk(self, path: Path, number: int, chunk: Any, hint: Any) -> None:
        held, _ = self._running()
        await held.put_chunk(path, number, chunk, hint)

    async def drop_chunks(self, path: Path) -> None:
        held, _ = self._running()
        await held.drop_chunks(path)

    async def receive(self, path: Path, value: Any) -> None:
        held, _ = self._running()
        await held.send(path, value, hint_of(self._plan, path))

    def ask(self, context: StepContext, core: Core, request: Request, begin: Begin) -> Generation:
        _, journal = self._running()
        return journal.ask(context, core, request, begin)

    async def end(self, *, outputs: Mapping[str, Any] | None, error: BaseException | None) -> None:
        async with self._stack:
            if self._held is None or self._journal is None:
                return
            await self._journal.close()
            if self._held.lost_by is not None:
                raise self._held.lost_by
            if outputs is not None and error is None:
                nodes = self._plan.nodes
                present = {name: value for name, value in outputs.items() if value is not SKIPPED}
                await self._held.finish(
                    {name: (value, nodes[name].returns) for name, value in present.items()}
                )
            elif error is not None:
                await self._held.fail(error)
            else:
                await self._held.cancel()

    def _running(self) -> tuple[HeldRun, Journal]:
        assert self._held is not None
        assert self._journal is not None
        return self._held, self._journal


def _hints(plan: Plan) -> Iterator[tuple[str, Any]]:
    """All declared types whose values may be stored, each with what it is the type of."""
    for name, hint in {**plan.inputs, **plan.late}.items():
        yield f"the input {name!r} of graph {plan.graph!r}", hint
    for node in plan.nodes.values():
        body = node.body
        if node.is_output:
            yield f"the output {node.name!r} of graph {plan.graph!r}", node.returns
        if isinstance(body, Call):
            yield f"the value of step {node.name!r} of graph {plan.graph!r}", body.returns
        elif isinstance(body, Nested | Rounds):
            yield from _hints(body.plan)


def _shown(path: Path) -> str:
    return repr("/".join(map(str, path)))

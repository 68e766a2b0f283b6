"""Claiming a run: a new one, one that goes on, or the result of one that finished."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from omni_agent.errors import RunConflict, RunHeld, StoreError
from omni_agent.graph.store.codec import Encoded, decode, encode, references
from omni_agent.graph.store.held import FinishedRun, HeldRun
from omni_agent.graph.store.names import check_run_id, check_seed
from omni_agent.graph.store.records import Beginning, Progress
from omni_agent.graph.store.sql.database import Database
from omni_agent.graph.store.sql.leases import Claim, Lease, Stored, adopt, claim
from omni_agent.graph.store.sql.media import blobs, put
from omni_agent.graph.store.sql.progress import forget, late_of, progress
from omni_agent.graph.store.sql.runs import media_of

__all__ = ["claimed"]

TRIES = 3


async def claimed(
    database: Database,
    beginning: Beginning,
    *,
    holder: str,
    seconds: float,
    lost: Callable[[StoreError], None],
) -> HeldRun | FinishedRun:
    """Take the lease of a run, or find its result.

    Raises:
        RunConflict: it was begun with other inputs, or by a graph that has changed since.
        RunHeld: another process holds it.
        NotStorable: an input cannot be stored.
    """
    check_run_id(beginning.run_id)
    check_seed(beginning.seed)
    inputs = await asyncio.to_thread(_encoded_inputs, beginning)
    new = {hash_: blob for each in inputs.values() for hash_, blob in each.blobs.items()}
    wanted = Claim(
        run_id=beginning.run_id,
        graph=beginning.graph,
        fingerprint=dict(beginning.fingerprint),
        inputs=_joined(inputs),
        options=json.dumps(dict(beginning.options)),
        seed=secrets.randbelow(2**63) if beginning.seed is None else beginning.seed,
    )

    def take(
        connection: Connection, wanted: Claim
    ) -> tuple[Lease, Stored, Progress, frozenset[str]] | Stored:
        lease, there = claim(connection, wanted, holder, seconds)
        if lease is None:
            return there
        put(connection, lease.run_id, new)
        known = frozenset(media_of(connection, lease.run_id))
        return lease, there, progress(connection, lease.run_id), known

    for _ in range(TRIES):
        taken = await database.write(partial(take, wanted=wanted))
        if not isinstance(taken, Stored):
            lease, there, so_far, known = taken
            return HeldRun(database, lease, seed=there.seed, progress=so_far, known=known, lost=lost)
        if taken.inputs != wanted.inputs:
            await _check_inputs(database, beginning, inputs, taken)
            wanted = replace(wanted, inputs=taken.inputs)  # the same, written in another order
        changed = _changed(taken.fingerprint, wanted.fingerprint)
        if changed and beginning.stale is None:
            raise RunConflict(_of_another_graph(beginning, taken.fingerprint, changed))
        if taken.is_held:
            raise RunHeld(
                f"run {beginning.run_id!r} is held by {taken.holder}, whose lease expires in"
                f" {taken.seconds:.1f} s unless it is renewed: let it end, or try again after that",
                run_id=beginning.run_id,
                holder=taken.holder or "",
                seconds=taken.seconds,
            )
        if not changed and taken.status == "finished":
            late = await database.read(partial(late_of, run_id=beginning.run_id))
            return FinishedRun(database, _split(taken.outputs or "{}"), late)
        if changed and beginning.stale is not None:
            stale = beginning.stale(changed)
            await database.write(partial(_renewed, there=taken, wanted=wanted, stale=stale))
    raise StoreError(f"run {beginning.run_id!r} changes faster than it can be claimed: try again")


def _encoded_inputs(beginning: Beginning) -> dict[str, Encoded]:
    return {
        name: encode(value, hint, what=f"the input {name!r}")
        for name, (value, hint) in sorted(beginning.inputs.items())
    }


def _joined(encoded: Mapping[str, Encoded]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{each.json}" for name, each in encoded.items()) + "}"


def _split(text: str) -> dict[str, str]:
    return {name: json.dumps(each) for name, each in json.loads(text).items()}


async def _check_inputs(
    database: Database, beginning: Beginning, inputs: Mapping[str, Encoded], there: Stored
) -> None:
    """See whether inputs that are written otherwise are others: the items of a set come in any order."""
    before = _split(there.inputs)
    other = [f"{name!r} was not given" for name in sorted(inputs.keys() - before.keys())]
    other += [f"{name!r} was given" for name in sorted(before.keys() - inputs.keys())]
    found = await database.read(partial(blobs, hashes=references(there.inputs)))
    for name in sorted(before.keys() & inputs.keys()):
        value, hint = beginning.inputs[name]
        if json.loads(before[name]) == json.loads(inputs[name].json):
            continue
        old = await asyncio.to_thread(decode, before[name], hint, found, what=f"the input {name!r}")
        if not _are_equal(old, value):
            other.append(f"{name!r} was another value")
    if other:
        raise RunConflict(
            f"run {beginning.run_id!r} was begun with other inputs than now: {', '.join(other)}; wanted the"
            " same: a run of other inputs needs an id of its own"
        )


def _are_equal(old: object, new: object) -> bool:
    try:
        return bool(old == new)
    except Exception:  # arrays and the like have no one answer
        return False


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str]:
    return frozenset(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def _of_another_graph(beginning: Beginning, before: Mapping[str, str], changed: frozenset[str]) -> str:
    def told(key: str) -> str:
        if key not in before:
            return f"{key} (new)"
        return f"{key} (gone)" if key not in beginning.fingerprint else key

    listed = ", ".join(map(told, sorted(changed)))
    return (
        f"run {beginning.run_id!r} was begun by a graph that has changed since: {listed}; wanted the same"
        " names, types, options and versions. RunOptions(rerun_changed=True) runs anew what changed and what"
        " reads it; another run_id begins anew"
    )


def _renewed(connection: Connection, *, there: Stored, wanted: Claim, stale: Collection[str]) -> None:
    """Take a run over to a graph that changed, without what does not hold any more."""
    if adopt(connection, there, wanted):
        forget(connection, wanted.run_id, stale)

"""Who may write a run: claiming, renewing and releasing it.

A lease has an epoch. Whoever takes a run over counts it up, in the row of the run; every write first renews
the lease where the epoch is still its own, in its own transaction, so that nobody writes after a successor
began.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from omni_agent.errors import RunHeld
from omni_agent.graph.store.sql.database import now
from omni_agent.graph.store.sql.insert import insert_new
from omni_agent.graph.store.sql.tables import runs

__all__ = ["Claim", "Lease", "Stored", "adopt", "claim", "end", "fence", "stored"]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write a run."""

    run_id: str
    epoch: int
    holder: str
    seconds: float
    """How long it holds when it is not renewed."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a run is begun with."""

    run_id: str
    graph: str
    fingerprint: Mapping[str, str]
    inputs: str
    options: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is stored of a run itself."""

    fingerprint: Mapping[str, str]
    inputs: str
    seed: int
    status: str
    outputs: str | None
    epoch: int
    holder: str | None
    seconds: float
    """Until the lease expires."""

    @property
    def is_held(self) -> bool:
        """Whether a process that may still live holds the run."""
        return self.holder is not None and self.seconds > 0


def stored(connection: Connection, run_id: str, *, for_update: bool = False) -> Stored | None:
    """A run, or None where there is none. May be locked until the transaction ends."""
    columns = (
        runs.c.fingerprint,
        runs.c.inputs,
        runs.c.seed,
        runs.c.status,
        runs.c.outputs,
        runs.c.epoch,
        runs.c.holder,
        (runs.c.expires - now(connection)).label("seconds"),
    )
    query = select(*columns).where(runs.c.id == run_id)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        return None
    return Stored(**{**row._mapping, "fingerprint": json.loads(row.fingerprint)})


def claim(connection: Connection, wanted: Claim, holder: str, seconds: float) -> tuple[Lease | None, Stored]:
    """Take the lease of a run that is new, or that nobody holds any more.

    Returns:
        The lease, None where the run is finished, held, or of other inputs or another graph; and what is
        stored of the run.
    """
    begun = {
        "id": wanted.run_id,
        "graph": wanted.graph,
        "fingerprint": json.dumps(wanted.fingerprint, sort_keys=True),
        "inputs": wanted.inputs,
        "options": wanted.options,
        "seed": wanted.seed,
        "status": "open",
        "created": now(connection),
        "updated": now(connection),
        "epoch": 0,
        "expires": 0.0,
    }
    insert_new(connection, runs, begun)
    there = stored(connection, wanted.run_id, for_update=True)
    assert there is not None
    is_wanted = there.inputs == wanted.inputs and there.fingerprint == wanted.fingerprint
    if not is_wanted or there.status == "finished" or there.is_held:
        return None, there
    taken = {
        "epoch": there.epoch + 1,
        "holder": holder,
        "status": "open",
        "error": None,
        "updated": now(connection),
        "expires": now(connection) + seconds,
    }
    connection.execute(update(runs).where(runs.c.id == wanted.run_id).values(taken))
    return Lease(run_id=wanted.run_id, epoch=there.epoch + 1, holder=holder, seconds=seconds), there


def adopt(connection: Connection, there: Stored, wanted: Claim) -> bool:
    """Let a run be one of a graph that changed, unless somebody took it since; whether it was done."""
    mine = (runs.c.id == wanted.run_id) & (runs.c.epoch == there.epoch)
    fingerprint = json.dumps(wanted.fingerprint, sort_keys=True)
    changes = {"fingerprint": fingerprint, "status": "open", "outputs": None, "epoch": there.epoch + 1}
    return bool(connection.execute(update(runs).where(mine).values(changes)).rowcount)


def fence(connection: Connection, lease: Lease) -> None:
    """Renew a lease, and keep its run from being taken over until the transaction ends.

    Raises:
        RunHeld: it was taken over already.
    """
    mine = (runs.c.id == lease.run_id) & (runs.c.epoch == lease.epoch) & (runs.c.holder == lease.holder)
    renewed = {"updated": now(connection), "expires": now(connection) + lease.seconds}
    if connection.execute(update(runs).where(mine).values(renewed)).rowcount:
        return
    there = stored(connection, lease.run_id)
    holder = (there.holder if there else None) or "nobody"
    raise RunHeld(
        f"the lease of run {lease.run_id!r} was lost: it was not renewed for {lease.seconds:g} s, and"
        f" {'the run was deleted' if there is None else f'{holder} holds the run now'}. Steps that block the"
        " event loop keep a lease from being renewed: make them plain functions, or the lease longer",
        run_id=lease.run_id,
        holder=holder,
        seconds=0.0,
    )


def end(
    connection: Connection,
    lease: Lease,
    status: str,
    *,
    error: str | None = None,
    outputs: str | None = None,
) -> None:
    """Say what became of a run, and give its lease back. `fence` comes first."""
    connection.execute(
        update(runs)
        .where(runs.c.id == lease.run_id)
        .values(status=status, error=error, outputs=outputs, holder=None, expires=0.0)
    )

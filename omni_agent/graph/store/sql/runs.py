"""Runs as a whole: listing, deleting, forking, and everything of one for an export."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, case, delete, func, insert, literal, select

from omni_agent.errors import NoSuchRun, RunHeld, StoreError
from omni_agent.graph.store.records import Path, RunInfo, path_to_text
from omni_agent.graph.store.sql.database import now
from omni_agent.graph.store.sql.leases import stored
from omni_agent.graph.store.sql.tables import calls, chunks, late, media, media_uses, runs, steps

__all__ = ["delete_run", "export_run", "fork_run", "list_runs", "media_of", "run_info"]


def list_runs(connection: Connection, *, graph: str | None = None, limit: int | None = None) -> list[RunInfo]:
    """The runs, the one that was written last first."""
    query = _infos(connection).order_by(runs.c.updated.desc(), runs.c.id).limit(limit)
    if graph is not None:
        query = query.where(runs.c.graph == graph)
    return [_info(row) for row in connection.execute(query)]


def run_info(connection: Connection, run_id: str) -> RunInfo:
    """One run.

    Raises:
        NoSuchRun: there is none of this id.
    """
    row = connection.execute(_infos(connection).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise _no_such_run(run_id)
    return _info(row)


def delete_run(connection: Connection, run_id: str) -> None:
    """Delete a run with all that is stored of it; its media stays until it is collected.

    Raises:
        NoSuchRun: there is none of this id.
        RunHeld: somebody runs it.
    """
    there = stored(connection, run_id, for_update=True)
    if there is None:
        raise _no_such_run(run_id)
    if there.is_held:
        raise RunHeld(
            f"run {run_id!r} cannot be deleted while {there.holder} runs it: cancel it there, or wait"
            f" {there.seconds:.1f} s, until its lease expires",
            run_id=run_id,
            holder=there.holder or "",
            seconds=there.seconds,
        )
    connection.execute(delete(runs).where(runs.c.id == run_id))


def fork_run(connection: Connection, run_id: str, new_id: str, after: Path, seed: int | None) -> None:
    """Begin a run with what another one had stored when a step of it finished, that step included.

    Raises:
        NoSuchRun: there is no such run, or that step did not finish in it.
        StoreError: there is a run of the new id.
    """
    there = stored(connection, run_id)
    if there is None:
        raise _no_such_run(run_id)
    if stored(connection, new_id) is not None:
        raise StoreError(f"there is a run {new_id!r} already: fork {run_id!r} under another id")
    at = (steps.c.run_id == run_id) & (steps.c.path == path_to_text(after))
    position = connection.execute(select(steps.c.position).where(at)).scalar()
    if position is None:
        done = select(steps.c.path).where(steps.c.run_id == run_id)
        names = sorted("/".join(map(str, json.loads(path))) for path in connection.execute(done).scalars())
        wanted = f"wanted one of {', '.join(names)}" if names else "no step of it has yet"
        raise NoSuchRun(f"step {'/'.join(map(str, after))!r} of run {run_id!r} has not finished; {wanted}")
    _copy(
        connection,
        runs,
        runs.c.id == run_id,
        id=literal(new_id),
        seed=literal(there.seed if seed is None else seed),
        status=literal("open"),
        error=literal(None),
        outputs=literal(None),
        forked_from=literal(run_id),
        created=now(connection),
        updated=now(connection),
        epoch=literal(0),
        holder=literal(None),
        expires=literal(0.0),
    )
    mine = {"run_id": literal(new_id)}
    kept = (steps.c.run_id == run_id) & (steps.c.position <= position)
    _copy(connection, steps, kept, **mine)
    _copy(connection, late, (late.c.run_id == run_id) & (late.c.position <= position), **mine)
    _copy(connection, media_uses, media_uses.c.run_id == run_id, **mine)


def export_run(connection: Connection, run_id: str) -> dict[str, Any]:
    """All that is stored of a run, as JSON has it, without the bytes of its media.

    Raises:
        NoSuchRun: there is none of this id.
    """
    info = run_info(connection, run_id)
    row = connection.execute(select(runs).where(runs.c.id == run_id)).one()

    def of(table: Table, *columns: str) -> list[dict[str, Any]]:
        order = [table.c.position] if "position" in table.c else [table.c.path, table.c.number]
        query = select(*(table.c[each] for each in columns)).where(table.c.run_id == run_id).order_by(*order)
        return [_readable(found._mapping) for found in connection.execute(query)]

    return {
        "id": info.id,
        "graph": info.graph,
        "status": info.status,
        "created": info.created.isoformat(),
        "updated": info.updated.isoformat(),
        "seed": info.seed,
        "error": info.error,
        "forked_from": info.forked_from,
        "options": json.loads(row.options),
        "inputs": json.loads(row.inputs),
        "outputs": None if row.outputs is None else json.loads(row.outputs),
        "steps": of(steps, "path", "outcome", "value", "attempt", "confidence", "seconds"),
        "late": of(late, "path", "value"),
        "chunks": of(chunks, "path", "number", "value"),
        "calls": of(calls, "path", "attempt", "task", "request", "occurrence", "value", "confidence"),
    }


def media_of(connection: Connection, run_id: str) -> dict[str, str]:
    """The media a run uses: the type, by hash."""
    query = select(media.c.hash, media.c.type).join(media_uses).where(media_uses.c.run_id == run_id)
    return {row.hash: row.type for row in connection.execute(query)}


def _infos(connection: Connection) -> Select[Any]:
    done = select(func.count()).where(steps.c.run_id == runs.c.id).scalar_subquery()
    is_held = and_(runs.c.holder.is_not(None), runs.c.expires > now(connection))
    status = case(
        (runs.c.status != "open", runs.c.status), (is_held, literal("running")), else_=literal("interrupted")
    )
    names = ("id", "graph", "created", "updated", "seed", "error", "forked_from")
    return select(
        *(runs.c[each] for each in names),
        status.label("status"),
        done.label("steps"),
        case((is_held, runs.c.holder), else_=None).label("holder"),
    )


def _info(row: Any) -> RunInfo:
    times = {name: datetime.fromtimestamp(getattr(row, name), UTC) for name in ("created", "updated")}
    return RunInfo(**{**row._mapping, **times})


def _copy(connection: Connection, table: Table, which: Any, **changes: Any) -> None:
    columns = [changes.get(column.name, column) for column in table.c]
    connection.execute(insert(table).from_select(list(table.c), select(*columns).where(which)))


def _readable(row: Any) -> dict[str, Any]:
    parsed = {name: json.loads(row[name]) for name in ("path", "value") if row.get(name) is not None}
    return {**row, **parsed}


def _no_such_run(run_id: str) -> NoSuchRun:
    return NoSuchRun(f"the store has no run {run_id!r}: `omni-agent runs list` shows those it has")

"""What a run stores on its way: steps' values, late inputs, core calls, chunks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, func, or_, select

from omni_agent.graph.store.records import (
    CallKey,
    Path,
    Progress,
    StoredCall,
    StoredLate,
    StoredStep,
    path_from_text,
    path_to_text,
)
from omni_agent.graph.store.sql.insert import insert_or_replace
from omni_agent.graph.store.sql.tables import calls, chunks, late, steps

__all__ = [
    "calls_of",
    "chunks_of",
    "drop_chunks",
    "drop_late",
    "forget",
    "late_of",
    "progress",
    "put_call",
    "put_chunk",
    "put_late",
    "put_step",
]

STEP = ("outcome", "value", "attempt", "confidence", "seconds")


def progress(connection: Connection, run_id: str) -> Progress:
    """How far a run came."""

    def paths(table: Table) -> frozenset[Path]:
        query = select(table.c.path).where(table.c.run_id == run_id).distinct()
        return frozenset(map(path_from_text, connection.execute(query).scalars()))

    query = select(steps).where(steps.c.run_id == run_id).order_by(steps.c.position)
    by_path = {path_from_text(row.path): _step(row) for row in connection.execute(query)}
    last = -1
    for table in (steps, late, calls):
        query = select(func.max(table.c.position)).where(table.c.run_id == run_id)
        last = max(last, connection.execute(query).scalar() or 0)
    return Progress(
        steps=by_path,
        late=late_of(connection, run_id),
        chunks=paths(chunks),
        calls=paths(calls),
        position=last + 1,
    )


def put_step(connection: Connection, run_id: str, position: int, path: Path, step: StoredStep) -> None:
    """Store a step that came to its end; the chunks of one that yields are in its value now."""
    drop_chunks(connection, run_id, path)
    fields = {name: getattr(step, name) for name in STEP}
    key = {"run_id": run_id, "path": path_to_text(path)}
    insert_or_replace(connection, steps, {**key, "position": position, **fields})


def put_late(connection: Connection, run_id: str, position: int, sent: StoredLate) -> None:
    """Store a late input."""
    row = {"run_id": run_id, "position": position, "path": path_to_text(sent.path), "value": sent.value}
    insert_or_replace(connection, late, row)


def late_of(connection: Connection, run_id: str) -> tuple[StoredLate, ...]:
    """The late inputs that were sent to a run, in their order."""
    query = select(late).where(late.c.run_id == run_id).order_by(late.c.position)
    found = connection.execute(query)
    return tuple(StoredLate(path=path_from_text(row.path), value=row.value) for row in found)


def drop_late(connection: Connection, run_id: str, path: Path) -> None:
    """Delete a late input."""
    connection.execute(delete(late).where((late.c.run_id == run_id) & (late.c.path == path_to_text(path))))


def put_call(
    connection: Connection, run_id: str, position: int, key: CallKey, task: str, call: StoredCall
) -> None:
    """Store a core call's value, or its last snapshot."""
    row = {
        "run_id": run_id,
        "path": path_to_text(key.path),
        "attempt": key.attempt,
        "request": key.request,
        "occurrence": key.occurrence,
        "position": position,
        "task": task,
        "value": call.value,
        "confidence": call.confidence,
        "snapshot": call.snapshot,
    }
    insert_or_replace(connection, calls, row)


def put_chunk(connection: Connection, run_id: str, path: Path, number: int, value: str) -> None:
    """Store a chunk of a step that yields."""
    row = {"run_id": run_id, "path": path_to_text(path), "number": number, "value": value}
    insert_or_replace(connection, chunks, row)


def calls_of(connection: Connection, run_id: str, path: Path) -> dict[CallKey, StoredCall]:
    """The stored core calls of a step."""
    mine = (calls.c.run_id == run_id) & (calls.c.path == path_to_text(path))

    def key(row: Any) -> CallKey:
        return CallKey(path=path, attempt=row.attempt, request=row.request, occurrence=row.occurrence)

    def call(row: Any) -> StoredCall:
        return StoredCall(value=row.value, confidence=row.confidence, snapshot=row.snapshot)

    return {key(row): call(row) for row in connection.execute(select(calls).where(mine))}


def drop_chunks(connection: Connection, run_id: str, path: Path) -> None:
    """Delete the chunks of a step."""
    mine = (chunks.c.run_id == run_id) & (chunks.c.path == path_to_text(path))
    connection.execute(delete(chunks).where(mine))


def chunks_of(connection: Connection, run_id: str, path: Path) -> list[str]:
    """The stored chunks of a step, in order."""
    mine = (chunks.c.run_id == run_id) & (chunks.c.path == path_to_text(path))
    return list(connection.execute(select(chunks.c.value).where(mine).order_by(chunks.c.number)).scalars())


def forget(connection: Connection, run_id: str, names: Collection[str]) -> None:
    """Drop all that is stored of some steps of the graph, with what ran inside them."""
    for table in (steps, calls, chunks):
        inside: list[ColumnElement[bool]] = []
        for name in names:
            alone = path_to_text((name,))
            inside += [table.c.path == alone, table.c.path.startswith(f"{alone[:-1]},", autoescape=True)]
        connection.execute(delete(table).where((table.c.run_id == run_id) & or_(*inside)))


def _step(row: Any) -> StoredStep:
    return StoredStep(**{name: getattr(row, name) for name in STEP})

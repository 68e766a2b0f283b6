"""Media, once each, and which runs use it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete, exists, func, select

from omni_agent.graph.store.codec import Blob
from omni_agent.graph.store.sql.insert import insert_new
from omni_agent.graph.store.sql.tables import media, media_uses

__all__ = ["blobs", "collect", "put", "use"]

AT_ONCE = 500
"""Hashes in one query: SQLite binds 32,766 parameters at most, PostgreSQL 32,767."""


def put(connection: Connection, run_id: str, new: Mapping[str, Blob]) -> None:
    """Store what is not there yet, and that a run uses it."""
    for hash_, blob in new.items():
        row = {"hash": hash_, "type": blob.media_type, "size": len(blob.data), "data": blob.data}
        insert_new(connection, media, row)
    use(connection, run_id, new)


def use(connection: Connection, run_id: str, hashes: Collection[str]) -> None:
    """Store that a run uses media that is there: it is kept as long as the run is."""
    for hash_ in hashes:
        insert_new(connection, media_uses, {"run_id": run_id, "hash": hash_})


def blobs(connection: Connection, hashes: Collection[str]) -> dict[str, bytes]:
    """The bytes of media, by hash; those that are there."""
    wanted = sorted(hashes)
    found: dict[str, bytes] = {}
    for start in range(0, len(wanted), AT_ONCE):
        query = select(media.c.hash, media.c.data).where(media.c.hash.in_(wanted[start : start + AT_ONCE]))
        found.update((row.hash, bytes(row.data)) for row in connection.execute(query))
    return found


def collect(connection: Connection) -> tuple[int, int]:
    """Delete what no run uses; how many and how many bytes it was."""
    unused = ~exists().where(media_uses.c.hash == media.c.hash)
    query = select(func.count(), func.coalesce(func.sum(media.c.size), 0)).where(unused)
    count, size = connection.execute(query).one()
    connection.execute(delete(media).where(unused))
    return int(count), int(size)

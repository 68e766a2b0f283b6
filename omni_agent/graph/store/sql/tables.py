"""The tables as they are now. `migrations` makes them.

Values are JSON as text: PostgreSQL's own JSON takes no NaN and reorders keys. Times are seconds since 1970 by
the database's clock, so that leases do not depend on the clocks of those who hold them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

__all__ = ["calls", "chunks", "late", "media", "media_uses", "metadata", "runs", "steps"]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _of_run() -> Column[str]:
    return Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("graph", String, nullable=False),
    Column("fingerprint", Text, nullable=False),  # JSON: what a resumed graph must agree with, by step
    Column("inputs", Text, nullable=False),  # JSON by name
    Column("options", Text, nullable=False),  # JSON
    Column("seed", BigInteger, nullable=False),
    Column("status", String, nullable=False),  # open, finished, failed or cancelled
    Column("error", Text),
    Column("outputs", Text),  # JSON by step, once the run finished
    Column("forked_from", String),  # a run that may be deleted since
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("epoch", Integer, nullable=False),  # counts who held the run; writes of older ones are refused
    Column("holder", String),  # host, process and number; null while nobody holds it
    Column("expires", Double, nullable=False),  # when the lease does
    Index(None, "updated"),
)

steps = Table(
    "steps",
    metadata,
    _of_run(),
    Column("path", String, primary_key=True),  # JSON list
    Column("position", Integer, nullable=False),  # counts what the run stored
    Column("outcome", String, nullable=False),  # finished or left out
    Column("value", Text),  # JSON
    Column("attempt", Integer, nullable=False),  # the one that finished
    Column("confidence", Double),
    Column("seconds", Double, nullable=False),
)

late = Table(
    "late",
    metadata,
    _of_run(),
    Column("position", Integer, primary_key=True),
    Column("path", String, nullable=False),
    Column("value", Text, nullable=False),
)

calls = Table(
    "calls",
    metadata,
    _of_run(),
    Column("path", String, primary_key=True),  # of the step
    Column("attempt", Integer, primary_key=True),
    Column("request", String, primary_key=True),  # SHA-256 of the request
    Column("occurrence", Integer, primary_key=True),  # counts equal requests of one attempt
    Column("position", Integer, nullable=False),
    Column("task", String, nullable=False),
    Column("value", Text),  # JSON; null while the request is under way
    Column("confidence", Double),
    Column("snapshot", Text),  # JSON: the canvas, while the request is under way
)

chunks = Table(
    "chunks",
    metadata,
    _of_run(),
    Column("path", String, primary_key=True),
    Column("number", Integer, primary_key=True),  # counts from 0
    Column("value", Text, nullable=False),
)

media = Table(
    "media",
    metadata,
    Column("hash", String, primary_key=True),  # SHA-256 of the bytes
    Column("type", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

media_uses = Table(
    "media_uses",
    metadata,
    _of_run(),
    Column("hash", String, ForeignKey("media.hash"), primary_key=True),
    Index(None, "hash"),
)

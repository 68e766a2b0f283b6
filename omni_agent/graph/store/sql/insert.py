"""Inserting where a row may be there already, in the words of either database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["insert_new", "insert_or_replace"]


def insert_new(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Insert a row, unless there is one of the same key."""
    connection.execute(_insert(connection)(table).values(row).on_conflict_do_nothing())


def insert_or_replace(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Insert a row, over the one of the same key."""
    key = [column.name for column in table.primary_key]
    statement = _insert(connection)(table).values(row)
    rest = {name: statement.excluded[name] for name in row if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=rest))


def _insert(connection: Connection) -> Any:
    return sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert

"""One opened database: connections, transactions, and errors that name it.

No transaction is cut short: a driver that is cancelled between two answers of the database would leave a
connection, and its locks, in a state that nobody knows. Who is cancelled waits for the end of it.

SQLite writes ahead (WAL) and syncs every commit, so that what was stored survives a power cut too; each write
takes its lock at its beginning, so that none has to be undone because another came first.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, nullcontext
from typing import Any, TypeVar

from asyncpg import PostgresError
from sqlalchemy import URL, Connection, event, inspect, literal_column, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from omni_agent.graph.store.outlasting import outlasting
from omni_agent.graph.store.sql.failures import FileGoneError, failure
from omni_agent.graph.store.sql.migrations import HEAD, migrate

__all__ = ["Database", "now"]

T = TypeVar("T")

TRIES = 10
"""How often a write is tried whose transaction another one crossed; one of the two always gets through."""

PATIENCE = 60.0
"""Seconds a write waits for another process's write."""

MIGRATING = 0x6F6D6E69
"""The advisory lock under which PostgreSQL migrates: "omni"."""

CLOCKS = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "extract(epoch from clock_timestamp())::double precision",
}
CROSSED = ("40001", "40P01")
"""SQLSTATEs of transactions that crossed another: serialization failure, deadlock."""


def now(connection: Connection) -> Any:
    """The database's clock, as an expression: seconds since 1970."""
    return literal_column(CLOCKS[connection.dialect.name])


class Database:
    """A database that is open in this event loop. `Database.opened` makes one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._shown = engine.url.render_as_string(hide_password=True)
        self._is_sqlite = engine.dialect.name == "sqlite"
        # SQLite lets one connection write; the others of this process wait here and not in its polling
        self._turn: asyncio.Lock | nullcontext[None] = asyncio.Lock() if self._is_sqlite else nullcontext()
        self._identity: tuple[int, int] | None = None

    @classmethod
    async def opened(cls, url: URL) -> Database:
        """Open a database, make its tables, or bring them to this version.

        Raises:
            StoreError: it cannot be reached, or a newer version wrote it.
        """
        if url.get_backend_name() == "sqlite":
            engine = create_async_engine(url, connect_args={"timeout": PATIENCE})
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        else:
            engine = create_async_engine(url, pool_pre_ping=True)
        database = cls(engine)
        try:
            if database._is_sqlite:
                await database._probe(url)
            if not await database.read(_is_current):
                await database.write(_bring_to_head)
            if database._is_sqlite:
                database._identity = _identity(url)
        except BaseException:
            await asyncio.shield(engine.dispose())
            raise
        return database

    async def _probe(self, url: URL) -> None:
        """See that the file can be opened.

        A connection of aiosqlite that cannot be opened leaves a thread behind that nobody waits for, and that
        complains when the event loop is closed before it.
        """
        async with self._named():
            await outlasting(asyncio.to_thread(_open_and_close, str(url.database)))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Call `work` in a transaction that sees one state of the database.

        Raises:
            StoreError: the database cannot be reached or read.
        """
        return await outlasting(self._read(work))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        options = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        async with self._named(), self._engine.connect() as connection:
            await connection.execution_options(**options, reads=True)
            async with connection.begin():
                found = await connection.run_sync(work)
            self._check_file()
            return found

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Call `work` in a transaction; again, where another transaction crossed it.

        Raises:
            StoreError: the database cannot be reached or written.
        """
        return await outlasting(self._written(work))

    async def _written(self, work: Callable[[Connection], T]) -> T:
        async with self._named(), self._turn:
            for tries_left in reversed(range(TRIES)):
                try:
                    async with self._engine.begin() as connection:
                        done = await connection.run_sync(work)
                    self._check_file()
                    return done
                except DBAPIError as error:
                    if not tries_left or not _was_crossed(error):
                        raise
        raise AssertionError("the last try returns or raises")

    async def shrink(self) -> None:
        """Give the space of what was deleted back to the file system, where that has to be asked for."""
        if not self._is_sqlite:
            return  # PostgreSQL vacuums by itself
        async with self._named(), self._turn, self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            # it frees one page a row and has no columns, so that only a script is stepped to its end
            await driver.executescript("PRAGMA incremental_vacuum")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _named(self) -> AsyncIterator[None]:
        try:
            yield
        except (SQLAlchemyError, PostgresError, sqlite3.Error, OSError) as error:
            raise failure(self._shown, error) from error

    def _check_file(self) -> None:
        # SQLite itself goes on writing a file that has no name any more
        if self._identity is not None and _identity(self._engine.url) != self._identity:
            raise FileGoneError(self._shown)


def _open_and_close(path: str) -> None:
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        _prepare_sqlite(connection, None)


def _identity(url: URL) -> tuple[int, int] | None:
    """Which file a SQLite database is; None where there is none."""
    assert url.database is not None
    try:
        found = os.stat(url.database)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # transactions begin where `_begin_sqlite` says, not at the driver's guess
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "auto_vacuum = INCREMENTAL",  # heeded before the first table only
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("reads") else "BEGIN IMMEDIATE")


def _is_current(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD


def _bring_to_head(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATING})"))
    migrate(connection)


def _was_crossed(error: DBAPIError) -> bool:
    # a foreign key fails where media was collected between being found there and being used
    return isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) in CROSSED

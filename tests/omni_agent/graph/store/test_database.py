"""Which database is meant, what it is prepared with, and what is said when it is not there."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from omni_agent import Graph, RunOptions
from omni_agent.errors import InputError, MissingExtra, StoreError
from omni_agent.graph.store import RunStore
from omni_agent.graph.store.sql import database, migrations
from omni_agent.graph.store.sql.address import address_of
from omni_agent.graph.store.sql.database import Database
from omni_agent.graph.store.sql.tables import metadata
from tests.omni_agent.graph.conftest import new_database


async def test_the_migrations_make_the_tables_of_this_version(url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    database = await Database.opened(address_of(url))
    try:
        assert await database.read(differences) == []
    finally:
        await database.aclose()


def test_the_last_migration_is_the_one_the_code_is_for() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_current_head() == migrations.HEAD


async def test_many_processes_may_open_a_new_database_at_once(url: str) -> None:
    program = f"import asyncio; from omni_agent import RunStore; print(asyncio.run(RunStore({url!r}).list()))"
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for process in started:
        out, error = await process.communicate()
        assert out == b"[]\n", error.decode()[-2000:]


async def test_a_store_of_a_newer_version_is_refused(url: str) -> None:
    store = RunStore(url)
    await store.list()
    database = await Database.opened(address_of(url))
    await database.write(
        lambda connection: connection.execute(text("UPDATE alembic_version SET version_num='9'"))
    )
    await database.aclose()
    with pytest.raises(StoreError, match="revision '9'; wanted '0001' or older: a newer version"):
        await store.list()


async def test_sqlite_writes_ahead_and_syncs(tmp_path: Path) -> None:
    async with RunStore(tmp_path / "runs.db") as store:
        await store.list()
        assert (tmp_path / "runs.db-wal").exists()
    assert not (tmp_path / "runs.db-wal").exists()
    connection = sqlite3.connect(tmp_path / "runs.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "was ''; wanted the path of a SQLite file"),
        (3, "was 3; wanted"),
        ("mysql://host/db", "begins with 'mysql'; wanted"),
        ("postgresql+psycopg://host/db", r"begins with 'postgresql\+psycopg'"),
        ("sqlite://", "in memory would be gone with its process"),
        (":memory:", "in memory would be gone"),
        ("://", "no URL"),
    ],
)
def test_a_url_of_something_else_is_refused(url: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        RunStore(url)


@pytest.mark.parametrize(
    "options",
    [{"lease": 0}, {"lease": "1"}, {"lease": float("inf")}, {"snapshot_every": -1}, {"lease": True}],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} was .*; wanted seconds"):
        RunStore(tmp_path / "runs.db", **options)


def test_a_password_is_not_shown() -> None:
    store = RunStore("postgresql://me:secret@host/db")
    assert "secret" not in repr(store)
    assert "postgresql" in repr(store)


async def test_a_database_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "runs.db", tmp_path):
        with pytest.raises(
            StoreError,
            match=rf"the store sqlite.*{path.name} failed \(OperationalError: unable to open database file\):"
            " see that its folder is there and may be written, and that it is no folder itself",
        ):
            await RunStore(path).list()
    with pytest.raises(StoreError, match=r"the store postgresql.*failed.*: see that the server runs"):
        await RunStore(f"postgresql://me:secret@/db?host={tmp_path}").list()


async def test_a_server_that_lets_nobody_in_is_told_with_what_to_do(postgres: str) -> None:
    with pytest.raises(StoreError, match="make the database first: createdb NAME"):
        await RunStore(postgres.format(database="nowhere")).list()


async def test_a_file_that_is_no_store_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but longer than a header would have to be" * 100)
    with pytest.raises(
        StoreError,
        match=r"failed \(DatabaseError: file is not a database\): wanted the file of a store, or the name of"
        " one that is not there yet$",
    ):
        await RunStore(tmp_path / "text.db").list()
    await RunStore(tmp_path / "broken.db").list()
    with open(tmp_path / "broken.db", "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8000)
    with pytest.raises(StoreError, match="the file is damaged: take it from a backup"):
        await RunStore(tmp_path / "broken.db").list()


def test_a_file_that_cannot_be_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 100)
    complaints: list[Any] = []
    before, threading.excepthook = threading.excepthook, complaints.append
    try:
        for path in (tmp_path / "text.db", tmp_path / "nowhere" / "runs.db", tmp_path):
            for _ in range(5):
                with pytest.raises(StoreError):
                    asyncio.run(RunStore(path).list())
                names = {each.name for each in threading.enumerate()}
                assert not any("connection_worker" in name for name in names), names
    finally:
        threading.excepthook = before
    assert complaints == []


@pytest.mark.parametrize(
    ("tables", "named"),
    [
        (["runs (id)"], "'runs'"),
        (["bookmarks (id)"], "'bookmarks'"),
        (["experiments (id)", "runs (id)", "alembic_version (version_num)"], "'experiments', 'runs'"),
        (["alembic_version (version_num)"], "alembic's alone"),
    ],
)
async def test_a_database_of_another_program_is_refused(
    tmp_path: Path, tables: list[str], named: str
) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table}")
        if tables[-1].startswith("alembic"):
            connection.execute("INSERT INTO alembic_version VALUES ('abc')")
    connection.close()
    with pytest.raises(StoreError, match=f"has tables of another program, {named}; wanted one that is empty"):
        await RunStore(tmp_path / "other.db").list()


def test_a_servers_database_may_have_other_tables_but_none_of_these(postgres: str) -> None:
    async def listed(url: str, table: str) -> list[Any]:
        engine = create_async_engine(address_of(url))
        async with engine.begin() as connection:
            await connection.execute(text(f"CREATE TABLE {table} (id INTEGER)"))
        await engine.dispose()
        return list(await RunStore(url).list())

    assert asyncio.run(listed(new_database(postgres), "bookmarks")) == []
    with pytest.raises(StoreError, match="has tables of another program, 'runs'; wanted one that is empty"):
        asyncio.run(listed(new_database(postgres), "runs"))


async def test_a_store_that_another_program_keeps_locked_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    await RunStore(tmp_path / "runs.db").list()
    other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another program keeps it locked"):
        await RunStore(tmp_path / "runs.db").collect()
    other.close()


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_goes_while_its_store_is_open_is_noticed(tmp_path: Path, how: str) -> None:
    graph = Graph("g", inputs={"x": int})
    path = tmp_path / "runs.db"

    @graph.step
    async def first(x: int) -> int:
        path.unlink()
        if how == "replaced":
            path.touch()
        return x

    @graph.step
    async def second(first: int) -> int:
        return first

    options = RunOptions(store=RunStore(path), run_id="run")
    with pytest.raises(StoreError, match="was deleted or replaced while it was open") as caught:
        await graph.run(x=1, options=options)
    assert "see to it that its file stays" in str(caught.value)
    graph = Graph("g", inputs={"x": int})
    graph.step(second, reads={"first": "x"})
    assert (await graph.run(x=1, options=options))["second"] == 1  # a new store, opened anew
    async with RunStore(path) as store:
        path.unlink()
        with pytest.raises(StoreError, match="was deleted or replaced"):
            await store.list()


def test_a_store_without_its_extra_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    for name in [name for name in sys.modules if name.startswith("omni_agent.graph.store.sql")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtra, match=r"omni_agent.RunStore needs the extra 'store'"):
        RunStore(tmp_path / "runs.db")


def test_nothing_of_sqlalchemy_is_imported_before_a_store_is_made() -> None:
    program = "import sys, omni_agent; sys.exit('sqlalchemy' in sys.modules or 'asyncpg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0

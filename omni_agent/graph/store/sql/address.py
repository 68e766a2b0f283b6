"""Which database a store's url means."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from omni_agent.errors import InputError

__all__ = ["address_of"]

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
WANTED = "the path of a SQLite file, sqlite:///path, or postgresql://user@host/database"


def address_of(url: str | os.PathLike[str]) -> URL:
    """The database, with the driver that reaches it from asyncio.

    Raises:
        InputError: no such kind of database, or one that would be gone with the process.
    """
    given: object = url
    if not isinstance(given, str | os.PathLike) or not os.fspath(url):
        raise InputError(f"a store's url was {given!r}; wanted {WANTED}")
    text = os.fspath(url)
    if "://" not in text:
        text = f"sqlite:///{text}"
        parsed = URL.create("sqlite", database=os.fspath(url))
    else:
        try:
            parsed = make_url(text)
        except ArgumentError as error:
            raise InputError(f"a store's url is no URL ({error}); wanted {WANTED}") from error
    backend, _, driver = parsed.drivername.partition("+")
    name = DRIVERS.get(backend)
    if name is None or (driver and f"{backend}+{driver}" != name):
        raise InputError(f"a store's url begins with {parsed.drivername!r}; wanted {WANTED}")
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InputError(f"a store in memory would be gone with its process; wanted {WANTED}")
        # a run may change the working directory; the store stays where it is
        return parsed.set(drivername=name, database=str(Path(parsed.database).absolute()))
    return parsed.set(drivername=name)

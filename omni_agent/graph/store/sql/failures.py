"""What went wrong with a database, and what its user can do about it."""

from __future__ import annotations

from collections.abc import Mapping

from omni_agent.errors import StoreError

__all__ = ["FileGoneError", "failure"]

OF_SQLITE: Mapping[str, str] = {
    "SQLITE_NOTADB": "wanted the file of a store, or the name of one that is not there yet",
    "SQLITE_CORRUPT": "the file is damaged: take it from a backup, or save what can be read by the"
    " `.recover` of the sqlite3 program",
    "SQLITE_CANTOPEN": "see that its folder is there and may be written, and that it is no folder itself",
    "SQLITE_READONLY": "see that the file and its folder may be written",
    "SQLITE_PERM": "see that the file and its folder may be written",
    "SQLITE_FULL": "make room on its disk",
    "SQLITE_IOERR": "see that its disk is there, works and has room",
    "SQLITE_BUSY": "another program keeps it locked: end that one, or try again",
    "SQLITE_LOCKED": "another program keeps it locked: end that one, or try again",
}
"""By the beginning of SQLite's name for what is wrong; longer names tell it more exactly."""

OF_POSTGRESQL: Mapping[str, str] = {
    "3D000": "make the database first: createdb NAME",
    "28": "see that the user and the password in its url are right",
    "42501": "see that its user may make tables and write them",
    "53100": "make room on the server's disk",
    "53300": "the server has no connection left: allow more, or run less at once",
    "57P": "the server was stopped or is starting: try again when it runs",
}
"""By the beginning of the SQLSTATE."""


class FileGoneError(StoreError):
    """The file of an open store was deleted, or another one is in its place."""

    def __init__(self, shown: str) -> None:
        super().__init__(
            f"the store {shown} was deleted or replaced while it was open, so what is written is lost with"
            " it: see to it that its file stays, and run again what was running"
        )


def failure(shown: str, error: BaseException) -> StoreError:
    """What is told of an error of a database's driver.

    Args:
        shown: the database, without its password.
    """
    reason = getattr(error, "orig", None) or error
    said = str(reason).strip()
    told = f"{type(reason).__name__}: {said}" if said else type(reason).__name__
    return StoreError(f"the store {shown} failed ({told}): {_mend(reason)}")


def _mend(reason: BaseException) -> str:
    for name, mends in (("sqlite_errorname", OF_SQLITE), ("sqlstate", OF_POSTGRESQL)):
        known = getattr(reason, name, None)
        if isinstance(known, str):
            general = "see that it is a store of runs, and that nothing else changes its tables"
            return next((mend for begins, mend in mends.items() if known.startswith(begins)), general)
    if isinstance(reason, OSError):
        return "see that the server runs, and that its host and port are right"
    return "see that it is there and can be reached"

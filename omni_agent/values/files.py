"""Reading and writing a user's files, with errors that name the file."""

from __future__ import annotations

import os
from pathlib import Path

from omni_agent.errors import InputError

__all__ = ["check_file", "read_file", "write_file"]


def check_file(path: str | os.PathLike[str], *, what: str, most_bytes: int) -> Path:
    """The path of a regular file that may be read and is neither empty nor too large; nothing is read.

    Args:
        what: what the file should be, for the error ("picture").
        most_bytes: larger files are refused.

    Raises:
        InputError: no path, no such file, not a regular file, not readable, empty, or too large.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"the path of a {what} was {type(path).__name__}; wanted a str or a Path")
    if "://" in str(path) or str(path)[:5].lower() == "data:":
        raise InputError(
            f"{str(path)[:60]!r} is not a path; URLs are never followed: download the {what} first,"
            " or use from_data_uri for a data URI"
        )
    file = Path(path)
    try:
        if not file.exists():
            raise InputError(f"{file}: no such file; wanted the path of a {what}")
        if not file.is_file():
            raise InputError(f"{file}: not a regular file; wanted the path of a {what}")
        with file.open("rb"):
            size = file.stat().st_size
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _unreadable(path, error) from error
    if size > most_bytes:
        raise InputError(f"{file}: {size:,} bytes; the limit for a {what} is {most_bytes:,} bytes")
    if not size:
        raise InputError(f"{file}: the file is empty (0 bytes); wanted a {what}")
    return file


def read_file(path: str | os.PathLike[str], *, what: str, most_bytes: int) -> bytes:
    """The bytes of a regular file; the rest as `check_file`."""
    file = check_file(path, what=what, most_bytes=most_bytes)
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, replacing what is there.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        Path(path).write_bytes(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{str(path)!r} could not be written ({reason})") from error


def _unreadable(path: str | os.PathLike[str], error: OSError | ValueError) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{str(path)!r} could not be read ({reason})")

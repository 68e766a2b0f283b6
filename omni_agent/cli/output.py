"""What commands leave behind: files, and text or one JSON object on stdout."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omni_agent.errors import InputError

__all__ = ["check_place", "make_folder", "print_file", "print_json", "unused", "write_text"]


def print_json(fields: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    print(json.dumps(fields, ensure_ascii=False))


def print_file(kind: str, path: Path, seconds: float, *, as_json: bool) -> None:
    """Say which file was made."""
    if as_json:
        print_json({kind: str(path), "seconds": seconds})
    else:
        print(path)


def check_place(path: Path, endings: Collection[str]) -> None:
    """Refuse a file's place and name before time is spent on what goes there.

    Raises:
        InputError: it is a folder, lies in none, or its name ends in none of the endings.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; wanted the name of a file to write")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    if path.suffix.lower() not in endings:
        raise InputError(f"{path}: the name ends in {path.suffix!r}; wanted one of {', '.join(endings)}")


def make_folder(path: Path) -> None:
    """Make a folder for results, unless it is there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: the folder cannot be made ({error.strerror})") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the file cannot be written ({error.strerror})") from error


def unused(path: Path) -> Path:
    """The path itself, or with the first number that makes it new; the file is created, empty.

    Several commands at once get several files.

    Raises:
        InputError: nothing can be written there.
    """
    number = 1
    while True:
        candidate = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            candidate.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise InputError(f"{candidate}: the file cannot be written ({error.strerror})") from error
        else:
            return candidate

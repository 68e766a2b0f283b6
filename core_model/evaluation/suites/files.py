"""The user's files: folders that hold questions, and the pictures and sounds that these name."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omni_agent.errors import InputError

__all__ = ["Folder", "checked", "json_lines", "lines_of", "text_field"]


@dataclass(eq=False)
class Folder:
    """A folder, in which files are found by path or by name."""

    path: Path
    _found: dict[Path, str] = field(default_factory=dict, repr=False)
    """The files found so far, each with the longest path that it was asked for as."""

    @staticmethod
    def of(source: Path) -> Folder:
        """The folder itself, or the one that a file lies in.

        Raises:
            InputError: there is no such file or folder.
        """
        if not source.exists():
            raise InputError(f"{source}: there is no such file or folder; wanted the suite's files")
        return Folder(source if source.is_dir() else source.parent)

    def files(self, source: Path, fits: Callable[[Path], bool], endings: Collection[str]) -> list[Path]:
        """The source if it is a file, else the folder's own files that end so and fit, by name."""
        if source.is_file():
            return [source]
        return sorted(
            path
            for path in self.path.iterdir()
            if path.is_file() and path.suffix.lower() in endings and fits(path)
        )

    def find(self, name: str, place: str, *, what: str, check: Callable[[Path], object]) -> Path:
        """The file of that path, seen from the folder; where there is none, the one of that name in it.

        Args:
            name: its path, as the suite's file has it.
            place: where that is written, for errors.
            what: what it should be, for errors.
            check: reads the file's header, once for each file.

        Raises:
            InputError: there is none, or several lie in different folders, it lies outside, was found for
                another path before, or is not as wanted.
        """
        path = self._path_of(name, place, what)
        before = self._found.get(path)
        if before is None:
            checked(path, place, check)
        elif not _are_one(Path(name), Path(before)):
            raise InputError(
                f"{place}: there is one {path.name} in {self.path}, for {before!r} and for {name!r}: put each"
                f" {what} at its path"
            )
        self._found[path] = max(before or "", name, key=lambda each: len(Path(each).parts))
        return path

    def holds(self, name: str) -> bool:
        """Whether there is one file that `find` would take."""
        try:
            self._path_of(name, "", "")
        except InputError:
            return False
        return True

    def _path_of(self, name: str, place: str, what: str) -> Path:
        path = self.path / name
        if path.is_file() and path.resolve().is_relative_to(self.path.resolve()):
            return path
        named = self._by_name.get(Path(name).name, [])
        if len(named) == 1:
            return named[0]
        if named:
            listed = ", ".join(str(each.relative_to(self.path)) for each in named[:3])
            raise InputError(f"{place}: {name!r} may be each of {listed}; give the path from {self.path}")
        if path.is_file():
            raise InputError(f"{place}: the {what} {name!r} lies outside of {self.path}; put it there")
        raise InputError(f"{place}: there is no {what} {name!r} in {self.path}; put it there")

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        named = defaultdict(list)
        for path in sorted(self.path.rglob("*")):
            if path.is_file():
                named[path.name].append(path)
        return dict(named)


def checked(path: Path, place: str, check: Callable[[Path], object]) -> Path:
    """A file whose header is as wanted.

    Raises:
        InputError: it is not; says at which place it is asked for.
    """
    try:
        check(path)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    return path


def _are_one(name: Path, other: Path) -> bool:
    """Whether two paths may be the same file: one is the other's end."""
    count = min(len(name.parts), len(other.parts))
    return name.parts[-count:] == other.parts[-count:]


def lines_of(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank, each with its place: the file and the line's number.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: the file cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: this is not text in UTF-8 ({error.reason}); save it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{file}, line {number}", line.rstrip("\r")


def json_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file that has one a line, each with its place.

    Raises:
        InputError: a line is none.
    """
    for place, line in lines_of(file):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InputError(f"{place}: this is not JSON ({error}); wanted one JSON object a line") from error
        if not isinstance(value, dict):
            raise InputError(f"{place}: this is {type(value).__name__}; wanted one JSON object a line")
        yield place, value


def text_field(line: dict[str, Any], name: str, place: str) -> str:
    """A field of a JSON object that must be there, as text.

    Raises:
        InputError: it is not there, or no text.
    """
    value = line.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{place}: {name!r} was {value!r}; wanted text")
    return value

"""The published format of samples: JSON lines with `messages`, `audios` and `images`.

    {"messages": [{"role": "user", "content": "Convert the speech to text.\n<|audio|>"},
                  {"role": "assistant", "content": "a dog on the grass"}],
     "audios": ["sounds/dog.wav"]}

A tag in a content stands for the next file of its list. Nothing is opened here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omni_agent.core import Modality
from omni_agent.errors import InputError

__all__ = ["Line", "Medium", "Said", "parse_line", "parse_sample"]

TAGS = {"<|audio|>": "audios", "<|image|>": "images"}
_TAG = re.compile("(" + "|".join(map(re.escape, TAGS)) + ")")
_MODALITIES = {"<|audio|>": Modality.SPEECH, "<|image|>": Modality.IMAGE}
Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}


@dataclass(frozen=True)
class Medium:
    """A picture or a sound: which, and its file."""

    modality: Modality
    path: Path


@dataclass(frozen=True, kw_only=True)
class Said:
    """One message: whose it is, and its texts and media in order."""

    role: Role
    content: tuple[str | Medium, ...]

    @property
    def modalities(self) -> list[Modality]:
        """What it holds, in order; a text that is nothing but space is none."""
        return [
            Modality.TEXT if isinstance(part, str) else part.modality
            for part in self.content
            if not isinstance(part, str) or part.strip()
        ]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A sample as it is written: a system message or none, then questions and answers in turns."""

    said: tuple[Said, ...]

    @property
    def media(self) -> Iterator[Medium]:
        """All of its files."""
        for each in self.said:
            yield from (part for part in each.content if isinstance(part, Medium))


def parse_line(text: str, *, where: str, folder: Path) -> Line:
    """The sample of one line.

    Args:
        text: the line.
        where: its file and number, for errors.
        folder: what its paths are counted from.

    Raises:
        InputError: it is no sample; says where, what was given and what was wanted.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: this is no JSON ({error}); wanted one object a line") from error
    if not isinstance(document, dict):
        raise InputError(f"{where}: given {type(document).__name__}; wanted an object with 'messages'")
    return parse_sample(document, where=where, folder=folder)


def parse_sample(document: dict[str, Any], *, where: str, folder: Path) -> Line:
    """The sample of a line's JSON object; the rest as `parse_line`."""
    messages = document.get("messages", document.get("conversations"))
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{where}: given no 'messages'; wanted a list of at least a question and its answer")
    files = {tag: _paths(document, name, where, folder) for tag, name in TAGS.items()}
    given = {tag: len(paths) for tag, paths in files.items()}
    said = tuple(
        _said(message, f"{where}: message {number}", files)
        for number, message in enumerate(messages, start=1)
    )
    if said[0].role == "system" and not said[0].content:
        said = said[1:]  # decoding has no empty system line either
    _check_order([each.role for each in said], where)
    for tag, left in files.items():
        if left:
            raise InputError(
                f"{where}: given {given[tag]} {TAGS[tag]} and {given[tag] - len(left)} tags {tag}; wanted as"
                " many: put a tag where each file belongs, or take the file out"
            )
    return Line(said=said)


def _paths(document: dict[str, Any], name: str, where: str, folder: Path) -> list[Path]:
    paths = document.get(name) or []
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise InputError(f"{where}: given {paths!r:.80} as {name!r}; wanted a list of paths")
    if remote := [path for path in paths if "://" in path]:
        raise InputError(f"{where}: given {remote[0]!r}; wanted the path of a file: no URL is followed")
    return [folder / path for path in paths]


def _said(message: object, where: str, files: dict[str, list[Path]]) -> Said:
    if not isinstance(message, dict):
        raise InputError(f"{where}: given {message!r:.80}; wanted an object with 'role' and 'content'")
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if not isinstance(role, str) or role not in ROLES:
        raise InputError(f"{where}: given the role {role!r}; wanted system, user or assistant")
    if not isinstance(content, str):
        raise InputError(f"{where}: given {content!r:.80} as 'content'; wanted a text")
    if not content and role != "system":
        raise InputError(f"{where}: given an empty 'content'; wanted words or a tag, {' or '.join(TAGS)}")
    parts: list[str | Medium] = []
    for piece in _TAG.split(content):
        if piece not in TAGS:
            parts += [piece] if piece else []
            continue
        if ROLES[role] == "system":
            raise InputError(f"{where}: given {piece} in a system message; wanted text there")
        if not files[piece]:
            raise InputError(
                f"{where}: given a tag {piece} for which no file is left in {TAGS[piece]!r}; wanted a file"
                " for each tag: add its path, or take the tag out"
            )
        parts.append(Medium(_MODALITIES[piece], files[piece].pop(0)))
    return Said(role=ROLES[role], content=tuple(parts))


def _check_order(roles: list[Role], where: str) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    wanted = [("user", "assistant")[number % 2] for number in range(len(turns))]
    if turns != wanted or len(turns) % 2 or not turns:
        raise InputError(
            f"{where}: given messages of {', '.join(roles)}; wanted user and assistant in turns, an answer"
            " last, and before them a system message or none"
        )

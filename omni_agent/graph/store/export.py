"""Writing a run out of the store: one JSON document, and its media as files."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.store.sql.database import Database
from omni_agent.graph.store.sql.media import blobs
from omni_agent.graph.store.sql.runs import export_run, media_of

__all__ = ["export"]

SUFFIXES = {"audio/wav": ".wav", "image/webp": ".webp"}
"""Where Python's table of types has none, or a strange one."""


async def export(database: Database, run_id: str, target: str | os.PathLike[str]) -> None:
    """Write a run to a folder or a zip file; see `RunStore.export`."""
    path = Path(target)
    document = await database.read(partial(export_run, run_id=run_id))
    types = await database.read(partial(media_of, run_id=run_id))
    document["media"] = {hash_: _file_of(hash_, type_) for hash_, type_ in sorted(types.items())}
    text = json.dumps(document, ensure_ascii=False, indent=2).encode()
    try:
        write, close = await asyncio.to_thread(_opened, path)
        try:
            await asyncio.to_thread(write, "run.json", text)
            for hash_, file in document["media"].items():  # one by one: together they may be large
                found = await database.read(partial(blobs, hashes=[hash_]))
                await asyncio.to_thread(write, file, found[hash_])
        finally:
            await asyncio.to_thread(close)
    except OSError as error:
        raise InputError(f"{str(path)!r} could not be written ({error.strerror or error})") from error


def _opened(path: Path) -> tuple[Callable[[str, bytes], Any], Callable[[], None]]:
    if path.suffix.lower() == ".zip":
        if path.exists():
            raise InputError(f"{str(path)!r} is there already: delete it first, or give another name")
        archive = zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED)
        return archive.writestr, archive.close
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{str(path)!r} is there already, and no empty folder: give another name")
    (path / "media").mkdir(parents=True, exist_ok=True)
    return (lambda name, data: (path / name).write_bytes(data)), lambda: None


def _file_of(hash_: str, media_type: str) -> str:
    guessed = ".json" if media_type.endswith("json") else mimetypes.guess_extension(media_type)
    return f"media/{hash_}{SUFFIXES.get(media_type, guessed or '.bin')}"

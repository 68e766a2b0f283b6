"""Files of a checkpoint: written whole or not at all, and JSON read as what it should be."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omni_agent.errors import CheckpointError

__all__ = ["read_json", "replace_file", "write_json"]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, then put it in its place: a reader sees the old one or the new one,
    whole. Others may read it as they may read any new file, whatever `write` thinks of that.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch()
        mode = partial.stat().st_mode
        write(partial)
        partial.chmod(mode)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)  # what filled a disk must not go on filling it
        raise


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write an object as JSON."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """Read an object.

    Raises:
        CheckpointError: it cannot be read, or is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{str(path)!r} holds {type(document).__name__}; wanted an object")
    return document

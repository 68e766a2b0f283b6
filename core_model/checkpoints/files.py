"""Files of a checkpoint as files: written whole or not at all, and told apart by their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["fingerprint", "replace_file"]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, then put it in its place: a reader sees the old one or the new one,
    whole.
    """
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    os.replace(partial, path)


def fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 over the files: equal for equal bytes in equal order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

"""Files of a checkpoint are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, then put it in its place: a reader sees the old one or the new one,
    whole.
    """
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    os.replace(partial, path)

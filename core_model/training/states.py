"""The state that a training goes on from after a kill: one file, whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["replace_state"]


def replace_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state beside the last one, then put it in its place. What a kill leaves beside it is written
    over by the next; one process at a time may write.
    """
    new = path.with_suffix(".new")
    torch.save(dict(state), new)
    new.replace(path)

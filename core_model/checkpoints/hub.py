"""Checkpoints on the Hugging Face hub: fetched once, then taken from its cache, also without a network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from omni_agent.errors import CheckpointError

__all__ = ["HubId", "cached", "fetched"]

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_PATTERNS = ("*.json", "*.safetensors", "*.txt")


@dataclass(frozen=True)
class HubId:
    """The id of a repository on the hub: owner/name."""

    name: str

    @classmethod
    def of(cls, name: str) -> HubId | None:
        """What a text names, if it has the form of an id."""
        return cls(name) if _ID.fullmatch(name) else None


def fetched(hub_id: HubId, patterns: tuple[str, ...] = _PATTERNS) -> Path:
    """The folder in the hub's cache with the files of a repository; what is not there yet is fetched.

    Raises:
        CheckpointError: there is no such repository, or it can neither be reached nor is in the cache.
    """
    try:
        return Path(snapshot_download(hub_id.name, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        said = " ".join(str(error).split())
        raise CheckpointError(
            f"there is no folder {hub_id.name!r}, and the hub gives no checkpoint of that id: {said}"
        ) from error


def cached(hub_id: HubId, patterns: tuple[str, ...]) -> Path | None:
    """The folder in the hub's cache, if the repository is there already; nothing is fetched."""
    try:
        return Path(snapshot_download(hub_id.name, allow_patterns=list(patterns), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None

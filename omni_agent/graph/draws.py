"""Which noise a step's core calls draw: a seed for each, from the run's seed and what names the call."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from hashlib import sha256
from typing import Any

from omni_agent.core import Request
from omni_agent.graph.context import StepContext
from omni_agent.graph.store.records import CallKey
from omni_agent.values import Image, Speech, Text

__all__ = ["Draws"]


class Draws:
    """Names a run's core calls, and gives each its seed.

    A call is named by its step's path, the attempt, the request, and how often the attempt asked the same
    before. What sets a seed of its own keeps it, for its first attempt.

    Args:
        seed: of the run; None leaves the requests' own seeds.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._asked: Counter[CallKey] = Counter()

    def key(self, context: StepContext, request: Request) -> CallKey:
        """The name of a call that a step makes now."""
        first = CallKey(
            path=context.path,
            attempt=context.attempt,
            request=sha256(json.dumps(_told(request)).encode()).hexdigest(),
            occurrence=0,
        )
        self._asked[first] += 1
        return replace(first, occurrence=self._asked[first] - 1)

    def drawn(self, key: CallKey, request: Request) -> Request:
        """The request with its noise."""
        settings = request.settings
        if settings.seed and key.attempt == 1:
            return request
        if self._seed is None and key.attempt == 1:
            return request
        if self._seed is None or settings.seed:
            named: list[Any] = [settings.seed, key.attempt]
        else:
            named = [self._seed, key.path, key.attempt, key.request, key.occurrence]
        digest = sha256(json.dumps(named).encode()).digest()
        return replace(request, settings=replace(settings, seed=int.from_bytes(digest[:8], "big") >> 1))


def _told(value: object) -> Any:
    """A request as JSON has it, with media by the hashes of its content."""
    if isinstance(value, Image | Speech):
        return {type(value).__name__: value.content_hash}
    if isinstance(value, Text):
        return {"Text": str(value)}
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {field.name: _told(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_told(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _told(each) for key, each in value.items()}
    return value

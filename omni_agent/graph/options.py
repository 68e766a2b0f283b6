"""How one run is carried out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.tracer import Tracer

__all__ = ["RunOptions"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How one run is carried out.

    Args:
        given: values of steps known already. These steps are skipped, and so are the steps and inputs that
            only they need.
        limit: at most this many steps run at once; None is as many as are ready.
        tracer: told when the run, its steps and their requests begin and end: see
            `omni_agent.reach.opentelemetry`.
        timeout: seconds after which the run is cancelled and fails with `RunTimedOut`.

    Raises:
        InputError: a limit below 1, or a timeout that is not above 0.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    timeout: float | None = None
    tracer: Tracer | None = None

    def __post_init__(self) -> None:
        limit: object = self.limit
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InputError(f"limit was {limit!r}; wanted an integer of 1 or more, or None")
        timeout: object = self.timeout
        if timeout is not None and (
            not isinstance(timeout, int | float) or not timeout > 0 or not math.isfinite(timeout)
        ):
            raise InputError(f"timeout was {timeout!r}; wanted seconds above 0, or None")
        given: object = self.given
        if not isinstance(given, Mapping):
            raise InputError(f"given was {type(given).__name__}; wanted a mapping of steps' names to values")

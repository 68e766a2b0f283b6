"""How one run is carried out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omni_agent.errors import InputError
from omni_agent.graph.store.names import check_run_id, check_seed
from omni_agent.graph.store.store import RunStore
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
        seed: what the noise of the steps' core calls derives from, 0 or more; None draws one for a run in a
            store, and else leaves the calls the noise that they ask for. What sets a seed of its own keeps
            it, for the first attempt.
        store: where the run is stored, to go on after its process ended. A new `run_id` runs; one that
            finished gives its stored result; one that was interrupted, failed or was cancelled goes on.
        run_id: names the run, 1 to 200 characters that can be printed.
        rerun_changed: whether a stored run may go on though its graph changed. What changed, and what reads
            it, is done anew.

    Raises:
        InputError: a limit below 1, a timeout that is not above 0, a store without a run_id, ...
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    timeout: float | None = None
    seed: int | None = None
    store: RunStore | None = None
    run_id: str | None = None
    rerun_changed: bool = False
    tracer: Tracer | None = None

    def __post_init__(self) -> None:
        limit: object = self.limit
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InputError(f"limit was {limit!r}; wanted an integer of 1 or more, or None")
        timeout: object = self.timeout
        if timeout is not None and not _are_seconds(timeout):
            raise InputError(f"timeout was {timeout!r}; wanted seconds above 0, or None")
        check_seed(self.seed)
        if self.run_id is not None:
            check_run_id(self.run_id)
        store: object = self.store
        if store is not None and not isinstance(store, RunStore):
            raise InputError(f"store was {type(store).__name__}; wanted a RunStore, or None")
        if store is not None and self.run_id is None:
            raise InputError("a store was given without a run_id; wanted the id to store the run under")
        if store is None and self.run_id is not None:
            raise InputError(
                f"run_id {self.run_id!r} was given without a store, so nothing would be kept: give"
                " store=RunStore(...) too, or leave it out"
            )
        tracer: object = self.tracer
        if tracer is not None and not isinstance(tracer, Tracer):
            raise InputError(
                f"tracer was {type(tracer).__name__}; wanted omni_agent.reach.opentelemetry.OpenTelemetry(),"
                " or something with its methods run, step and request"
            )
        if type(self.rerun_changed) is not bool:
            raise InputError(f"rerun_changed was {self.rerun_changed!r}; wanted True or False")
        if self.rerun_changed and store is None:
            raise InputError("rerun_changed was given without a store: it is for runs that go on")
        given: object = self.given
        if not isinstance(given, Mapping):
            raise InputError(f"given was {type(given).__name__}; wanted a mapping of steps' names to values")


def _are_seconds(given: object) -> bool:
    if not isinstance(given, int | float) or isinstance(given, bool):
        return False
    return math.isfinite(given) and given > 0

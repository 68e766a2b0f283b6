"""What names a run, and what its noise is drawn from: which of them are acceptable."""

from __future__ import annotations

from omni_agent.errors import InputError

__all__ = ["check_run_id", "check_seed"]

MOST_CHARACTERS = 200


def check_run_id(run_id: object) -> None:
    """Whether a text may name a run.

    Raises:
        InputError: it may not.
    """
    if not isinstance(run_id, str) or not run_id.isprintable() or not 1 <= len(run_id) <= MOST_CHARACTERS:
        shown = repr(run_id)[:60]
        raise InputError(f"run_id was {shown}; wanted 1 to {MOST_CHARACTERS} characters that can be printed")


def check_seed(seed: object) -> None:
    """Whether a number may be a run's seed.

    Raises:
        InputError: it may not.
    """
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        raise InputError(f"seed was {seed!r}; wanted an integer of 0 or more, below 2**63, or None")

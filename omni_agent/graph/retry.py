"""Calling again what failed, after a while, or what was unsure, with other noise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_result
from tenacity.wait import wait_exponential_jitter

from omni_agent.graph.keeper import Kept
from omni_agent.graph.plan import Call

__all__ = ["retried"]

LONGEST = 60.0
"""Seconds between two attempts, at most."""


async def retried(
    attempt: Callable[[int], Awaitable[Kept]],
    body: Call,
    *,
    may_retry: Callable[[], bool],
    tell: Callable[[int, BaseException | None, float | None, float], None],
) -> Kept:
    """The first value that is sure enough, or the surest of all there may be.

    Args:
        attempt: calls the function; it is given the number of the attempt, from 1.
        body: says how often.
        may_retry: whether a failure may still be followed by another attempt.
        tell: told before each further attempt of its number, what the last one failed with or how sure it
            was, and how many seconds it waits.
    """
    failed = unsure = 0
    surest: Kept | None = None

    def is_unsure(kept: Kept) -> bool:
        nonlocal surest
        if surest is None or _sureness(kept) > _sureness(surest):
            surest = kept
        return body.unsure is not None and _sureness(kept) < body.unsure.below

    def is_enough(state: RetryCallState) -> bool:
        nonlocal failed, unsure
        if _failure(state) is not None:
            failed += 1
            return failed > body.retries or not may_retry()
        unsure += 1
        return body.unsure is None or unsure > body.unsure.retry

    backoff = wait_exponential_jitter(multiplier=body.backoff, max=LONGEST, jitter=body.backoff)

    def wait(state: RetryCallState) -> float:
        return 0 if _failure(state) is None else backoff(state)

    def before(state: RetryCallState) -> None:
        kept = None if state.outcome is None or state.outcome.failed else state.outcome.result()
        confidence = kept.confidence if isinstance(kept, Kept) else None
        tell(state.attempt_number + 1, _failure(state), confidence, state.upcoming_sleep)

    def last(state: RetryCallState) -> Any:
        assert state.outcome is not None
        return state.outcome.result()  # raises what it failed with

    number = 0

    async def numbered() -> Kept:
        nonlocal number
        number += 1
        return await attempt(number)

    retrying = AsyncRetrying(
        sleep=asyncio.sleep,
        stop=is_enough,
        wait=wait,
        retry=retry_if_exception(lambda error: isinstance(error, Exception)) | retry_if_result(is_unsure),
        before_sleep=before,
        retry_error_callback=last,
    )
    kept: Kept = await retrying(numbered)
    return kept if surest is None or _sureness(kept) >= _sureness(surest) else surest


def _sureness(kept: Kept) -> float:
    return 1.0 if kept.confidence is None else kept.confidence


def _failure(state: RetryCallState) -> BaseException | None:
    assert state.outcome is not None
    return state.outcome.exception() if state.outcome.failed else None

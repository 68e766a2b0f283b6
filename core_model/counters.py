"""What an engine has done, counted in its thread and read from any."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from itertools import accumulate

from omni_agent.core import Modality, Status

__all__ = ["Counters"]

RECENT = 10.0
"""Seconds that rates are taken over."""

WITHIN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds, of `Status.finished_within`: from an answer of omni-tiny to a picture of the published model."""


class Counters:
    """Counts of requests, model calls, denoising steps and tokens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._finished_seconds = 0.0
        self._finished_in: Counter[int] = Counter()  # by the first of `WITHIN` that is enough
        self._tokens: Counter[Modality] = Counter()
        self._batches: Counter[int] = Counter()
        self._steps = 0
        self._busy = 0.0
        self._recent: deque[tuple[float, Modality, int]] = deque()

    def stepped(self, modalities: list[tuple[Modality, int]], rows: int, seconds: float) -> None:
        """A model call for so many rows was made: for each request in it that was not cancelled meanwhile,
        the modality of its blank and the tokens decided.
        """
        now = time.monotonic()
        with self._lock:
            self._batches[rows] += 1
            self._busy += seconds
            self._steps += len(modalities)
            for modality, tokens in modalities:
                self._tokens[modality] += tokens
                self._recent.append((now, modality, tokens))
            self._forget(now)

    def ended(self, how: str, seconds: float = 0.0) -> None:
        """A request is done, as `Ticket.how_it_ended` says, or was "refused"; its canvas took so long."""
        with self._lock:
            self._ended[how] += 1
            if how == "finished":
                self._finished_seconds += seconds
                self._finished_in[bisect_left(WITHIN, seconds)] += 1

    def status(self, *, queued: int, active: int) -> Status:
        """The counts as they are now."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            lately: Counter[Modality] = Counter()
            finished_within = accumulate(self._finished_in[at] for at in range(len(WITHIN)))
            for _, modality, tokens in self._recent:
                lately[modality] += tokens
            return Status(
                queued=queued,
                active=active,
                finished=self._ended["finished"],
                failed=self._ended["failed"],
                late=self._ended["late"],
                cancelled=self._ended["cancelled"],
                refused=self._ended["refused"],
                finished_seconds=self._finished_seconds,
                finished_within=dict(zip(WITHIN, finished_within, strict=True)),
                steps=self._steps,
                calls=sum(self._batches.values()),
                busy_seconds=self._busy,
                tokens={modality: self._tokens[modality] for modality in Modality},
                batch_sizes=dict(sorted(self._batches.items())),
                steps_per_second=len(self._recent) / RECENT,
                tokens_per_second={modality: lately[modality] / RECENT for modality in Modality},
            )

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - RECENT:
            self._recent.popleft()

from __future__ import annotations

import math

import pytest

from omni_agent.core_model.counters import WITHIN, Counters


def test_how_long_those_took_that_finished_is_told_by_bounds() -> None:
    counters = Counters()
    for seconds in (0.02, 0.1, 0.11, 1000.0):
        counters.ended("finished", seconds)
    counters.ended("failed", 0.001)
    status = counters.status(queued=0, active=0)
    assert status.finished == 4
    assert status.finished_seconds == pytest.approx(1000.23)
    assert list(status.finished_within) == sorted(WITHIN)
    assert math.inf not in status.finished_within
    within = status.finished_within
    assert [within[bound] for bound in (0.01, 0.025, 0.05, 0.1, 0.25, 300.0)] == [0, 1, 1, 2, 3, 3]

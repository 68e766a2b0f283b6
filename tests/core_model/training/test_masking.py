"""Which places are masked: as published, and at one share for all of a sample."""

from __future__ import annotations

import numpy as np
import pytest

from omni_agent.core_model.training.masking import (
    masked_at,
    masked_by_place,
    masked_by_sample,
    share_at,
    stratified,
)

TAIL = np.arange(40) >= 30


def test_by_place_about_half_is_masked_and_of_padding_six_tenths_of_that() -> None:
    rng = np.random.default_rng(0)
    drawn = [masked_by_place(rng, TAIL) for _ in range(2000)]
    shares = np.mean([each.places for each in drawn], axis=0)
    assert shares[:30] == pytest.approx(0.5, abs=0.05)
    assert shares[30:] == pytest.approx(0.3, abs=0.05)
    assert max(each.places[:30].mean() for each in drawn) < 0.95, "nearly full ones are never seen"
    chances = np.stack([each.chance for each in drawn])
    assert chances[:, :30].min() > 0.001
    assert chances[:, 30:].max() < 0.6


def test_by_sample_all_places_share_one_share() -> None:
    rng = np.random.default_rng(0)
    drawn = [masked_by_sample(rng, TAIL, 0.8, padding=0.5) for _ in range(2000)]
    shares = np.mean([each.places for each in drawn], axis=0)
    assert shares[:30] == pytest.approx(0.8, abs=0.05)
    assert shares[30:] == pytest.approx(0.4, abs=0.05)
    assert drawn[0].chance.tolist() == [0.8] * 30 + [0.4] * 10
    full = masked_by_sample(rng, TAIL, 1.0)
    assert full.places.all(), "as decoding begins: the padding is masked too"
    assert (full.chance == 1).all()


def test_one_place_at_least_is_masked() -> None:
    rng = np.random.default_rng(0)
    assert all(masked_at(rng, TAIL, 0.0).sum() == 1 for _ in range(20))


def test_half_of_the_samples_are_nearly_full_and_a_tenth_is_full() -> None:
    shares = np.array(
        [share_at(q, full=0.1, nearly_full=0.4) for q in np.linspace(0, 1, 10_000, endpoint=False)]
    )
    assert (shares == 1).mean() == pytest.approx(0.1, abs=0.001)
    assert (shares >= 0.7).mean() == pytest.approx(0.5, abs=0.001)
    assert np.quantile(shares, 0.25) == pytest.approx(0.35, abs=0.001)
    assert (np.diff(shares) >= 0).all()
    assert share_at(0.999, full=0.0, nearly_full=0.0) < 0.7 <= share_at(0.0, full=0.0, nearly_full=1.0)


@pytest.mark.parametrize(("rows", "places"), [(128, 1), (16, 8), (1, 20)])
def test_the_shares_of_a_step_lie_evenly(rows: int, places: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first = rng.random()
        quantiles = sorted(stratified(first, row, place) for row in range(rows) for place in range(places))
        even = (np.arange(len(quantiles)) + 0.5) / len(quantiles)
        # The largest distance from evenness; of independent ones it would be about 1 / sqrt(n).
        assert np.abs(np.array(quantiles) - even).max() < 4 / len(quantiles)

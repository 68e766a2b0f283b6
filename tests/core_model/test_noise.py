"""Noise is a function of what it is for."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from omni_agent.core_model.noise import gumbel, uniform


@given(st.integers(0, 2**63 - 1), st.integers(0, 5000), st.integers(0, 200_000))
def test_a_number_does_not_depend_on_what_is_asked_beside_it(key: int, place: int, token: int) -> None:
    alone = uniform(key, torch.tensor([place]), torch.tensor([token]))
    among = uniform(key, torch.arange(place, place + 3)[:, None], torch.arange(token - 1, token + 2))
    assert alone[0] == among[0, 1]
    assert 0 < alone[0] < 1


def test_numbers_are_spread_evenly_and_keep_to_themselves() -> None:
    grid = uniform(7, torch.arange(400)[:, None], torch.arange(1000))
    assert len(grid.unique()) == grid.numel()
    torch.testing.assert_close(
        torch.histc(grid, 20, 0, 1) / grid.numel(), torch.full((20,), 0.05).double(), atol=2e-3, rtol=0
    )
    for other in (
        grid.roll(1, 0),
        grid.roll(1, 1),
        uniform(8, torch.arange(400)[:, None], torch.arange(1000)),
    ):
        both = torch.stack([grid.flatten(), other.flatten()])
        assert abs(float(both.corrcoef()[0, 1])) < 0.005


def test_the_largest_of_noise_and_log_probabilities_is_a_draw() -> None:
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = (chances.log() + gumbel(3, torch.arange(40_000)[:, None], torch.arange(4))).argmax(-1)
    torch.testing.assert_close(torch.bincount(drawn) / 40_000, chances, atol=0.01, rtol=0)

"""The highest of long rows are those that torch finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omni_agent.core_model.topk import LONG, topk


@given(
    rows=st.integers(0, 5),
    columns=st.integers(1, 400),
    share=st.floats(0, 1),
    kinds=st.integers(1, 200),
    seed=st.integers(0, 2**31),
)
def test_they_are_those_of_topk_with_their_columns(
    rows: int, columns: int, share: float, kinds: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(kinds, (rows, columns), generator=generator).float() - kinds / 2
    count = max(1, int(columns * share / LONG))
    values, where = topk(numbers, count)
    assert torch.equal(values, numbers.topk(count).values)
    assert torch.equal(values, numbers.gather(1, where))
    assert all(len(set(row)) == count for row in where.tolist())


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_odd_is_among_them(odd: float) -> None:
    numbers = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    numbers[1, [7, 999]] = odd
    numbers[2] = -float("inf")
    values, where = topk(numbers, 51)
    torch.testing.assert_close(values, numbers.topk(51).values, equal_nan=True)
    assert set(where[1, :2].tolist()) == {7, 999}


def test_rows_may_lie_apart() -> None:
    numbers = torch.randn(4, 900, generator=torch.Generator().manual_seed(0))
    values, where = topk(numbers[:, 100:], 7)
    assert torch.equal(values, numbers[:, 100:].topk(7).values)
    assert torch.equal(where, numbers[:, 100:].topk(7).indices)

"""Products by either library are the same up to rounding, and training is torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from omni_agent.core_model.linear import Linear, bound_linear, linear


def test_products_are_torchs_own_up_to_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 8), (70, 8), (2, 5, 8), (0, 8)):
        x, weight = torch.randn(shape, generator=generator), torch.randn(12, 8, generator=generator)
        for bias in (None, torch.randn(12, generator=generator)):
            with torch.inference_mode():
                torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("by_onednn", [False, True])
def test_a_weight_that_stays_serves_any_number_of_rows(
    packed: bool, by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_onednn:  # nor where the processor would have it
        monkeypatch.setattr("omni_agent.core_model.linear._by_onednn", lambda: False)
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(*size, generator=generator) for size in ((96, 40), (96,)))
    rows = torch.randn(300, 40, generator=generator)
    for its_bias in (None, bias):
        by = bound_linear(weight, its_bias, packed=packed)
        with torch.inference_mode():
            for shape in ((40,), (0, 40), (1, 40), (17, 40), (2, 64, 40), (3, 0, 40), (300, 40)):
                x = rows.flatten()[: math.prod(shape)].view(shape)
                torch.testing.assert_close(by(x), F.linear(x, weight, its_bias))
            apart = rows[:80].T.contiguous().T
            torch.testing.assert_close(by(apart), F.linear(apart, weight, its_bias))


def test_a_layer_learns_and_keeps_its_type() -> None:
    layer = Linear(4, 3)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        assert layer.double()(torch.randn(2, 4).double()).dtype is torch.float64

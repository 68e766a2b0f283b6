"""Products by either library are the same up to rounding, and training is torch's own."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from omni_agent.core_model.linear import Linear, linear


def test_products_are_torchs_own_up_to_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 8), (70, 8), (2, 5, 8), (0, 8)):
        x, weight = torch.randn(shape, generator=generator), torch.randn(12, 8, generator=generator)
        for bias in (None, torch.randn(12, generator=generator)):
            with torch.inference_mode():
                torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))


def test_a_layer_learns_and_keeps_its_type() -> None:
    layer = Linear(4, 3)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        assert layer.double()(torch.randn(2, 4).double()).dtype is torch.float64

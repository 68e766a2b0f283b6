"""The prompt stressed, in both readings."""

from __future__ import annotations

import torch

from omni_agent.core_model.guidance import guided


def test_guidance_of_zero_changes_nothing_and_one_doubles_the_difference() -> None:
    conditional, unconditional = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 3.0]])
    torch.testing.assert_close(guided(conditional, unconditional, 0.0), conditional)
    torch.testing.assert_close(guided(conditional, unconditional, 1.0), torch.tensor([[2.0, 1.0]]))

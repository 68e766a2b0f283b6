"""Rows of unequal length in one call."""

from __future__ import annotations

import torch

from omni_agent.core_model.batching import attended_rows, prefix_mask


def test_a_prefix_sees_only_itself_and_the_rest_sees_all() -> None:
    mask = prefix_mask(4, 2)
    assert mask[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_attended_rows_are_filled_up_in_front_or_behind() -> None:
    first, second = torch.ones(3, 2), torch.full((1, 2), 5.0)
    for behind, wanted in ((True, [5, 9, 9]), (False, [9, 9, 5])):
        rows = attended_rows([first, second], torch.tensor([9.0, 9.0]), behind=behind)
        assert rows[0].equal(first)
        assert rows[1, :, 0].tolist() == wanted

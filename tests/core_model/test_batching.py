"""Rows of unequal length in one call."""

from __future__ import annotations

import torch

from omni_agent.core_model.batching import attended_rows, masked_rows


def test_a_prefix_sees_only_itself_and_the_rest_sees_all() -> None:
    rows, mask = masked_rows([torch.ones(4, 3)], [2])
    assert rows.shape == (1, 4, 3)
    assert mask is not None
    assert mask[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_rows_of_one_length_that_all_see_need_no_mask() -> None:
    rows, mask = masked_rows([torch.ones(4, 3), torch.zeros(4, 3)], [0, 0])
    assert rows.shape == (2, 4, 3)
    assert mask is None


def test_nobody_sees_what_is_put_behind_a_shorter_row() -> None:
    rows, mask = masked_rows([torch.ones(4, 3), torch.ones(2, 3)], [0, 1])
    assert rows[1].sum() == 6
    assert mask is not None
    assert mask[0, 0].all()
    assert mask[1, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_attended_rows_are_filled_up_in_front_or_behind() -> None:
    first, second = torch.ones(3, 2), torch.full((1, 2), 5.0)
    for behind, wanted in ((True, [5, 9, 9]), (False, [9, 9, 5])):
        rows = attended_rows([first, second], torch.tensor([9.0, 9.0]), behind=behind)
        assert rows[0].equal(first)
        assert rows[1, :, 0].tolist() == wanted

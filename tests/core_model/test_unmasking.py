"""Laws of the unmasking rules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omni_agent.core_model.exponentials import log_sum_exp
from omni_agent.core_model.unmasking import candidates, choose


@given(st.integers(1, 40), st.data())
def test_the_surest_places_are_chosen_and_equals_go_to_the_lower_position(
    length: int, data: st.DataObject
) -> None:
    confidence = torch.tensor(
        data.draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=length, max_size=length))
    )
    count = data.draw(st.integers(0, length))
    expected = sorted(range(length), key=lambda i: (-confidence[i].item(), i))[:count]
    assert choose(confidence, count).tolist() == sorted(expected)


def test_without_temperature_the_likeliest_column_is_the_candidate_and_ties_go_to_the_first() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [1.0, 0.0, 0.0]])
    columns, confidence = candidates(logits, top_p=0.1, top_k=1)
    assert columns.tolist() == [1, 0]
    torch.testing.assert_close(confidence, logits.softmax(-1).max(-1).values)


def test_confidence_is_taken_before_truncation() -> None:
    logits = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    noise = torch.zeros_like(logits)
    columns, confidence = candidates(
        logits, temperature=1.0, top_p=0.3, top_k=4, noise=lambda columns: noise.gather(-1, columns)
    )
    assert columns.tolist() == logits.argmax(-1).tolist()
    torch.testing.assert_close(confidence, logits.softmax(-1).max(-1).values)


def test_draws_follow_the_truncated_distribution() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    generator = torch.Generator().manual_seed(1)
    count = 20_000
    noise = -(-torch.rand(count, 4, generator=generator).clamp(1e-9).log()).log()
    drawn, _ = candidates(
        logits.expand(count, -1),
        temperature=1.0,
        top_k=3,
        top_p=1.0,
        noise=lambda columns: noise.gather(-1, columns),
    )
    shares = torch.bincount(drawn, minlength=4) / count
    torch.testing.assert_close(
        shares, torch.cat([logits[0, :3].softmax(-1), torch.zeros(1)]), atol=0.02, rtol=0
    )


def test_top_p_keeps_the_first_column_above_the_threshold() -> None:
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log().expand(4000, -1)
    noise = -(-torch.rand(4000, 3, generator=torch.Generator().manual_seed(2)).clamp(1e-9).log()).log()
    drawn, _ = candidates(logits, temperature=1.0, top_p=0.7, noise=lambda columns: noise.gather(-1, columns))
    assert set(drawn.tolist()) == {0, 1}


def test_drawing_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="wants noise"):
        candidates(torch.zeros(1, 3), temperature=0.5)


@given(st.integers(0, 2**32), st.floats(0, 300))
def test_the_log_of_a_sum_of_exponentials_is_torchs_own_however_far_apart_they_are(
    seed: int, spread: float
) -> None:
    logits = spread * torch.randn(4, 100, generator=torch.Generator().manual_seed(seed))
    logits[0, :50] = -torch.inf
    highest = logits.amax(-1, keepdim=True)
    torch.testing.assert_close((highest + log_sum_exp(logits, highest))[:, 0], logits.logsumexp(-1))


def test_the_log_of_a_sum_of_exponentials_is_taken_of_a_few_long_rows_at_a_time() -> None:
    for rows in (1, 2, 7):
        logits = 3 * torch.randn(rows, 400_000, generator=torch.Generator().manual_seed(rows))
        highest = logits.amax(-1, keepdim=True)
        found = (highest + log_sum_exp(logits, highest))[:, 0]
        torch.testing.assert_close(found, logits.logsumexp(-1))

"""Laws of the published unmasking rules; the golden cases hold their arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_agent import InputError
from omni_agent.core import ALGORITHMS, Algorithm
from omni_agent.core_model import candidates
from omni_agent.core_model.published_unmasking import PublishedRule
from omni_agent.core_model.schedule import BlockStep, published
from tests.core_model.published_step import commit

MASK, VOCAB = 90, 97


def decoded(rule: PublishedRule, steps: Sequence[BlockStep], length: int, seed: int) -> list[torch.Tensor]:
    """The blank after each step, on logits of chance."""
    generator = torch.Generator().manual_seed(seed)
    blank, after = torch.full((length,), MASK), []
    for index, step in enumerate(steps):
        masked = int((blank == MASK).sum())
        if not masked:
            break
        logits = 3 * torch.randn(masked, VOCAB, generator=generator)
        logits[:, MASK] = -1e4
        blank = commit(rule, step, blank, logits, mask=MASK, first=index == 0, key=seed + index).blank
        after.append(blank)
    return after


@settings(deadline=None)
@given(
    st.sampled_from(ALGORITHMS),
    st.integers(1, 130),
    st.integers(1, 140),
    st.none() | st.integers(1, 140),
    st.sampled_from([0.0, 0.7]),
)
def test_a_blank_is_filled_block_by_block_and_what_is_committed_stays(
    algorithm: Algorithm, length: int, num_steps: int, block_length: int | None, temperature: float
) -> None:
    rule = PublishedRule(
        algorithm=algorithm,
        temperature=temperature,
        repeat_penalty=1.3,
        max_position_penalty=2.0,
    )
    steps = published(length, num_steps, block_length)
    assert len(steps) <= min(num_steps, length)
    blanks = decoded(rule, steps, length, seed=3)
    before = torch.full((length,), MASK)
    if steps and all(step.stop - step.start == length for step in steps):
        assert not (blanks[-1] == MASK).any(), "one block is filled"
    for step, after in zip(steps, blanks, strict=False):
        assert torch.equal(after[before != MASK], before[before != MASK])
        changed = (after != before).nonzero()[:, 0]
        if algorithm != "origin":
            assert ((changed >= step.start) & (changed < step.stop)).all()
            assert len(changed) == step.count(int((before[step.start : step.stop] == MASK).sum()))
        if step.last:
            assert not (after[step.start : step.stop] == MASK).any()
        before = after


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 10_000),
    st.integers(1, 60),
    st.floats(0.05, 0.99),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.sampled_from([0.5, 3.0, 12.0]),
    st.sampled_from([VOCAB, 10 * VOCAB]),
)
def test_what_is_kept_without_sorting_is_what_sorting_keeps(
    seed: int, top_k: int, top_p: float, coarse: float, spread: float, vocab: int
) -> None:
    """Also where logits are equal: rounded to steps of `coarse`, many are."""
    logits = spread * torch.randn(8, vocab, generator=torch.Generator().manual_seed(seed))
    if coarse:
        logits = (logits / coarse).round() * coarse
    logits[0] += 1e5
    logits[1, :3] = -torch.inf
    logits[2, 5] = torch.inf
    logits[3, 5] = torch.nan
    wanted = candidates._by_sorting(logits, top_p, top_k)
    values, columns = candidates.kept(logits, top_p, top_k)
    assert (columns.diff() > 0).all()
    kept = torch.full_like(logits, torch.finfo(logits.dtype).min).scatter(-1, columns, values)
    torch.testing.assert_close(kept, wanted, rtol=0, atol=0, equal_nan=True)


def test_what_is_kept_before_a_long_tail_of_equals_is_what_sorting_keeps() -> None:
    """Where the published softmax errs most, with sums of two shares next to the border."""
    off = torch.linspace(-3e-5, 3e-5, 101)
    logits = torch.full((len(off), 5259), float(np.log(0.05 / 5257)))
    logits[:, 7], logits[:, 70] = (0.5 + off).log(), np.log(0.4)
    logits[:, 700] = np.log(0.05)
    wanted = candidates._by_sorting(logits, 0.9, 50)
    assert set((wanted > torch.finfo(wanted.dtype).min).sum(-1).tolist()) == {2, 3}
    values, columns = candidates.kept(logits, 0.9, 50)
    kept = torch.full_like(logits, torch.finfo(logits.dtype).min).scatter(-1, columns, values)
    assert torch.equal(kept, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
def test_in_half_precision_as_many_are_kept_of_equals_as_there_is_room_for(
    dtype: torch.dtype, top_p: float
) -> None:
    """Rounding makes equals in nearly every row: if they were sorted, nearly all would be."""
    logits = 3 * torch.randn(50, 10 * VOCAB, generator=torch.Generator().manual_seed(0))
    logits = logits.to(dtype)
    sorted_all = candidates._by_sorting(logits.float(), top_p, 20).sort(-1, descending=True).values
    wanted = sorted_all[:, :20]
    assert top_p < 0.9 or (sorted_all[:, 20] > torch.finfo(torch.float32).min).any(), "no equals to choose of"
    values, columns = candidates.kept(logits, top_p, 20)
    assert torch.equal(values.sort(-1, descending=True).values[:, :20], wanted)
    found = values > torch.finfo(torch.float32).min
    assert torch.equal(values[found], logits.float().gather(-1, columns)[found])
    assert (columns.diff() > 0).all()
    unchanged, same_columns, unsure = candidates.kept_unless_unsure(logits, top_p, 20)
    assert torch.equal(unchanged, values)
    assert torch.equal(same_columns, columns)
    assert not unsure.any()


def test_origin_takes_each_place_by_the_share_of_the_step_and_draws_from_what_is_kept() -> None:
    rule = PublishedRule(algorithm="origin", temperature=1.0, top_p=0.9, top_k=3)
    step = BlockStep(start=0, stop=20_000, share=0.3, last=False)
    logits = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]).log().expand(20_000, 5)
    blank = torch.full((20_000,), 5)
    after = commit(rule, step, blank, logits, mask=5, first=True, key=1).blank
    taken = after[after != 5]
    assert len(taken) / 20_000 == pytest.approx(0.3, abs=0.015)
    shares = torch.bincount(taken, minlength=5) / len(taken)
    torch.testing.assert_close(shares[:3], torch.tensor([0.4, 0.3, 0.15]) / 0.85, atol=0.02, rtol=0)
    assert shares[3:].sum() == 0


@pytest.mark.parametrize("algorithm", ["maskgit_plus", "topk_margin", "entropy"])
def test_ties_fall_as_topk_lets_them_among_all_masked_places(algorithm: Algorithm) -> None:
    """Behind a top-p of 0.9, a token of more than that is as sure as can be: trained models tie a lot."""
    rule = PublishedRule(algorithm=algorithm, top_p=0.9)
    logits = torch.zeros(9, 12)
    for place, peak in enumerate((9, 9, 1, 9, 8, 9, 9, 1, 9)):
        logits[place, place] = peak
    blank = torch.full((10,), 11)
    blank[4] = 3
    step = BlockStep(start=2, stop=9, share=0.6, last=False)
    after = commit(rule, step, blank, logits, mask=11, first=True).blank
    sure = torch.tensor([1.0, 1, 0, 1, 1, 1, 1, 0, 1])
    sure[[0, 1, 8]] = -torch.inf
    where = torch.cat([torch.arange(4), torch.arange(5, 10)])[sure.topk(3).indices]
    assert (after != blank).nonzero()[:, 0].tolist() == sorted(where.tolist())


def test_a_repeat_is_weakened_from_the_second_step_on_and_the_token_0_never() -> None:
    rule = PublishedRule(algorithm="entropy-penalty", repeat_penalty=3.0, top_p=1.0, top_k=0)
    blank = torch.tensor([2, 0, 4, 4])
    logits = torch.tensor([[3.0, -9, 3.1, 2, -9], [-1.0, -9, -0.9, -2, -9]])
    step = BlockStep(start=0, stop=4, share=1.0, last=True)
    for first, wanted in ((True, [2, 0, 2, 2]), (False, [2, 0, 0, 0])):
        after = commit(rule, step, blank, logits, mask=4, first=first).blank
        assert after.tolist() == wanted


def test_chance_is_never_taken_from_where_nobody_gave_it() -> None:
    step, blank = BlockStep(start=0, stop=2, share=0.5, last=False), torch.full((2,), 3)
    for rule in (PublishedRule(algorithm="origin"), PublishedRule(temperature=0.5)):
        with pytest.raises(ValueError, match="wants a key"):
            commit(rule, step, blank, torch.zeros(2, 4), mask=3, first=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"algorithm": "best"}, "the algorithm was 'best'; wanted one of origin, maskgit_plus"),
        ({"top_p": 0.0}, "top_p was 0.0; wanted a share above 0"),
        ({"top_k": -1}, "top_k was -1"),
        ({"temperature": -0.1}, "temperature was -0.1"),
        ({"repeat_penalty": 0.0}, "repeat_penalty was 0.0; wanted a number above 0"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(
    wrong: dict[str, object], said: str, shapes_unchecked: None
) -> None:
    with pytest.raises(InputError, match=said):
        PublishedRule(**wrong)  # type: ignore[arg-type]

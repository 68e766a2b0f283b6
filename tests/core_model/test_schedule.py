"""Laws of schedules."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_agent.core_model.schedule import anew, as_given, check_blocks, check_given, counts, even
from omni_agent.errors import InputError

lengths = st.integers(1, 300)
blocks = st.none() | st.integers(1, 320)


@given(lengths, st.integers(1, 400))
def test_steps_commit_every_place_once_and_none_commits_nothing(length: int, num_steps: int) -> None:
    places = [step.places or 0 for step in even(length, num_steps)]
    assert sum(places) == length
    assert len(places) == min(length, num_steps)
    assert min(places) >= 1
    assert max(places) - min(places) <= 1


@given(lengths, st.integers(1, 400), st.integers(1, 320))
def test_blocks_share_the_steps_by_their_places(length: int, num_steps: int, block: int) -> None:
    steps = even(length, num_steps, block)
    assert len(steps) == min(length, num_steps)
    for start in range(0, length, block):
        size = min(block, length - start)
        inside = [step.places or 0 for step in steps if step.start == start]
        assert sum(inside) in (0, size)
        assert abs(len(inside) - min(length, num_steps) * size / length) < 1


@given(lengths, blocks, st.integers(1, 50), st.data())
def test_a_schedule_made_anew_commits_every_place_once_and_no_step_nothing(
    length: int, block: int | None, wanted: int, data: st.DataObject
) -> None:
    masked = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1)))
    steps = anew(masked, wanted, length, block)
    assert len(steps) == min(wanted, len(masked))
    assert sum(counts(steps, masked)) == len(masked)
    assert min(counts(steps, masked)) >= 1
    assert [step.start for step in steps] == sorted(step.start for step in steps)


@given(lengths, blocks, st.integers(1, 50), st.data())
def test_a_schedule_made_anew_is_what_its_counts_give(
    length: int, block: int | None, wanted: int, data: st.DataObject
) -> None:
    masked = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1)))
    steps = anew(masked, wanted, length, block)
    given_again = as_given(counts(steps, masked), masked, length, block)
    # of one block alone masked places lie in it whatever its borders are said to be
    inside = [[[p for p in masked if s.start <= p < s.stop] for s in each] for each in (steps, given_again)]
    assert inside[0] == inside[1]
    assert [step.places for step in steps] == [step.places for step in given_again]


@given(lengths, st.integers(1, 400), blocks)
def test_a_schedule_given_as_it_was_run_is_the_same_schedule(
    length: int, num_steps: int, block: int | None
) -> None:
    steps, masked = even(length, num_steps, block), list(range(length))
    try:
        check_blocks(steps, length, num_steps, block)
    except InputError:
        return
    assert as_given(counts(steps, masked), masked, length, block) == steps


def test_a_schedule_that_does_not_fit_the_blank_is_refused() -> None:
    with pytest.raises(InputError, match="5 places in 2 steps was given for a blank with 4 to fill"):
        as_given((2, 3), range(4), 4)


def test_too_few_steps_for_the_blocks_are_refused() -> None:
    with pytest.raises(InputError, match="1 steps are too few for 2 blocks of 4 places"):
        check_blocks(even(8, 1, 4), 8, 1, 4)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 6), st.integers(0, 2**32))
def test_a_schedule_that_is_given_fills_the_blank_whatever_places_its_steps_take_or_is_refused(
    given_counts: list[int], block: int, seed: int
) -> None:
    rng, length = random.Random(seed), sum(given_counts)
    masked = set(range(length))
    try:
        check_given(given_counts, sorted(masked), length, block)
    except InputError:
        ends = list(accumulate(given_counts))
        assert any(
            end % block and count > end % block for end, count in zip(ends[:-1], given_counts, strict=False)
        )
        return
    for step in as_given(given_counts, sorted(masked), length, block):
        inside = [place for place in masked if step.start <= place < step.stop]
        masked -= set(rng.sample(inside, step.count(len(inside))))
    assert not masked

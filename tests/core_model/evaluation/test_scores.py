"""Scores: Wilson intervals and word errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_agent.core_model.evaluation.scores import Share, WordErrors, agree, wilson, word_errors


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Newcombe 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_of_known_counts(hits: int, total: int, low: float, high: float) -> None:
    assert wilson(hits, total) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(0, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_a_wilson_interval_holds_the_share_and_stays_within_0_and_1(count: tuple[int, int]) -> None:
    share = Share(hits=count[0], total=count[1])
    low, high = share.interval
    assert 0 <= low <= share.value <= high <= 1


def test_an_impossible_count_is_refused() -> None:
    with pytest.raises(ValueError, match="given 3 of 2"):
        wilson(3, 2)


def test_an_counts_as_a() -> None:
    assert agree("A apple", "an apple")
    assert not agree("an apple", "an orange")
    assert word_errors(["is there an owl"], ["is there a owl"]).hits == 0


def test_word_errors_count_substitutions_deletions_and_insertions() -> None:
    share = word_errors(["three apples in the snow", "yes"], ["three apple in snow", "yes yes"])
    assert (share.hits, share.total) == (3, 6)
    assert share.value == 0.5


def test_more_errors_than_words_are_more_than_one() -> None:
    errors = word_errors(["yes"], ["no no no"])
    assert errors.value == 3
    assert errors.interval == (3, 3)


def test_the_interval_of_word_errors_is_that_of_drawing_the_sentences_anew() -> None:
    # A hundred sentences of four words, every other one wholly wrong: the share of such sentences among a
    # hundred drawn has a standard deviation of 5 %.
    errors = WordErrors(errors=(0, 4) * 50, words=(4,) * 100)
    low, high = errors.interval
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_silence_is_all_deletions() -> None:
    assert word_errors(["a dog"], [""]).value == 1


def test_errors_among_some_words_count_these_alone() -> None:
    said, heard = ["what is two plus three", "three dogs"], ["what is too plus three", "dogs and a cat"]
    counted = word_errors(said, heard, among=("two", "three"))
    assert (counted.errors, counted.words) == ((1, 1), (2, 1))
    assert word_errors(said, heard).total == 7

"""Questions that are not asked again while there is another."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from omni_agent.core_model.evaluation.answering import ROWS, different, sample
from omni_agent.core_model.evaluation.distinct import distinct
from omni_agent.core_model.evaluation.hearing_and_speaking import ANSWERS, SENTENCES, _sentences, _spread
from omni_agent.core_model.world import split_of


def test_all_there_is_comes_once_before_anything_comes_twice() -> None:
    rng = np.random.default_rng(0)
    drawn = distinct(lambda: int(rng.integers(20)), lambda number: number, 50)
    assert sorted(drawn[:20]) == list(range(20))
    assert sorted(drawn[20:40]) == list(range(20))
    assert max(Counter(drawn).values()) == 3


@pytest.mark.parametrize("name", ROWS)
def test_five_hundred_questions_are_different_where_there_are_as_many(name: str) -> None:
    asked = sample(np.random.default_rng(1), name, 500, "held_out")
    times = Counter((one.shows, one.question) for one in asked)
    assert {split_of(one.shows) for one in asked} == {"held_out"}
    # Single objects held out with their number or their background, in 193 combinations, are all there is to
    # "what"; to half of "where" as well. The same is asked again about another picture.
    assert len(times) == {"what": 193, "where": 443}.get(name, 500)
    assert max(times.values()) == {"what": 3, "where": 2}.get(name, 1)
    assert len({one.picture for one in asked}) == 500
    assert different([(one.shows, one.question) for one in asked]) == (
        f"of them {len(times)} different" if len(times) < 500 else ""
    )


def test_each_kind_of_question_is_asked_in_both_voices() -> None:
    asked = sample(np.random.default_rng(2), "left or right", 40, "held_out")
    assert Counter((one.question.kind, one.voice) for one in asked) == {
        (kind, voice): 10 for kind in ("left", "right") for voice in ("awb", "ked")
    }


def test_sentences_of_a_voice_come_again_only_where_there_is_no_other() -> None:
    said = _spread(np.random.default_rng(3), 500, "held_out")
    assert len(said) == 500
    assert len(set(said)) > 480
    for kinds in (SENTENCES, ANSWERS):
        said = _sentences(np.random.default_rng(4), kinds, 250, "held_out")
        assert len(set(said)) == 250

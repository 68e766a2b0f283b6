"""Who shares a model call: what pays, what is exact, and that it never shows in the tokens."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_agent.core_model.engine import Engine
from omni_agent.core_model.grouping import (
    AS_FAST,
    FORGOTTEN_AFTER,
    LONG_CALL,
    MOST_SHAPES,
    MOST_TOGETHER,
    TRIES,
    Paying,
    Shape,
    same_shape,
)
from omni_agent.core_model.model import Decoding
from omni_agent.errors import InputError
from omni_agent.values import Text
from tests.core_model.random_core import STEPS, Calls, ask, decoded, one_of_each, random_model, running

SECONDS = 20
ROUGH, EXACT = Shape(exact=False, size=1), Shape(exact=True, size=1)


def never(indices: Sequence[int]) -> bool:
    raise AssertionError(f"{indices} need no comparison")


def told(paying: Paying, shape: Shape, rows: int, seconds: float, times: int = TRIES) -> None:
    for _ in range(times):
        paying.took(shape, rows, seconds)


@given(st.floats(1e-4, 1), st.floats(1e-4, LONG_CALL, exclude_max=True), st.integers(2, MOST_TOGETHER))
def test_after_its_tries_a_group_is_one_that_pays(alone: float, together: float, rows: int) -> None:
    paying = Paying()
    told(paying, ROUGH, 1, alone)
    for _ in range(TRIES):
        assert paying.groups([ROUGH] * rows, never) == [list(range(rows))]
        paying.took(ROUGH, rows, together)
    shares = paying.groups([ROUGH] * rows, never)
    assert shares == ([list(range(rows))] if together / rows < alone else [[at] for at in range(rows)])


def sizes(paying: Paying, rows: int) -> list[int]:
    return [len(group) for group in paying.groups([ROUGH] * rows, never)]


def test_of_a_long_call_half_as_many_share_it_where_that_is_about_as_fast_for_each() -> None:
    paying = Paying()
    told(paying, ROUGH, 1, 0.04)
    told(paying, ROUGH, 16, 16 * 0.02)
    told(paying, ROUGH, 8, 8 * 0.021)
    told(paying, ROUGH, 4, 4 * 0.03)
    assert sizes(paying, 16) == [8, 8]


def test_of_a_long_call_half_as_many_are_tried() -> None:
    paying = Paying()
    told(paying, ROUGH, 1, 0.04)
    told(paying, ROUGH, 16, 16 * 0.02)
    assert sizes(paying, 16) == [8, 8]
    told(paying, ROUGH, 8, 8 * 0.03)
    assert sizes(paying, 16) == [16]


def test_a_long_call_is_shared_where_half_as_many_take_as_long() -> None:
    paying = Paying()
    told(paying, ROUGH, 1, 0.3)
    told(paying, ROUGH, 4, 0.32)
    told(paying, ROUGH, 2, 0.31)
    assert sizes(paying, 4) == [4]


@given(st.floats(1e-4, 1), st.floats(0.1, 1), st.floats(0.1, 1), st.floats(0.1, 1), st.floats(0.1, 1))
def test_no_split_costs_more_than_it_may(
    alone: float, of_two: float, of_four: float, of_eight: float, of_all: float
) -> None:
    each = {1: alone, 2: of_two * alone, 4: of_four * alone, 8: of_eight * alone, 16: of_all * alone}
    paying = Paying()
    for rows, seconds in each.items():
        told(paying, ROUGH, rows, rows * seconds)
    parts = sizes(paying, 16)
    spent = sum(rows * each[rows] for rows in parts) / (16 * alone)
    assert spent <= 1.001 * (of_all * AS_FAST if of_all < 1 else 1)


def test_an_odd_number_is_split_only_where_both_parts_are_as_fast_and_alike() -> None:
    paying = Paying()
    told(paying, ROUGH, 1, 0.1)
    told(paying, ROUGH, 5, 5 * 0.03)
    told(paying, ROUGH, 2, 2 * 0.03)
    assert sizes(paying, 5) == [2, 3]
    told(paying, ROUGH, 3, 3 * 0.09)
    assert sizes(paying, 5) == [5]


def test_nobody_shares_before_it_is_known_what_one_takes() -> None:
    assert Paying().groups([ROUGH, ROUGH], never) == [[0], [1]]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=40), st.booleans())
def test_each_is_in_one_group_of_its_own_shape_and_none_is_too_large(
    asked: list[tuple[bool, int]], same: bool
) -> None:
    shapes = [Shape(exact=exact, size=size) for exact, size in asked]
    paying = Paying()
    for shape in set(shapes):
        told(paying, shape, 1, 1.0)
    groups = paying.groups(shapes, lambda indices: same)
    assert sorted(index for group in groups for index in group) == list(range(len(shapes)))
    for group in groups:
        assert len({shapes[index] for index in group}) == 1
        assert len(group) <= MOST_TOGETHER
        assert len(group) == 1 or same or not shapes[group[0]].exact


def test_what_is_exact_shares_only_where_the_comparison_was_passed_which_is_made_once() -> None:
    paying, compared = Paying(), []

    def alike(indices: Sequence[int]) -> bool:
        compared.append(len(indices))
        return len(indices) != 3

    told(paying, EXACT, 1, 1.0)
    for _ in range(4):
        assert paying.groups([EXACT] * 3, alike) == [[0], [1], [2]]
        assert paying.groups([EXACT] * 2, alike) == [[0, 1]]
    assert compared == [3, 2]


def test_a_long_exact_call_is_shared_by_all_where_half_as_many_did_not_pass_the_comparison() -> None:
    paying = Paying()
    told(paying, EXACT, 1, 0.04)
    told(paying, EXACT, 8, 8 * 0.03)

    def alike(indices: Sequence[int]) -> bool:
        return len(indices) == 8

    assert len(paying.groups([EXACT] * 8, alike)) == 8
    assert paying.groups([EXACT] * 8, alike) == [list(range(8))]


def test_what_did_not_fit_the_memory_is_not_tried_again() -> None:
    paying = Paying()
    other = replace(ROUGH, size=2)
    for shape in (ROUGH, other):
        told(paying, shape, 1, 1.0)
    paying.too_many(ROUGH, 8)
    assert max(map(len, paying.groups([ROUGH] * 16, never))) == 4
    paying.too_many(ROUGH, 16)
    assert max(map(len, paying.groups([ROUGH] * 16, never))) == 4
    assert max(map(len, paying.groups([other] * 16, never))) == 16


def test_what_is_known_of_shapes_is_bounded_and_the_last_ones_are_kept() -> None:
    paying = Paying()
    told(paying, ROUGH, 1, 1.0)
    for size in range(2 * MOST_SHAPES):
        told(paying, replace(ROUGH, size=("other", size)), 1, 1.0, times=1)
        assert sizes(paying, 2) == [2]
    assert len(paying._times) == MOST_SHAPES


def test_what_did_not_pay_is_tried_again_after_a_while() -> None:
    paying = Paying()
    told(paying, ROUGH, 1, 1.0)
    told(paying, ROUGH, 2, 9.0)
    shared = [paying.groups([ROUGH] * 2, never) == [[0, 1]] for _ in range(FORGOTTEN_AFTER)]
    assert shared.index(True) == FORGOTTEN_AFTER - 1


# In the engine

MODEL = random_model(1)


class Willing(Paying):
    """Shares whatever passes the bitwise comparison, whether or not it pays: for tests of exactness."""

    def _pays(self, shape: Shape, group: Sequence[int], alike: Any) -> bool:
        return not shape.exact or alike(group)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.integers(0, 3),
            st.sampled_from([0.0, 0.8]),
            st.sampled_from([None, 1.0]),
            st.sampled_from([None, 3]),
        ),
        min_size=2,
        max_size=12,
    ),
    st.sampled_from([Paying, Willing]),
)
def test_in_exact_mode_no_grouping_changes_a_token(
    asked: list[tuple[int, int, float, float | None, int | None]], kind: type[Paying]
) -> None:
    requests = []
    for which, seed, temperature, scale, block in asked:
        request = one_of_each(seed, temperature)[which]
        changed = replace(request.settings, guidance_scale=scale, block_length=block)
        requests.append(replace(request, settings=changed))
    wanted = [decoded(MODEL, request) for request in requests]
    engine = Engine(MODEL, grouping=kind())
    try:
        tickets = [engine.submit(request) for request in requests]
        for ticket, expected in zip(tickets, wanted, strict=True):
            assert ticket.result(SECONDS).value == MODEL.value(expected)
            assert ticket.state is not None
            assert ticket.state.canvas.ids.equal(expected.canvas.ids)
            assert ticket.state.sure.equal(expected.sure)
    finally:
        engine.close()


@pytest.mark.parametrize("error", [InputError("guidance is for one at a time"), torch.OutOfMemoryError()])
def test_those_of_whom_a_call_cannot_be_compared_have_one_each(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = random_model(1), [one_of_each()[2]] * 3
    wanted = MODEL.value(decoded(MODEL, asked[0]))

    def alike(decodings: Sequence[Decoding]) -> bool:
        tried.append(len(decodings))
        raise error

    tried: list[int] = []
    monkeypatch.setattr(model, "alike", alike)
    engine = Engine(model, grouping=Willing())
    try:
        assert [ticket.result(SECONDS).value for ticket in [engine.submit(each) for each in asked]] == [
            wanted
        ] * 3
        assert tried
        assert engine.submit(asked[0]).result(SECONDS).value == wanted
    finally:
        engine.close()


def test_what_a_call_that_was_too_much_had_made_is_let_go_before_the_halves_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = random_model()
    advance, held, left = model.advance, [], []

    def limited(decodings: Sequence[Decoding], *, in_a_hurry: bool) -> list[Decoding]:
        if len(decodings) > 1:
            made = torch.zeros(4)
            held.append(weakref.ref(made))
            raise torch.OutOfMemoryError("too many")
        left.extend(reference() for reference in held)
        return advance(decodings, in_a_hurry=in_a_hurry)

    monkeypatch.setattr(model, "advance", limited)
    with running(model, grouping=same_shape) as engine:
        for ticket in [engine.submit(ask(seed=seed)) for seed in range(4)]:
            ticket.result(SECONDS)
    assert left
    assert not any(each is not None for each in left)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_what_is_too_much_for_the_memory_is_split_goes_on_and_is_remembered(most: int) -> None:
    model = random_model()
    calls = Calls(model)
    advance, refused = model.advance, []

    def limited(decodings: Sequence[Decoding], *, in_a_hurry: bool) -> list[Decoding]:
        if len(decodings) > most:
            refused.append(len(decodings))
            raise torch.OutOfMemoryError(f"{len(decodings)} rows do not fit")
        return advance(decodings, in_a_hurry=in_a_hurry)

    model.advance = limited  # type: ignore[method-assign]
    fast = {"mode": "fast", "threshold": 0.99}
    engine = Engine(model, grouping=Willing())
    try:
        calls.hold()
        tickets = [engine.submit(ask(seed=seed, **fast)) for seed in range(8)]
        calls.release()
        for ticket in tickets:
            assert isinstance(ticket.result(SECONDS).value, Text)
        assert refused
        assert len(refused) <= 7  # all in one round: 8, 4, 2, 2, 4, 2, 2
        assert max(map(len, calls.made)) <= most
        assert sum(map(len, calls.made)) == 8 * STEPS
        assert engine.status().failed == 0
    finally:
        engine.close()


def test_one_alone_that_is_too_much_for_the_memory_fails_alone() -> None:
    model = random_model()
    advance = model.advance

    def limited(decodings: Sequence[Decoding], *, in_a_hurry: bool) -> list[Decoding]:
        if any(decoding.settings.seed == 1 for decoding in decodings):
            raise torch.OutOfMemoryError("it does not fit")
        return advance(decodings, in_a_hurry=in_a_hurry)

    model.advance = limited  # type: ignore[method-assign]
    engine = Engine(model, grouping=Willing())
    try:
        tickets = [engine.submit(ask(seed=seed, threshold=0.99)) for seed in range(4)]
        with pytest.raises(torch.OutOfMemoryError):
            tickets[1].result(SECONDS)
        for seed in (0, 2, 3):
            assert isinstance(tickets[seed].result(SECONDS).value, Text)
    finally:
        engine.close()


def test_a_status_counts_calls_steps_and_tokens() -> None:
    model = random_model()
    engine = Engine(model, grouping=Willing())
    try:
        tickets = [engine.submit(ask(seed=seed, threshold=1.0)) for seed in range(3)]
        drawn = engine.submit(one_of_each()[6])
        for ticket in (*tickets, drawn):
            ticket.result(SECONDS)
        engine.decode(drawn.result(0).value).result(SECONDS)
        cancelled = engine.submit(ask(seed=9))
        cancelled.cancel()
        with pytest.raises(Exception, match="no words"):
            engine.submit(ask("?")).result(SECONDS)
        status = engine.status()
        assert (status.finished, status.failed, status.cancelled) == (4, 1, 1)
        assert status.steps == sum(rows * calls for rows, calls in status.batch_sizes.items())
        assert status.calls == sum(status.batch_sizes.values())
        assert status.steps >= 4 * STEPS
        assert status.tokens["image"] == 16
        assert status.tokens["text"] >= 3 * STEPS
        assert (status.queued, status.active) == (0, 0)
        assert status.steps_per_second > 0
        assert status.busy_seconds > 0
    finally:
        engine.close()

"""A step of fixed shape commits what the step whose shapes follow from the blank commits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_agent.core_model import captured, denoising
from omni_agent.core_model.captured import FixedSteps
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.decoding import Decoding, counted, hurried
from omni_agent.core_model.fixed_shape import (
    Blank,
    Inputs,
    first_of_equals,
    for_rows,
    numbers_of,
    packed,
    shape_of,
)
from omni_agent.core_model.fixed_step import fixed_step
from omni_agent.core_model.model import Model
from omni_agent.core_model.parity import check_folder, core_cases
from tests.core_model.published_core import asked, published_model
from tests.core_model.random_core import one_of_each, random_model

GOLDEN = Path(__file__).parents[1] / "golden" / "core"

models = st.sampled_from([random_model(seed) for seed in range(3)])
kinds = st.integers(0, 7)
typed = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.8]),
        "top_p": st.sampled_from([1.0, 0.7]),
        "top_k": st.sampled_from([50, 5]),
    }
)
published = st.fixed_dictionaries(
    {
        "algorithm": st.sampled_from(["maskgit_plus", "topk_margin", "entropy", "entropy-penalty"]),
        "temperature": st.sampled_from([0.0, 0.8]),
        "top_p": st.sampled_from([1.0, 0.9]),
        "top_k": st.sampled_from([50, 3, 7]),
        "repeat_penalty": st.sampled_from([1.0, 1.3]),
        "max_position_penalty": st.sampled_from([1.0, 2.0]),
    }
)
shared = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 5),
        "guidance_scale": st.sampled_from([0.0, 1.5]),
        "length": st.sampled_from([None, 5, 40]),
        "num_steps": st.sampled_from([3, 7]),
    }
)
blocks = st.sampled_from(
    [{}, {"block_length": 4, "num_steps": 100}, {"block_length": 4, "num_steps": 100, "prompt_cache": True}]
)


def asked_for(rule: dict[str, Any]) -> dict[str, Any]:
    """Settings of what is given."""
    return {name: value for name, value in rule.items() if value is not None}


def begun(model: Model, which: int, changes: dict[str, Any]) -> Decoding:
    """The first state of a request of some kind, counted."""
    request = one_of_each()[which]
    if request.blank == "image":
        changes = changes | {"length": None}
    given_settings = replace(request.settings, **asked_for(changes))
    canvas = model.canvas(replace(request, settings=given_settings))
    return counted(model.start(canvas, given_settings))


def agree(ours: Decoding, theirs: Decoding) -> None:
    """Equal in every token and commit, and as sure."""
    assert ours.run == theirs.run
    assert counted(ours).left == counted(theirs).left
    for name in ("masked", "tokens", "committed"):
        assert getattr(ours, name).equal(getattr(theirs, name)), name
    assert ours.canvas.ids.equal(theirs.canvas.ids)
    assert (ours.unconditional is None) == (theirs.unconditional is None)
    if ours.unconditional is not None and theirs.unconditional is not None:
        assert ours.unconditional.ids.equal(theirs.unconditional.ids)
    torch.testing.assert_close(ours.sure, theirs.sure, atol=1e-5, rtol=1e-4)


def step_by_step(model: Model, state: Decoding) -> FixedSteps:
    """Both kinds of step from every state of a request."""
    steps = FixedSteps()
    while not state.done:
        [ours] = steps.advance(model, [state])
        ours = steps.settled(model, ours)
        [theirs] = denoising.advance(model, [state])
        if not are_equal(ours, theirs) and is_decided_by_rounding(model, state, theirs):
            state = theirs
            continue
        agree(ours, theirs)
        state = ours
    return steps


def are_equal(ours: Decoding, theirs: Decoding) -> bool:
    """Whether both took the same tokens at the same places, and would take the same at the others."""
    return ours.tokens.equal(theirs.tokens) and ours.masked.equal(theirs.masked)


def is_decided_by_rounding(model: Model, state: Decoding, after: Decoding) -> bool:
    """Whether a step takes something else of logits that are others by a millionth: two tokens or places are
    equal but for that, and calls of other shapes round otherwise.
    """
    [logits] = denoising.logits_of(model, [state])
    return any(
        not are_equal(denoising.after_step(model, state, logits + 1e-6 * noise * (1 + logits.abs())), after)
        for noise in torch.randn(20, *logits.shape, generator=torch.Generator().manual_seed(0))
    )


@settings(max_examples=60, deadline=None)
@given(models, kinds, typed, shared, blocks)
def test_typed_it_commits_what_the_other_commits(
    model: Model, which: int, rule: dict[str, Any], more: dict[str, Any], block: dict[str, Any]
) -> None:
    steps = step_by_step(model, begun(model, which, rule | more | block))
    assert steps.doubts == 0
    assert steps.shapes


@settings(max_examples=100, deadline=None)
@given(models, kinds, published, shared, blocks)
def test_published_it_commits_what_the_other_commits(
    model: Model, which: int, rule: dict[str, Any], more: dict[str, Any], block: dict[str, Any]
) -> None:
    assert step_by_step(model, begun(model, which, rule | more | block)).shapes


def test_behind_a_hundred_masked_places_the_position_penalty_is_the_same() -> None:
    model = published_model()
    request = asked("draw", "A dog.", length=140, num_steps=12, max_position_penalty=3.0)
    assert step_by_step(model, counted(model.start(model.canvas(request), request.settings))).shapes


def test_the_golden_blanks_are_filled_by_it_step_for_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = FixedSteps()
    monkeypatch.setattr(core_cases, "Model", partial(Model, fixed_steps=steps))
    # rows that share no call are read alike however they would be padded; with guidance they are two
    monkeypatch.setattr(
        core_cases, "CoreConfig", lambda **given: CoreConfig(**{**given, "padding": "masked"})
    )
    shutil.copy(GOLDEN / "cases.json", tmp_path)
    names = {path.name for path in GOLDEN.glob("decode_*.npz")} - {"decode_s2i_cfg.npz"}
    for name in names:
        shutil.copy(GOLDEN / name, tmp_path)
    verdicts = list(check_folder(tmp_path))
    assert [(verdict.case, verdict.faults) for verdict in verdicts if verdict.faults] == []
    assert len(verdicts) == len(names) == 9
    assert len(steps.shapes) > 5


@cache
def several(which: int, count: int) -> tuple[Model, list[Decoding]]:
    model = random_model(1)
    return model, [
        begun(model, which, {"seed": seed, "temperature": 0.7, "num_steps": 4}) for seed in range(count)
    ]


@settings(max_examples=20, deadline=None)
@given(kinds, st.integers(2, 5))
def test_several_in_one_call_commit_what_each_commits_alone(which: int, count: int) -> None:
    model, states = several(which, count)
    steps = FixedSteps()
    together = steps.advance(model, states)
    assert [shape.rows for shape in steps.shapes] == [1 << (count - 1).bit_length()]
    for state, among in zip(states, together, strict=True):
        agree(steps.settled(model, among), denoising.advance(model, [state])[0])


def test_where_topk_takes_the_first_of_equals_so_does_it_without_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not first_of_equals(torch.device("cpu"))
    monkeypatch.setattr(captured, "first_of_equals", lambda device: True)
    model = random_model()
    model.transformer.lm_head.weight *= 1e4  # truncation leaves one token, and every place is as sure
    state, steps = begun(model, 1, {"algorithm": "entropy", "length": 20, "num_steps": 5}), FixedSteps()
    while not state.done:
        [after] = steps.advance(model, [state])
        after = steps.settled(model, after)
        assert (after.sure[state.masked] == 1).all()
        new = (state.masked & ~after.masked).nonzero()[:, 0]
        assert new.equal(state.masked.nonzero()[: len(new), 0])
        state = after
    assert steps.doubts == 0


def test_nothing_of_it_is_looked_at_on_the_host_and_all_of_it_is_on_the_device() -> None:
    model = random_model()
    rules: list[dict[str, Any]] = [
        {},
        {"temperature": 0.8},
        {"algorithm": "topk_margin"},
        {"algorithm": "entropy-penalty", "temperature": 0.8, "repeat_penalty": 1.2},
        {"algorithm": "entropy", "max_position_penalty": 2.0, "guidance_scale": 1.0},
    ]
    shapes = {shape_of(model, begun(model, which, rule)) for which in range(8) for rule in rules}
    assert len(shapes) >= 20
    nowhere = random_model().to("meta")  # numbers that are not there cannot be looked at
    for shape in shapes:
        assert shape is not None
        for rows in (1, 3):
            inputs = Inputs(nowhere, for_rows(shape, rows), first_of_equals=True)
            with torch.inference_mode():
                left = fixed_step(nowhere, inputs)
            assert left.is_meta
            assert left.shape == inputs.blank.shape


def test_what_is_not_of_fixed_shape_has_none() -> None:
    model = random_model()
    plain = begun(model, 3, {})
    assert shape_of(model, plain) is not None
    assert shape_of(model, replace(plain, left=None)) is None
    for changes in (
        {"threshold": 0.9},
        {"early_end": True},
        {"prompt_cache": True},
        {"algorithm": "origin"},
    ):
        assert shape_of(model, begun(model, 3, changes)) is None
    attended = published_model(padding="attended")
    request = asked("answer", "A dog?")
    assert shape_of(attended, counted(attended.start(attended.canvas(request), request.settings))) is None


def test_lengths_that_are_about_equal_have_one_shape() -> None:
    model = random_model()
    shapes = [shape_of(model, begun(model, 1, {"length": length})) for length in (20, 21, 22, 40)]
    assert shapes[0] == shapes[1] == shapes[2] != shapes[3]


@settings(max_examples=30, deadline=None)
@given(models, kinds, st.integers(1, 3), st.sampled_from([None, 3]))
def test_a_state_is_its_bytes(model: Model, which: int, times: int, block: int | None) -> None:
    state = begun(model, which, {"block_length": block, "num_steps": 100})
    for _ in range(times):
        [state] = denoising.advance(model, [state])
    length = 64
    data = packed(model, state, length)
    blank, size = Blank.of(data, length), len(state.masked)
    assert blank.ids[0, :size].equal(state.canvas.filled)
    assert (blank.ids[0, size:] == model.vocabulary.mask).all()
    for name in ("masked", "tokens", "sure", "committed"):
        assert getattr(blank, name)[0, :size].equal(getattr(state, name))
        assert not getattr(blank, name)[0, size:].any()
    state = counted(state)
    assert len(numbers_of(state, 1)) == 13


def test_a_schedule_made_anew_over_several_blocks_is_stepped_too() -> None:
    model = random_model()
    state = begun(model, 1, {"length": 12, "block_length": 3, "num_steps": 12})
    steps = FixedSteps()
    [state] = steps.advance(model, [state])
    state = hurried(steps.settled(model, state), 2)
    assert state.steps[1].stop - state.steps[1].start > 3
    while not state.done:
        [ours] = steps.advance(model, [state])
        agree(steps.settled(model, ours), denoising.advance(model, [state])[0])
        state = ours


def test_a_given_schedule_across_blocks_commits_what_the_other_commits() -> None:
    model = random_model()
    changes = {"length": 12, "block_length": 3, "schedule": (2, 1, 6, 3), "num_steps": None}
    step_by_step(model, begun(model, 1, changes))

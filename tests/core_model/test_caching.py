"""Laws of what is remembered, what is left out and what shares a call, on models with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omni_agent.core_model.batching import prefix_mask
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.denoising import logits_of
from omni_agent.core_model.model import Model
from tests.core_model.random_core import one_of_each, random_model

models = st.sampled_from([random_model(seed) for seed in range(4)])
kinds = st.integers(0, 7)
seeds = st.integers(0, 5)
temperatures = st.sampled_from([0.0, 0.9])
scales = st.sampled_from([0.0, 1.0])


def states(model: Model, which: int, **changes: Any) -> list[Decoding]:
    """Every state of a request of some kind that is decoded alone."""
    request = one_of_each()[which]
    asked = replace(request.settings, **changes)
    found = [model.start(model.canvas(request), asked)]
    while not found[-1].done:
        found += model.advance(found[-1:])
    return found


def computed_anew(model: Model, canvas: Canvas) -> Tensor:
    """Logits of every place of the blank, over its columns, with nothing remembered: all positions in one
    row, of which the prefix sees itself and the rest sees all.
    """
    row = model.transformer.embed(canvas.ids)
    for heard in canvas.frames:
        row[heard.start : heard.start + len(heard.embeddings)] = heard.embeddings
    mask = prefix_mask(len(row), canvas.prefix) if canvas.prefix else None
    with torch.inference_mode():
        hidden = model.transformer(row[None], mask)[0]
        logits = model.transformer.head(hidden[canvas.blank.start - 1 : canvas.blank.stop - 1])
    return logits[:, model.vocabulary.columns(canvas.blank.modality)]


@settings(max_examples=40, deadline=None)
@given(models, kinds, seeds, scales, st.data())
def test_a_remembered_prefix_reads_what_is_read_when_all_is_computed_anew(
    model: Model, which: int, seed: int, scale: float, data: st.DataObject
) -> None:
    state = data.draw(st.sampled_from(states(model, which, seed=seed, guidance_scale=scale)[:-1]))
    assert (state.prefix is not None) == bool(state.canvas.prefix)
    places = state.masked.nonzero()[:, 0]
    wanted = computed_anew(model, state.canvas)[places]
    if scale:
        assert state.unconditional is not None
        without = computed_anew(model, state.unconditional)[places]
        wanted = without + (1 + scale) * (wanted - without)
    [read] = logits_of(model, [state])
    torch.testing.assert_close(read, wanted, atol=1e-5 * (1 + 4 * scale), rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(models, kinds, seeds, temperatures, st.integers(1, 8))
def test_a_prompt_cache_that_is_made_anew_in_every_step_is_as_none(
    model: Model, which: int, seed: int, temperature: float, block: int
) -> None:
    length = len(states(model, which, num_steps=1)[0].canvas.blank)
    changes: dict[str, Any] = {
        "seed": seed,
        "temperature": temperature,
        "block_length": block,
        "num_steps": -(-length // block),
    }
    without = states(model, which, **changes)
    cached = states(model, which, prompt_cache=True, **changes)
    assert len({step.start for step in cached[0].steps}) == len(cached[0].steps)
    assert [state.canvas.filled.tolist() for state in cached] == [
        state.canvas.filled.tolist() for state in without
    ]
    torch.testing.assert_close(cached[-1].sure, without[-1].sure, atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(models, kinds, seeds, st.integers(1, 6))
def test_a_prompt_cache_reads_at_its_refresh_what_is_read_without_one(
    model: Model, which: int, seed: int, block: int
) -> None:
    for state in states(model, which, seed=seed, prompt_cache=True, block_length=block, num_steps=100)[:-1]:
        if state.refreshes:
            plain = replace(state, shortcuts=replace(state.shortcuts, prompt_cache=False), prompt=None)
            torch.testing.assert_close(*logits_of(model, [state]), *logits_of(model, [plain]))


@settings(max_examples=40, deadline=None)
@given(
    models,
    st.lists(st.tuples(kinds, st.integers(0, 40), scales, st.booleans()), min_size=2, max_size=6),
)
def test_rows_of_unequal_memories_and_lengths_in_one_call_read_what_each_reads_alone(
    model: Model, asked: list[tuple[int, int, float, bool]]
) -> None:
    decodings: list[Decoding] = []
    for which, at, scale, cached in asked:
        found = states(model, which, guidance_scale=scale, prompt_cache=cached, block_length=4)[:-1]
        decodings.append(found[at % len(found)])
    together: Sequence[Tensor] = logits_of(model, decodings)
    for decoding, among in zip(decodings, together, strict=True):
        torch.testing.assert_close(among, *logits_of(model, [decoding]), atol=1e-5, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(models, kinds, seeds, temperatures, st.sampled_from([None, 1, 3]), st.sampled_from([None, 4]))
def test_ending_early_never_changes_the_value(
    model: Model, which: int, seed: int, temperature: float, block: int | None, num_steps: int | None
) -> None:
    changes: dict[str, Any] = {"seed": seed, "temperature": temperature, "block_length": block}
    if block is None:
        changes["num_steps"] = num_steps
    else:
        changes["num_steps"] = 100
    whole = states(_ending(model), which, **changes)
    early = states(_ending(model), which, early_end=True, **changes)
    assert len(early) <= len(whole)
    kept = [_until_end(model, found[-1]) for found in (whole, early)]
    assert kept[0] == kept[1]


@cache
def _ending(model: Model) -> Model:
    """The same with an end that is likely: one of random weights hardly ever says it."""
    ending = random_model(7)
    ending.load_state_dict(model.state_dict())
    with torch.no_grad():
        head = ending.transformer.lm_head.weight
        head[ending.vocabulary.end] *= 3
    return ending


def _until_end(model: Model, decoding: Decoding) -> list[int]:
    row: list[int] = decoding.canvas.filled.tolist()
    end = model.vocabulary.end
    return row[: row.index(end)] if end in row else row


def test_ending_early_saves_steps() -> None:
    model = _ending(random_model(1))
    saved = [
        len(states(model, which, seed=seed, temperature=0.9, block_length=1, num_steps=100))
        - len(states(model, which, seed=seed, temperature=0.9, block_length=1, num_steps=100, early_end=True))
        for which in (0, 2)
        for seed in range(6)
    ]
    assert max(saved) > 0


@settings(max_examples=30, deadline=None)
@given(models, kinds, seeds, temperatures, scales)
def test_a_threshold_of_one_and_guidance_to_the_end_change_nothing(
    model: Model, which: int, seed: int, temperature: float, scale: float
) -> None:
    changes: dict[str, Any] = {"seed": seed, "temperature": temperature, "guidance_scale": scale}
    plain = states(model, which, **changes)
    named = states(
        model, which, threshold=1.0, guidance_until=1.0, early_end=False, prompt_cache=False, **changes
    )
    assert [state.canvas.ids.tolist() for state in named] == [state.canvas.ids.tolist() for state in plain]
    assert named[-1].sure.equal(plain[-1].sure)


@settings(max_examples=40, deadline=None)
@given(models, kinds, seeds, st.floats(0.02, 0.9), st.sampled_from([None, 2, 5]))
def test_with_a_threshold_all_places_that_sure_commit_in_their_own_block_and_the_schedule_at_least(
    model: Model, which: int, seed: int, threshold: float, block: int | None
) -> None:
    found = states(model, which, seed=seed, threshold=threshold, block_length=block, num_steps=100)
    for before, after in pairwise(found):
        step = before.steps[before.step]
        new = (before.masked & ~after.masked).nonzero()[:, 0].tolist()
        assert len(new) >= min(step.places or 1, int(before.masked[step.start : step.stop].sum())) >= 1
        assert all(step.start <= place < step.stop for place in new)
        left = after.masked & (after.sure >= threshold)
        assert not left[step.start : step.stop].any()
    assert not found[-1].masked.any()

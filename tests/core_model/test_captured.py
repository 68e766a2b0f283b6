"""Steps that are launched and looked at one step late. On a CPU a launch is done at once, the rest is as
elsewhere; what only CUDA has, `benchmarks/captured.py` checks there.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from jaxtyping import UInt8

from omni_agent.core import Modality, Request, Settings
from omni_agent.core_model import denoising
from omni_agent.core_model.captured import FixedSteps
from omni_agent.core_model.decoding import Decoding, counted
from omni_agent.core_model.fixed_shape import FixedShape, Standing
from omni_agent.core_model.grouping import Paying, alone, same_shape
from omni_agent.core_model.model import Model
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.precision import full_float32
from omni_agent.core_model.ticket import Ticket
from omni_agent.errors import DeadlineExceeded, InputError
from tests.core_model.random_core import one_of_each, random_model, running

SECONDS = 20
ROUGH = Settings(algorithm="entropy", top_p=1.0, top_k=4, num_steps=4)
"""Whom truncation keeps: four of a vocabulary of which three each are equal, which only sorting can tell."""


def launching(seed: int = 0, *, rough: bool = False, steps: FixedSteps | None = None) -> Model:
    """A model whose steps are launched; a rough one's tokens are equal by threes."""
    model = random_model(seed)
    if rough:
        head = model.transformer.lm_head.weight
        head.copy_(head[torch.arange(len(head)) // 3 * 3])
    model._fixed_steps = steps or FixedSteps()
    return model


def begun(model: Model, which: int, settings: Settings | None = None) -> Decoding:
    request = one_of_each()[which]
    return model.start(model.canvas(request), settings or Settings())


def waited_for(model: Model, state: Decoding) -> list[Decoding]:
    """Every state of a request when each step is waited for and takes what is there."""
    found = [state]
    while not found[-1].done:
        found += denoising.advance(model, found[-1:])
    return found


def test_a_state_is_known_to_be_done_without_a_look_at_it() -> None:
    model = launching()
    state, steps = begun(model, 1), 0
    assert state.left is not None
    while not state.done:
        [state] = model.advance([state])
        steps += 1
        assert state.left is not None
        assert sum(state.left) == int(state.masked.sum())
    assert state.step == steps


def test_steps_in_doubt_are_made_again_one_step_late() -> None:
    model = launching(rough=True)
    for which in (0, 2, 5):
        state = begun(model, which, ROUGH)
        wanted = waited_for(model, state)
        seen = [state]
        while not seen[-1].done:
            seen += model.advance(seen[-1:])
        truly = [model.settled(each) for each in seen]
        assert model.fixed_steps is not None
        assert model.fixed_steps.doubts > 0
        for ours, theirs in zip(truly, wanted, strict=True):
            assert ours.canvas.ids.equal(theirs.canvas.ids)
            assert ours.committed.equal(theirs.committed)
        assert model.value(seen[-1]) == model.value(wanted[-1])


def test_a_state_that_follows_from_one_in_doubt_is_made_again_with_it() -> None:
    model = launching(rough=True)
    steps = model.fixed_steps
    assert steps is not None
    first = begun(model, 0, ROUGH)
    shape = steps_shape(model, first)
    [second] = steps._launched(model, shape, [first], in_a_hurry=False)
    [third] = steps._launched(model, steps_shape(model, second), [second], in_a_hurry=False)
    wanted = waited_for(model, first)
    assert model.settled(third).canvas.ids.equal(wanted[2].canvas.ids)
    assert model.settled(second).canvas.ids.equal(wanted[1].canvas.ids)
    assert model.settled(third) is model.settled(third)


def steps_shape(model: Model, state: Decoding) -> FixedShape:
    shape = model.shape_key(state).size
    assert isinstance(shape, FixedShape)
    return shape


def test_a_settled_state_holds_none_of_those_before_it() -> None:
    model = launching()
    state = begun(model, 1)
    [second] = model.advance([state])
    [third] = model.advance([second])
    gone = weakref.ref(second)
    model.settled(third)
    del second
    gc.collect()
    assert gone() is None


def test_what_is_shown_is_what_the_state_is_and_holds_no_launch() -> None:
    model = launching()
    state = begun(model, 3)
    for _ in range(3):
        [state] = model.advance([state])
        shown = model.shown(state)
        assert shown.late is None
        for name in ("masked", "tokens", "sure", "committed"):
            assert getattr(shown, name).equal(getattr(state, name))
        assert shown.canvas.ids.equal(state.canvas.ids)


def test_so_many_shapes_are_kept_and_the_one_not_used_for_longest_makes_room() -> None:
    steps = FixedSteps(most=2)
    model = launching(steps=steps)
    text, speech, picture = (begun(model, which) for which in (2, 1, 3))
    first = [model.advance([state])[0] for state in (text, speech)]
    wanted = [steps_shape(model, state) for state in (text, speech)]
    assert steps.shapes == wanted
    model.advance(first[:1])
    assert steps.shapes == wanted[::-1]
    model.advance([picture])
    assert steps.shapes == [wanted[0], steps_shape(model, picture)]


def test_no_shape_is_captured_on_a_cpu() -> None:
    model = launching()
    state = begun(model, 1)
    while not state.done:
        [state] = model.advance([state])
    assert model.fixed_steps is not None
    assert model.fixed_steps.captured == 0


def test_off_cuda_a_model_steps_and_waits_unless_it_is_told_to_launch() -> None:
    model = random_model()
    [state] = model.advance([model.start(model.canvas(one_of_each()[2]), Settings())])
    assert model.fixed_steps is None
    assert state.late is None
    assert state.left is None


def mixed(count: int) -> list[Request]:
    """Requests of every kind, in both readings, by chance and without."""
    rng = random.Random(count)
    return [
        replace(
            one_of_each()[index % 8],
            settings=Settings(
                seed=index,
                temperature=rng.choice([0.0, 0.8]),
                algorithm=rng.choice([None, None, "entropy", "entropy-penalty"]),
                top_k=rng.choice([50, 4]),
                top_p=rng.choice([0.9, 1.0]),
                mode=rng.choice(["exact", "exact", "fast"]),
                **rng.choice([{"num_steps": 6}, {"num_steps": 100, "block_length": 3}]),  # type: ignore
            ),
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("rough", [False, True])
def test_an_engine_that_launches_yields_what_each_request_yields_alone(rough: bool) -> None:
    plain = random_model(4)
    model = launching(4, rough=rough)
    plain.load_state_dict(model.state_dict())
    requests = mixed(40)
    wanted = [
        waited_for(plain, plain.start(plain.canvas(each), each.settings))[-1].canvas.filled.tolist()
        for each in requests
    ]
    for grouping in (alone, Paying()):
        with running(model, grouping=grouping) as engine:
            tickets = [engine.submit(request) for request in requests]
            for ticket, ids in zip(tickets, wanted, strict=True):
                with suppress(InputError):  # noise may be none of the modality that was asked for
                    ticket.result(SECONDS)
                assert ticket.state is not None
                assert ticket.state.canvas.filled.tolist() == ids
    assert model.fixed_steps is not None
    assert bool(model.fixed_steps.shapes)
    if rough:
        assert model.fixed_steps.doubts > 0


class Seen:
    """What a model was asked to step, and when a state was settled."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[tuple[str, int]] = []
        advance, settled = FixedSteps._launched, FixedSteps.settled

        def launched(
            steps: FixedSteps,
            parts: Parts,
            shape: FixedShape,
            decodings: Sequence[Decoding],
            *,
            in_a_hurry: bool,
        ) -> list[Decoding]:
            self.order.append(("launched", decodings[0].step + 1))
            return advance(steps, parts, shape, decodings, in_a_hurry=in_a_hurry)

        def looked(steps: FixedSteps, parts: Parts, decoding: Decoding) -> Decoding:
            self.order.append(("looked at", decoding.step))
            return settled(steps, parts, decoding)

        monkeypatch.setattr(FixedSteps, "_launched", launched)
        monkeypatch.setattr(FixedSteps, "settled", looked)


def test_a_step_is_launched_before_the_one_before_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    model = launching()
    seen = Seen(model, monkeypatch)
    with running(model) as engine:
        engine.submit(replace(one_of_each()[1], settings=Settings(num_steps=6))).result(SECONDS)
    for step in range(1, 6):
        assert seen.order.index(("launched", step + 1)) < seen.order.index(("looked at", step))
        if step > 1:
            assert seen.order.index(("looked at", step - 1)) < seen.order.index(("launched", step + 1))


def test_every_step_is_published_once_and_the_last_one_before_the_end() -> None:
    model = launching()
    told: list[int] = []
    with running(model) as engine:
        ticket = engine.submit(replace(one_of_each()[6], settings=Settings(num_steps=6)))

        def look() -> None:
            state = ticket.state
            if state is not None:
                told.append(state.step)

        ticket.watch(look)
        ticket.result(SECONDS)
        change = ticket.change
    assert told == sorted(told)
    assert set(told) >= {5, 6}
    assert change is not None
    assert change.step == 6
    assert change.committed == change.length


def test_deadlines_are_met_and_shorten_what_is_under_way() -> None:
    model = launching()
    slow = replace(one_of_each()[6], settings=Settings(num_steps=16))
    with running(model) as engine:
        engine.submit(slow).result(SECONDS)
        tickets = [
            engine.submit(replace(slow, settings=Settings(num_steps=16, seed=seed, deadline=0.5)))
            for seed in range(6)
        ]
        ended = [_ending(ticket) for ticket in tickets]
    assert "finished" in ended
    for ticket, how in zip(tickets, ended, strict=True):
        if how == "finished":
            assert ticket.state is not None
            assert sum(ticket.state.run) == 16


def test_an_engine_is_in_a_hurry_before_a_deadline_that_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = FixedSteps()
    model = launching(steps=steps)
    hurried: list[bool] = []
    advance = steps.advance

    def told(parts: Parts, decodings: Sequence[Decoding], *, in_a_hurry: bool = False) -> list[Decoding]:
        hurried.append(in_a_hurry)
        return advance(parts, decodings, in_a_hurry=in_a_hurry)

    monkeypatch.setattr(steps, "advance", told)
    with running(model) as engine:
        for deadline, hurry in ((None, {False}), (60.0, {False}), (0.9, {True})):
            request = replace(one_of_each()[1], settings=Settings(num_steps=3, deadline=deadline))
            engine.submit(request).result(SECONDS)
            assert set(hurried) == hurry
            hurried.clear()


def test_in_a_hurry_a_shape_is_not_captured_and_then_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = FixedSteps()
    model = launching(steps=steps)
    asked: list[bool] = []
    monkeypatch.setattr(steps, "_played", _telling(steps._played, asked))
    state = begun(model, 1, Settings(num_steps=6))
    for hurry in (False, True, True, False):
        [state] = model.advance([state], in_a_hurry=hurry)
    assert asked == [True, False, False, True]


def _telling(
    played: Callable[..., UInt8[torch.Tensor, "rows bytes"]], asked: list[bool]
) -> Callable[..., UInt8[torch.Tensor, "rows bytes"]]:
    def told(parts: Parts, ready: object, *, captures: bool) -> UInt8[torch.Tensor, "rows bytes"]:
        asked.append(captures)
        return played(parts, ready, captures=captures)

    return told


def _ending(ticket: Ticket) -> str:
    try:
        ticket.result(SECONDS)
    except DeadlineExceeded:
        return "late"
    return "finished"


def test_out_of_memory_splits_what_was_launched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model = launching()
    run = FixedSteps._run

    def small(
        steps: FixedSteps,
        parts: Parts,
        shape: FixedShape,
        decodings: Sequence[Decoding],
        *,
        in_a_hurry: bool,
    ) -> tuple[torch.Tensor, list[Standing]]:
        if len(decodings) > 2:
            raise torch.OutOfMemoryError("no room for more than two")
        return run(steps, parts, shape, decodings, in_a_hurry=in_a_hurry)

    requests = [replace(one_of_each()[2], settings=Settings(seed=seed, temperature=0.8)) for seed in range(8)]
    wanted = []
    for request in requests:
        state = model.start(model.canvas(request), request.settings)
        wanted.append(model.value(waited_for(model, state)[-1]))
    monkeypatch.setattr(FixedSteps, "_run", small)
    with running(model, grouping=same_shape) as engine:
        tickets = [engine.submit(request) for request in requests]
        assert [ticket.result(SECONDS).value for ticket in tickets] == wanted


def test_a_snapshot_of_what_is_under_way_is_of_the_step_that_was_looked_at() -> None:
    model = launching()
    request = replace(one_of_each()[6], settings=Settings(num_steps=8))
    wanted = [each.canvas.filled.tolist() for each in waited_for(model, begun(model, 6, request.settings))]
    with running(model) as engine:
        ticket = engine.submit(request)
        found: list[tuple[int, list[int]]] = []

        def look() -> None:
            state = ticket.state
            if state is not None:
                found.append((state.step, state.canvas.filled.tolist()))

        ticket.watch(look)
        ticket.result(SECONDS)
    assert found
    assert all(ids == wanted[step] for step, ids in found)


def test_tf32_is_off_inside_and_as_it_was_behind() -> None:
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        with full_float32():
            assert products.fp32_precision == "ieee"
            with full_float32():
                pass
            assert products.fp32_precision == "ieee"
        assert products.fp32_precision == "tf32"
    finally:
        products.fp32_precision = before


def test_states_of_several_shapes_and_of_none_are_stepped_in_one_call() -> None:
    model = launching()
    states = [
        begun(model, 1),
        begun(model, 2, Settings(threshold=0.9)),
        begun(model, 2),
        begun(model, 2, Settings(seed=4, temperature=0.9)),
    ]
    after = [model.settled(each) for each in model.advance(states)]
    for state, ours in zip(states, after, strict=True):
        [theirs] = denoising.advance(model, [state])
        assert ours.canvas.ids.equal(theirs.canvas.ids)
        assert counted(theirs).left == ours.left
    assert [each.late is None for each in after] == [False, True, False, False]
    assert after[0].canvas.blank.modality is Modality.SPEECH

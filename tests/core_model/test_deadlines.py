"""Laws of deadlines: the planner by a clock that only counts, the engine by the real one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni_agent.core import Request
from omni_agent.core_model import deadlines
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.deadlines import REFUSED, Need, Pace
from omni_agent.core_model.decoding import Decoding, hurried, schedule_of, wanted
from omni_agent.core_model.hurry import Hurry
from omni_agent.core_model.jobs import Job
from omni_agent.core_model.model import Model
from omni_agent.core_model.ticket import Ticket
from omni_agent.errors import DeadlineExceeded
from omni_agent.values import Image, Text
from tests.core_model.random_core import STEPS, Calls, ask, one_of_each, random_model, running

SECONDS = 20


# The planner


@dataclass
class Simulated:
    """A request on a clock that only counts."""

    begin: float
    step: float
    decode: float
    due: float
    steps: int
    begun: bool = False

    @property
    def least(self) -> float:
        return self.begin + self.step + self.decode

    def need(self) -> Need:
        first = self.step + self.decode + (0 if self.begun else self.begin)
        return Need(due=self.due, least=first, step=self.step, steps=max(self.steps - 1, 0))


def one_call_plan(requests: list[Simulated]) -> set[int]:
    """Who is in time with one call each, the earliest deadline first, the hopeless left out."""
    met: set[int] = set()
    now = 0.0
    for index, each in sorted(enumerate(requests), key=lambda pair: pair[1].due):
        if now + each.least <= each.due:
            now += each.least
            met.add(index)
    return met


def planned(requests: list[Simulated]) -> set[int]:
    """Who is in time as the engine does it: turn by turn, by `left_out` and `share`."""
    met: set[int] = set()
    now, left = 0.0, dict(enumerate(requests))
    out: set[int] = set()
    while left:
        here = list(left.items())
        late = deadlines.left_out(
            now, [each.need() for _, each in here], {at for at, (index, _) in enumerate(here) if index in out}
        )
        out = {here[at][0] for at in late}
        if len(late) == len(here):
            break
        here = [each for at, each in enumerate(here) if at not in late]
        share = deadlines.share(now, [each.need() for _, each in here])
        index, each = min(here, key=lambda pair: (pair[1].due, pair[0]))
        if not each.begun:
            each.begun, now = True, now + each.begin
            continue
        each.steps = min(each.steps, 1 + int(share * (each.steps - 1)))
        each.steps, now = each.steps - 1, now + each.step
        if each.steps == 0:
            now += each.decode
            if now <= each.due:
                met.add(index)
            del left[index]
    return met


@st.composite
def mixed(draw: st.DrawFn) -> list[Simulated]:
    kinds = [
        (0.002, 0.004, 0.0, 10),
        (0.003, 0.012, 0.015, 32),
        (0.05, 0.008, 0.03, 32),
        (0.0, 0.04, 0.1, 260),
    ]
    patience = draw(st.sampled_from([0.2, 1.0, 8.0, 60.0]))
    requests = []
    for _ in range(100):
        begin, step, decode, steps = draw(st.sampled_from(kinds))
        due = (begin + step + decode) * draw(st.floats(0.5, 3)) + draw(st.floats(0, patience))
        requests.append(Simulated(begin, step, decode, due, steps))
    return requests


@settings(max_examples=60, deadline=None)
@given(mixed())
def test_of_a_hundred_mixed_deadlines_95_percent_are_met_of_those_a_plan_of_one_call_each_meets(
    requests: list[Simulated],
) -> None:
    could = one_call_plan([replace(each) for each in requests])
    met = planned([replace(each) for each in requests])
    assert len(met & could) >= 0.95 * len(could)


needs = st.lists(
    st.builds(
        Need,
        due=st.floats(0, 100),
        least=st.floats(0, 10),
        step=st.floats(0, 5),
        steps=st.integers(0, 60),
    ),
    max_size=12,
)


@given(needs)
def test_those_who_are_not_hopeless_are_in_time_one_step_each_and_the_first_of_the_others_is_not(
    all_of_them: list[Need],
) -> None:
    late = deadlines.hopeless(1.0, all_of_them)
    now = 1.0
    for index in sorted(range(len(all_of_them)), key=lambda index: all_of_them[index].due):
        each = all_of_them[index]
        if index in late:
            assert now + each.least > each.due
        else:
            now += each.least
            assert now <= each.due


@given(needs, st.sets(st.integers(0, 11)))
def test_who_is_left_out_stays_so_until_there_is_time_to_spare_and_then_the_first_comes_back(
    all_of_them: list[Need], some: set[int]
) -> None:
    before = {index for index in some if index < len(all_of_them)}
    out = deadlines.left_out(1.0, all_of_them, before)
    kept = [need for index, need in enumerate(all_of_them) if index not in out]
    assert not deadlines.hopeless(1.0, kept)
    back = before - out
    assert len(back) <= 1
    for index in back:
        assert all_of_them[index].due == min(all_of_them[each].due for each in before)
        assert not deadlines.hopeless(1.0, kept, deadlines.CAUTION)
    assert deadlines.left_out(1.0, all_of_them) == set(deadlines.hopeless(1.0, all_of_them))


def test_who_could_be_in_time_again_comes_back_one_after_the_other() -> None:
    needs = [Need(due=due, least=1.0, step=0.0, steps=0) for due in (1.2, 2.0, 4.0)]
    assert deadlines.left_out(0.5, needs) == {0}
    assert deadlines.left_out(0.0, needs[1:], {0, 1}) == {1}
    assert deadlines.left_out(0.0, needs[1:], {1}) == set()


@given(needs)
def test_a_share_of_the_further_steps_is_what_all_can_have_in_time(all_of_them: list[Need]) -> None:
    share = deadlines.share(0.0, all_of_them)
    assert 0 <= share <= 1
    if share == 0:
        return
    now = more = 0.0
    for each in sorted(all_of_them, key=lambda each: each.due):
        now += deadlines.CAUTION * (each.least + share * each.step * each.steps)
        more += each.step * each.steps
        assert now <= each.due + 1e-6 * (1 + now) or more == 0


def test_the_pace_follows_what_was_measured_and_guesses_nothing() -> None:
    pace = Pace()
    assert pace.need("drawing", ("image",), due=1.0, begun=False, steps=32) == Need(
        due=1.0, least=0.0, step=0.0, steps=31
    )
    pace.took("begin", "drawing", 2.0)
    pace.took("step", "drawing", 1.0)
    pace.took("decode", "image", 4.0)
    assert pace.need("drawing", ("image",), due=9.0, begun=False, steps=3).least == 7.0
    assert pace.need("drawing", ("image",), due=9.0, begun=True, steps=3).least == 5.0
    assert pace.need("asking", ("text",), due=9.0, begun=True, steps=3).least == 0.0
    for seconds in (1.1, 60.0, 1.2):  # one was held up by another program
        pace.took("step", "drawing", seconds)
    assert 1.0 < pace.of("step", "drawing") < 1.2


def test_what_nobody_saw_of_a_size_takes_what_others_took() -> None:
    pace = Pace()
    pace.took("decode", "speech", 4.0)
    assert pace.decoding(("long speech", "speech")) == 4.0
    pace.took("decode", "long speech", 9.0)
    assert pace.decoding(("long speech", "speech")) == 9.0
    assert pace.decoding(("short speech", "speech")) == 4.0


def test_what_a_turn_takes_besides_is_counted_with_each() -> None:
    pace = Pace()
    for what, seconds in (("begin", 2.0), ("step", 1.0)):
        pace.took(what, "drawing", seconds)
    pace.turned(2, 3.5)
    assert pace.beside == 0.25
    need = pace.need("drawing", ("image",), due=9.0, begun=False, steps=3)
    assert (need.least, need.step) == (3.5, 1.25)
    assert pace.need("drawing", ("image",), due=9.0, begun=True, steps=3).least == 1.25
    pace.turned(0, 5.0)  # waited for somebody
    assert pace.beside == 0.25


def test_who_comes_while_others_have_a_deadline_has_time_left_for_more_of_them() -> None:
    pace, need = Pace(), Need(due=9.0, least=1.0, step=0.1, steps=50)
    assert pace.load(0.0) == 0
    for _ in range(2):
        pace.asked(0.0, need)
    assert pace.load(1.0) == 2 / deadlines.RECENT
    assert deadlines.share(1.0, [need], pace.load(1.0)) < deadlines.share(1.0, [need])
    for _ in range(50):
        pace.asked(2.0, need)
    assert pace.load(2.0) == deadlines.MOST
    assert pace.load(3.0 + deadlines.RECENT) == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=12), st.floats(0, 1))
def test_one_alone_is_hopeless_only_if_it_takes_longer_than_it_has(
    all_of_them: list[tuple[float, float]], costs: float
) -> None:
    for due, least in all_of_them:
        need = Need(due=due, least=least, step=0.0, steps=0)
        assert bool(deadlines.hopeless(0.0, [need], costs)) == (costs * least > due)


# Schedules that were run, given again


def run(model: Model, request: Request, hurries: dict[int, int]) -> Decoding:
    """A request decoded alone, with so many steps left from some steps on."""
    decoding = model.start(model.canvas(request), request.settings)
    while not decoding.done:
        if decoding.step in hurries:
            decoding = hurried(decoding, hurries[decoding.step])
        [decoding] = model.advance([decoding])
    return decoding


_MODEL = random_model(3)
readings = st.sampled_from(
    [
        {},
        {"temperature": 0.8},
        {"guidance_scale": 1.0},
        {"block_length": 3},
        {"block_length": 1, "num_steps": 100},
        {"block_length": 3, "temperature": 0.8, "guidance_scale": 0.5},
        {"algorithm": "maskgit_plus"},
        {"algorithm": "topk_margin", "block_length": 4},
        {"algorithm": "entropy", "temperature": 0.7},
        {"algorithm": "entropy-penalty", "block_length": 4},
        {"threshold": 0.2},
        {"threshold": 0.15, "block_length": 3},
        {"threshold": 0.15, "block_length": 4, "temperature": 0.7},
        {"prompt_cache": True, "block_length": 3},
        {"early_end": True},
        {"guidance_scale": 1.0, "guidance_until": 0.5},
        {"threshold": 0.15, "guidance_scale": 1.0, "guidance_until": 0.4},
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 7),
    readings,
    st.dictionaries(st.integers(0, 7), st.integers(1, 9), max_size=3),
    st.integers(0, 3),
)
@example(which=6, reading={"threshold": 0.15, "block_length": 3}, hurries={}, seed=0)
def test_the_schedule_that_was_run_given_again_gives_the_same_tokens(
    which: int, reading: dict[str, Any], hurries: dict[int, int], seed: int
) -> None:
    request = one_of_each()[which]
    asked = replace(request.settings, seed=seed, **reading)
    first = run(_MODEL, replace(request, settings=asked), hurries)
    schedule = schedule_of(first)
    again = run(_MODEL, replace(request, settings=replace(asked, num_steps=None, schedule=schedule.run)), {})
    assert again.canvas.ids.tolist() == first.canvas.ids.tolist()
    assert again.committed.tolist() == first.committed.tolist()
    assert schedule_of(again).run == schedule.run
    if not hurries and not {"threshold", "early_end"}.intersection(reading):
        assert schedule.run == schedule.asked


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 7), st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(2, 4))
def test_above_a_threshold_a_schedule_may_cross_blocks_and_nothing_stays_masked(
    which: int, schedule: list[int], block: int
) -> None:
    request = one_of_each()[which]
    masked = len(_MODEL.canvas(request).blank)
    schedule.append(max(masked - sum(schedule), 1))
    asked = replace(
        request.settings, num_steps=None, schedule=tuple(schedule), threshold=0.15, block_length=block
    )
    assert not run(_MODEL, replace(request, settings=asked), {}).masked.any()


@given(st.integers(0, 7), st.integers(0, 7), st.integers(1, 9), st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_what_commits_by_chance_is_hurried_to_as_many_steps_and_not_all_at_once(
    which: int, at: int, left: int, seed: int
) -> None:
    request = one_of_each()[which]
    asked = replace(request.settings, seed=seed, algorithm="origin", temperature=0.7)
    decoding = _MODEL.start(_MODEL.canvas(request), asked)
    while not decoding.done and decoding.step < at:
        [decoding] = _MODEL.advance([decoding])
    if decoding.done:
        return
    hurry = hurried(decoding, left)
    left = min(left, decoding.places_left)
    assert len(hurry.steps) - hurry.step == left
    assert [step.last for step in hurry.steps[hurry.step :]] == [False] * (left - 1) + [True]
    # each takes its part of what the ones before it leave
    parts, rest = [], 1.0
    for step in hurry.steps[hurry.step :]:
        parts.append(rest * step.share)
        rest *= 1 - step.share
    assert parts == pytest.approx([1 / left] * left)


def test_steps_that_a_deadline_took_away_come_back_when_there_is_time_again() -> None:
    request = ask(seed=1)
    decoding = hurried(_MODEL.start(_MODEL.canvas(request), request.settings), 2)
    [decoding] = _MODEL.advance([decoding])
    assert len(decoding.steps) - decoding.step == 1
    assert wanted(decoding) == STEPS // 2
    decoding = hurried(decoding, wanted(decoding))
    while not decoding.done:
        [decoding] = _MODEL.advance([decoding])
    assert decoding.run == (4, 1, 1, 1, 1)


# The engine


class Slow:
    """Model calls that take so long at least: real ones, on a machine of this pace."""

    def __init__(self, model: Model, seconds: float) -> None:
        self.seconds = seconds
        advance = model.advance

        def slow(decodings: list[Decoding], *, in_a_hurry: bool) -> list[Decoding]:
            time.sleep(self.seconds)
            return advance(decodings, in_a_hurry=in_a_hurry)

        model.advance = slow  # type: ignore[method-assign,assignment]


def drawing(seed: int = 0, **settings: Any) -> Request:
    request = one_of_each(seed)[6]
    return replace(request, settings=replace(request.settings, **settings))


@pytest.mark.parametrize("which", range(8))
def test_a_hurried_request_is_in_time_says_what_was_run_and_that_gives_its_tokens(which: int) -> None:
    model = random_model()
    Slow(model, 0.05)
    request = one_of_each()[which]
    with running(model) as engine:
        engine.submit(request).result(SECONDS)
        steps = len(_MODEL.start(_MODEL.canvas(request), request.settings).steps)
        due = replace(request, settings=replace(request.settings, deadline=0.05 * steps / 2 + 0.3))
        ticket = engine.submit(due)
        value = ticket.result(SECONDS).value
        assert isinstance(value, Text) or value.is_decoded
        assert ticket.state is not None
        schedule = schedule_of(ticket.state)
        assert sum(schedule.asked) == sum(schedule.run)
        again = replace(request, settings=replace(request.settings, schedule=schedule.run))
        assert engine.submit(again).result(SECONDS).value == value


def test_what_cannot_be_in_time_fails_at_once_and_says_what_it_takes() -> None:
    model = random_model()
    calls = Calls(model)
    Slow(model, 1.0)
    with running(model) as engine:
        engine.submit(ask(seed=1, num_steps=2)).result(SECONDS)
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"s are left until the deadline; one denoising step"):
            engine.submit(ask(seed=2, deadline=0.5)).result(SECONDS)
        assert time.monotonic() - before < 1.0, "no step was made for it"
    late = pytest.raises(TimeoutError, match="the deadline was over before there was a turn")
    with running(model) as engine, late:  # it knows nothing yet
        engine.submit(ask(seed=2, deadline=1e-9)).result(SECONDS)
    assert calls.of(2) == 0


def test_what_cannot_be_in_time_is_told_so_while_a_call_of_others_goes_on_and_every_ninth_is_tried() -> None:
    model = random_model()
    calls = Calls(model)
    Slow(model, 0.3)
    with running(model) as engine:
        engine.submit(ask(seed=1, num_steps=2)).result(SECONDS)
        calls.hold()
        other = engine.submit(drawing(seed=2))
        calls.until(2)
        hopeless = [engine.submit(ask(seed=3, deadline=0.1)) for _ in range(REFUSED)]
        assert all(ticket.done for ticket in hopeless)
        tried = engine.submit(ask(seed=4, deadline=0.1))
        assert not tried.done
        status = engine.status()
        assert (status.late, status.active, status.queued) == (REFUSED, 1, 1)
        time.sleep(0.15)  # its time is over when it has its turn
        calls.release()
        other.result(SECONDS)
        tried.result(SECONDS)
    assert (calls.of(3), calls.of(4)) == (0, 1)


def due_after_a_second(snapshot: Any = None) -> Job:
    return Job(ticket=Ticket(1, lambda _: None), work=ask(deadline=1.0), due=1.0, snapshot=snapshot)


def test_what_is_in_time_where_calls_are_shared_is_not_refused_for_a_slow_one_alone() -> None:
    hurry, job = Hurry(), due_after_a_second()
    hurry.pace.stepped(job.kind, 1, 8.0)
    assert "take 8.000 s: give it more time" in str(hurry.refusal(job, 0.0))
    hurry.pace.stepped(job.kind, 4, 0.4)
    assert hurry.refusal(job, 0.0) is None


def test_who_goes_on_from_a_snapshot_with_little_time_left_is_not_refused_before_its_turn() -> None:
    hurry, job = Hurry(), due_after_a_second(snapshot=object())
    hurry.pace.stepped(job.kind, 1, 8.0)
    assert hurry.refusal(job, 0.0) is None
    assert not hurry.pace.is_to_be_tried(job.kind)


def test_what_was_slow_once_refuses_a_kind_for_a_while_only() -> None:
    model = random_model()
    slow = Slow(model, 3.0)
    with running(model) as engine:
        engine.submit(ask(seed=1, num_steps=1)).result(SECONDS)
        slow.seconds = 0.0
        refused = 0
        for seed in range(2, 2 + 2 * REFUSED):
            try:
                engine.submit(ask(seed=seed, num_steps=1, deadline=1.0)).result(SECONDS)
            except DeadlineExceeded:
                refused += 1
    assert refused == REFUSED


def test_one_with_a_deadline_is_looked_at_before_the_next_model_call_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = random_model()
    calls = Calls(model)
    canvas, looked_at = model.canvas, []

    def watched(request: Request) -> Canvas:
        looked_at.append((request.settings.seed, len(calls.made)))
        return canvas(request)

    monkeypatch.setattr(model, "canvas", watched)
    with running(model) as engine:
        calls.hold()
        others = [engine.submit(ask(seed=seed)) for seed in range(6)]
        calls.until(3, 2)
        made = len(calls.made)
        pressed = engine.submit(ask(seed=7, deadline=SECONDS))
        calls.release()
        for ticket in (pressed, *others):
            ticket.result(SECONDS)
    assert (7, made) in looked_at


def test_neither_those_with_deadlines_nor_those_without_starve() -> None:
    model = random_model()
    calls = Calls(model)
    Slow(model, 0.01)
    with running(model) as engine:
        began = time.monotonic()
        engine.submit(ask(seed=99)).result(SECONDS)
        alone = time.monotonic() - began
        # a stream of deadlines that never leaves the time for all their steps
        plain = engine.submit(drawing(seed=50))
        end = time.monotonic() + SECONDS
        met = missed = 0
        seed = 100
        while not plain.done and time.monotonic() < end:
            batch = [engine.submit(ask(seed=seed + at, deadline=max(0.12, 1.2 * alone))) for at in range(3)]
            seed += 3
            for ticket in batch:
                try:
                    ticket.result(SECONDS)
                    met += 1
                except DeadlineExceeded:
                    missed += 1
        assert isinstance(plain.result(0).value, Image)
    assert met > missed
    assert calls.of(50) == STEPS


def test_one_with_one_step_left_does_not_wait_for_a_round_of_all_that_takes_longer_than_it_has() -> None:
    hurry, model = Hurry(), random_model()
    plain = [Job(ticket=Ticket(number, lambda _: None), work=ask()) for number in range(12)]
    hurry.pace.took("step", plain[0].kind, 1.0)
    request = ask(deadline=5.0)
    urgent = Job(ticket=Ticket(12, lambda _: None), work=request, due=5.0)
    urgent.decoding = hurried(model.start(model.canvas(request), request.settings), 1)
    assert hurry.turn([*plain, urgent], 0.0)[0] is urgent
    urgent.due = 50.0
    assert hurry.turn([*plain, urgent], 0.0) == []


def test_who_shared_its_calls_is_planned_alone_as_it_would_be_and_in_rounds_as_it_was() -> None:
    pace = Pace()
    pace.stepped("asking", 8, 2.0)
    alone = pace.need("asking", ("text",), due=9.0, begun=True, steps=3)
    shared = pace.need("asking", ("text",), due=9.0, begun=True, steps=3, shared=True)
    assert (alone.step, shared.step) == (2.0, 0.25)  # never seen alone: at most as long as the call
    pace.stepped("asking", 1, 0.5)
    pace.stepped("asking", 8, 2.0)
    assert pace.need("asking", ("text",), due=9.0, begun=True, steps=3).step == 0.5
    assert pace.need("asking", ("text",), due=9.0, begun=True, steps=3, shared=True).step == 0.25


def test_one_that_has_time_for_one_step_alone_has_that() -> None:
    hurry, model = Hurry(), random_model()
    request = drawing(deadline=1.0)
    job = Job(ticket=Ticket(1, lambda _: None), work=request, due=1.08)
    hurry.pace.took("step", job.kind, 1.0)
    job.decoding = model.start(model.canvas(request), request.settings)
    assert len(job.decoding.steps) > 1
    assert hurry.turn([job], 0.0) == [job]
    assert len(job.decoding.steps) == 1


def test_those_who_waited_too_long_do_not_count_against_what_was_measured() -> None:
    hurry = Hurry()
    hurry.pace.took("step", Job(ticket=Ticket(0, lambda _: None), work=ask(deadline=1.0)).kind, 0.5)
    for number in range(3 * REFUSED):
        late = Job(ticket=Ticket(number, lambda _: None), work=ask(deadline=1.0), due=0.1)
        assert hurry.turn([late], 0.0) == []
        assert late.ticket.done


def test_those_without_a_deadline_have_a_tenth_while_of_the_others_nobody_is_sure_to_be_in_time() -> None:
    hurry, plain = Hurry(), Job(ticket=Ticket(0, lambda _: None), work=ask())
    hurry.pace.took("step", plain.kind, 1.0)
    had = 0
    for now in range(100):
        urgent = Job(ticket=Ticket(now + 1, lambda _: None), work=ask(), due=now + 0.9)
        turn = hurry.turn([urgent, plain], now)
        assert turn[0] is urgent
        had += plain in turn
    assert 9 <= had <= 10


def test_a_cancelled_request_with_a_deadline_gives_its_time_to_the_others() -> None:
    model = random_model()
    calls = Calls(model)
    with running(model) as engine:
        calls.hold()
        ticket = engine.submit(ask(seed=1, deadline=SECONDS))
        other = engine.submit(ask(seed=2))
        calls.until(1, 2)
        ticket.cancel()
        calls.release()
        other.result(SECONDS)
    assert calls.of(1) == 2
    assert ticket.cancelled


def test_tasks_of_all_kinds_with_deadlines_and_without_all_end() -> None:
    model = random_model()
    Slow(model, 0.002)
    with running(model, in_flight=3) as engine:
        for request in one_of_each():
            engine.submit(request).result(SECONDS)
        tickets = []
        for seed in range(12):
            for index, request in enumerate(one_of_each(seed)):
                due = None if index % 2 else 0.1 + 0.3 * seed
                tickets.append(
                    engine.submit(replace(request, settings=replace(request.settings, deadline=due)))
                )
        for ticket in tickets:
            try:
                ticket.result(SECONDS)
            except DeadlineExceeded:
                assert ticket.due is not None

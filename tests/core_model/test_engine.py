from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omni_agent.core import CanvasChange, Request
from omni_agent.core_model import jobs
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.engine import Engine
from omni_agent.core_model.grouping import Grouping, alone, same_shape
from omni_agent.core_model.model import Model
from omni_agent.core_model.ticket import Finished, Ticket
from omni_agent.errors import CoreClosed, InputError, Overloaded
from omni_agent.values import Image, Text
from tests.core_model.random_core import (
    STEPS,
    Calls,
    ask,
    decoded,
    one_of_each,
    picture,
    random_model,
    running,
)

SECONDS = 20  # past any wait that is not a fault


@pytest.fixture
def model() -> Model:
    return random_model()


@pytest.fixture
def calls(model: Model) -> Calls:
    return Calls(model)


def solo(model: Model, request: Request) -> Finished:
    """What a request yields when nothing else runs, without any engine."""
    decoding = decoded(model, request)
    return Finished(value=model.value(decoding), confidence=decoding.confidence)


# What a request yields


def test_every_task_yields_what_the_model_yields_without_an_engine(model: Model) -> None:
    requests = one_of_each()
    wanted = [solo(model, request) for request in requests]
    with running(model) as engine:
        tickets = [engine.submit(request) for request in requests]
        assert [ticket.result(SECONDS) for ticket in tickets] == wanted


def test_a_decoding_gives_pixels_and_samples(model: Model) -> None:
    with running(model) as engine:
        for request in one_of_each():
            value = engine.submit(request).result(SECONDS).value
            decoded = engine.decode(value).result(SECONDS).value
            assert isinstance(decoded, Text) or decoded.is_decoded
            assert decoded == value


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    picked=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 3), st.sampled_from([0.0, 0.7])), min_size=1, max_size=12
    ),
    in_flight=st.integers(1, 6),
    cancelled=st.sets(st.integers(0, 11)),
)
def test_results_do_not_depend_on_what_else_runs(
    picked: list[tuple[int, int, float]], in_flight: int, cancelled: set[int]
) -> None:
    model = _SHARED
    requests = [one_of_each(seed, temperature)[index] for index, seed, temperature in picked]
    wanted = [_solo_cached(index, seed, temperature) for index, seed, temperature in picked]
    with running(model, in_flight=in_flight) as engine:
        tickets = [engine.submit(request) for request in requests]
        for index in cancelled:
            if index < len(tickets):
                tickets[index].cancel()
        for index, ticket in enumerate(tickets):
            if index not in cancelled:
                assert ticket.result(SECONDS) == wanted[index]


_SHARED = random_model(1)
_solos: dict[tuple[int, int, float], Finished] = {}


def _solo_cached(index: int, seed: int, temperature: float) -> Finished:
    key = (index, seed, temperature)
    if key not in _solos:
        _solos[key] = solo(_SHARED, one_of_each(seed, temperature)[index])
    return _solos[key]


def test_at_a_temperature_the_seed_alone_decides() -> None:
    yielded = [solo(_SHARED, one_of_each(seed, 1.5)[6]).value for seed in (0, 0, 1, 2, 3)]
    assert yielded[0] == yielded[1]
    assert len(set(yielded)) > 1


# Taking turns


def test_requests_in_flight_have_turns_one_after_the_other(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model) as engine:
        tickets = [engine.submit(ask(seed=seed)) for seed in (1, 2, 3)]
        calls.release()
        for ticket in tickets:
            ticket.result(SECONDS)
    # the first may have begun while it was alone; apart from that nobody has two turns more than another
    for end in range(len(calls.made)):
        turns = [calls.made[1:end].count((seed,)) for seed in (1, 2, 3)]
        assert max(turns) - min(turns) <= 1


def test_a_short_request_is_not_kept_waiting_by_a_long_one(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model) as engine:
        long = engine.submit(ask(seed=1))
        calls.until(1)
        short = engine.submit(ask(seed=2, num_steps=1))
        calls.release()
        short.result(SECONDS)
        long.result(SECONDS)
    assert calls.made.index((2,)) <= 3


def test_first_come_first_served_and_never_more_than_in_flight(model: Model, calls: Calls) -> None:
    with running(model, in_flight=2) as engine:
        tickets = [engine.submit(ask(seed=seed, num_steps=3)) for seed in range(7)]
        for ticket in tickets:
            ticket.result(SECONDS)
    turns = [seed for (seed,) in calls.made]
    assert list(dict.fromkeys(turns)) == list(range(7))
    spans = [(turns.index(seed), len(turns) - turns[::-1].index(seed)) for seed in range(7)]
    assert all(sum(start <= at < stop for start, stop in spans) <= 2 for at in range(len(turns)))


def test_changes_are_published_after_each_step_and_the_last_before_the_end(
    model: Model, calls: Calls
) -> None:
    calls.hold()
    with running(model) as engine:
        ticket = engine.submit(ask(seed=1))
        seen: list[tuple[CanvasChange | None, bool]] = []
        ticket.watch(lambda: seen.append((ticket.change, ticket.done)))
        calls.release()
        ticket.result(SECONDS)
    assert seen[-1][1]
    changes = [change for change, done in seen if change is not None and not done]
    assert [change.step for change in changes] == list(range(1, STEPS + 1))
    assert [change.committed for change in changes] == list(range(1, STEPS + 1))
    assert {change.request for change in changes} == {ticket.number}
    assert "░" not in changes[-1].preview


def test_a_watcher_that_raises_hurts_nobody(model: Model) -> None:
    def broken() -> None:
        raise ValueError("the watcher's fault")

    with running(model) as engine:
        ticket = engine.submit(ask())
        ticket.watch(broken)
        assert ticket.result(SECONDS) == engine.submit(ask()).result(SECONDS)


def test_those_of_one_shape_share_a_call_where_the_grouping_says_so(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model, grouping=same_shape) as engine:
        first = engine.submit(ask(seed=1))
        calls.until(1)
        others = [engine.submit(ask(seed=seed)) for seed in (2, 3)]
        apart = engine.submit(ask("what is this a dog", seed=4))
        calls.release()
        for ticket in (first, *others, apart):
            assert isinstance(ticket.result(SECONDS).value, Text)
    assert (1, 2, 3) in calls.made
    assert all(len(seeds) == 1 for seeds in calls.made if 4 in seeds)


def test_alone_is_what_its_name_says() -> None:
    assert alone(["a", "b", "a"]) == [[0], [1], [2]]
    assert same_shape(["a", "b", "a"]) == [[0, 2], [1]]


# Cancelling


@pytest.mark.parametrize("call", range(1, STEPS + 1))
def test_cancelled_during_a_model_call_it_gets_no_other(model: Model, calls: Calls, call: int) -> None:
    wanted = solo(random_model(), ask(seed=2))
    calls.hold()
    with running(model) as engine:
        ticket, other = engine.submit(ask(seed=1)), engine.submit(ask(seed=2))
        calls.until(1, call)
        ticket.cancel()
        assert ticket.done
        assert ticket.cancelled
        calls.release()
        assert other.result(SECONDS) == wanted
    assert calls.of(1) == call
    with pytest.raises(CancelledError):
        ticket.result(0)


def test_cancelled_while_queued_it_is_never_looked_at(
    model: Model, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    canvas = model.canvas

    def watched(request: Request) -> Canvas:
        looked_at.append(request.settings.seed)
        return canvas(request)

    monkeypatch.setattr(model, "canvas", watched)
    calls.hold()
    with running(model, in_flight=1) as engine:
        first, queued, last = (engine.submit(ask(seed=seed)) for seed in (1, 2, 3))
        calls.until(1)
        queued.cancel()
        calls.release()
        first.result(SECONDS)
        last.result(SECONDS)
    assert looked_at == [1, 3]


def test_cancelled_while_its_canvas_is_made_it_gets_no_call(
    model: Model, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas = model.canvas
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Request) -> Canvas:
        begun.set()
        assert go_on.wait(SECONDS)
        return canvas(request)

    monkeypatch.setattr(model, "canvas", slow)
    with running(model) as engine:
        ticket = engine.submit(ask(seed=1))
        assert begun.wait(SECONDS)
        ticket.cancel()
        go_on.set()
        engine.submit(ask(seed=2)).result(SECONDS)
    assert calls.of(1) == 0


def test_cancelled_during_the_turn_of_another_it_does_not_have_its_own(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model) as engine:
        first, second = engine.submit(ask(seed=1)), engine.submit(ask(seed=2))
        calls.until(2)
        calls.until(1, calls.of(1) + 1)  # the next round: the second is about to have its second turn
        had = calls.of(2)
        second.cancel()
        calls.release()
        first.result(SECONDS)
    assert calls.of(2) == had


def test_cancelled_during_the_canvas_of_another_its_own_is_not_made(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    canvas = model.canvas
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Request) -> Canvas:
        made.append(request.settings.seed)
        begun.set()
        assert go_on.wait(SECONDS)
        return canvas(request)

    with running(model, in_flight=8) as engine:
        calls = Calls(model)
        calls.hold()
        going = engine.submit(ask(seed=0))
        calls.until(0)
        monkeypatch.setattr(model, "canvas", slow)
        first, second = engine.submit(ask(seed=1)), engine.submit(ask(seed=2))  # admitted in one round
        calls.release()
        assert begun.wait(SECONDS)
        second.cancel()
        go_on.set()
        first.result(SECONDS)
        going.result(SECONDS)
    assert made == [1]


def test_cancelled_while_queued_its_media_is_let_go_at_once(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model, in_flight=1) as engine:
        engine.submit(ask(seed=1))
        calls.until(1)
        request = ask(seed=2)
        kept = weakref.ref(request)
        ticket = engine.submit(request)
        del request
        assert kept() is not None
        ticket.cancel()
        assert kept() is None
        calls.release()


def test_cancelled_in_a_group_the_others_go_on(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model, grouping=same_shape) as engine:
        tickets = [engine.submit(ask(seed=seed)) for seed in (1, 2, 3)]
        calls.until(3, 2)
        tickets[1].cancel()
        calls.release()
        tickets[0].result(SECONDS)
        tickets[2].result(SECONDS)
    assert (1, 3) in calls.made
    assert calls.of(2) <= 2


def test_a_call_is_counted_with_all_its_rows_though_they_were_cancelled_meanwhile(
    model: Model, calls: Calls
) -> None:
    calls.hold()
    with running(model, grouping=same_shape) as engine:
        tickets = [engine.submit(ask(seed=seed)) for seed in (1, 2)]
        calls.until(1, 2)
        for ticket in tickets:
            ticket.cancel()
        calls.release()
        engine.submit(ask(seed=3)).result(SECONDS)
        assert set(engine.status().batch_sizes) == {1, 2}


def test_cancelling_what_is_done_changes_nothing(model: Model) -> None:
    with running(model) as engine:
        ticket = engine.submit(ask())
        finished = ticket.result(SECONDS)
        ticket.cancel()
        ticket.cancel()
        assert ticket.result(0) == finished
        assert not ticket.cancelled


def test_a_decoding_can_be_cancelled_while_it_is_queued(model: Model, calls: Calls) -> None:
    with running(model, in_flight=1) as engine:
        drawn = engine.submit(one_of_each()[6]).result(SECONDS).value
        calls.hold()
        engine.submit(ask(seed=1))
        calls.until(1)
        ticket = engine.decode(drawn)
        ticket.cancel()
        calls.release()
        with pytest.raises(CancelledError):
            ticket.result(SECONDS)


# Failing


@pytest.mark.parametrize("part", ["canvas", "start", "shape_key", "advance", "value"])
def test_a_failing_request_fails_alone_whatever_part_of_it_fails(
    model: Model, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = solo(random_model(), ask(seed=2))
    real = getattr(model, part)

    def breaking(first: Any, *others: Any, **named: Any) -> Any:
        of = first[0] if isinstance(first, list) else first
        text = str(getattr(of, "settings", None) or others)
        if "seed=1," in text:
            raise ArithmeticError("broken")
        return real(first, *others, **named)

    monkeypatch.setattr(model, part, breaking)
    with running(model) as engine:
        guilty, other = engine.submit(ask(seed=1)), engine.submit(ask(seed=2))
        with pytest.raises(ArithmeticError, match="broken"):
            guilty.result(SECONDS)
        assert other.result(SECONDS) == wanted
        assert engine.submit(ask(seed=2)).result(SECONDS) == wanted


def test_a_failure_inside_a_group_hits_only_the_guilty(model: Model, calls: Calls) -> None:
    calls.failing = {2}
    calls.hold()
    with running(model, grouping=same_shape) as engine:
        tickets = {seed: engine.submit(ask(seed=seed)) for seed in (0, 1, 2, 3)}
        calls.release()
        for seed in (0, 1, 3):
            assert isinstance(tickets[seed].result(SECONDS).value, Text)
        with pytest.raises(ArithmeticError, match=r"\(2,\)"):
            tickets[2].result(SECONDS)
    assert calls.made.count((2,)) == 1


def test_a_call_that_yields_too_few_states_is_a_failure_of_its_requests_only(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(model) as engine:
        with monkeypatch.context() as broken:
            broken.setattr(model, "advance", lambda decodings, *, in_a_hurry: [])
            with pytest.raises(ValueError, match="zip"):
                engine.submit(ask()).result(SECONDS)
        assert engine.submit(ask()).result(SECONDS)


def test_even_an_exit_raised_by_the_model_leaves_nobody_waiting(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaving(request: Request) -> Canvas:
        raise SystemExit(3)

    monkeypatch.setattr(model, "canvas", leaving)
    with running(model) as engine:
        tickets = [engine.submit(ask(seed=seed)) for seed in range(3)]
        for ticket in tickets:
            with pytest.raises(CoreClosed, match="broke down"):
                ticket.result(SECONDS)
        with pytest.raises(CoreClosed, match="broke down"):
            engine.submit(ask())


def test_ten_at_once_one_cancelled_one_broken_eight_right(model: Model, calls: Calls) -> None:
    requests = [ask(" ".join(["what", *["dog"] * count]), seed=count) for count in range(10)]
    wanted = [solo(random_model(), request) for request in requests]
    calls.hold()
    with running(model) as engine:
        requests[7] = ask("?!", seed=7)  # no words
        tickets = [engine.submit(request) for request in requests]
        calls.until(3, 2)
        tickets[3].cancel()
        calls.release()
        with pytest.raises(InputError, match="no words"):
            tickets[7].result(SECONDS)
        with pytest.raises(CancelledError):
            tickets[3].result(SECONDS)
        for number in (0, 1, 2, 4, 5, 6, 8, 9):
            assert tickets[number].result(SECONDS) == wanted[number]
    assert calls.of(3) == 2
    assert calls.of(7) == 0


# Too much at once


def test_past_its_room_the_engine_refuses_those_who_do_not_wait(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model, in_flight=1, queue_size=1) as engine:
        tickets = [engine.submit(ask(seed=1), wait=False), engine.submit(ask(seed=2), wait=False)]
        with pytest.raises(Overloaded, match="has 2 requests and takes 2"):
            engine.submit(ask(seed=3), wait=False)
        tickets.append(engine.submit(ask(seed=4)))  # this one waits
        with pytest.raises(Overloaded):
            engine.submit(ask(seed=5), wait=False)
        calls.release()
        for ticket in tickets:
            ticket.result(SECONDS)
        engine.submit(ask(seed=6), wait=False).result(SECONDS)
        status = engine.status()
        assert (status.finished, status.refused, status.failed) == (4, 2, 0)
    assert calls.of(3) == calls.of(5) == 0


def test_a_cancelled_request_gives_its_room_to_the_next_at_once(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model, in_flight=1, queue_size=1) as engine:
        going, queued = engine.submit(ask(seed=1)), engine.submit(ask(seed=2))
        calls.until(1)
        queued.cancel()
        next_one = engine.submit(ask(seed=3), wait=False)
        with pytest.raises(Overloaded):
            engine.submit(ask(seed=4), wait=False)
        calls.release()
        going.result(SECONDS)
        next_one.result(SECONDS)


def test_who_waits_is_looked_at_when_somebody_comes_or_leaves_and_not_in_every_round(
    model: Model, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    next_waiting = jobs.next_waiting

    def watched(*given: Any) -> Any:
        looks.append(len(calls.made))
        return next_waiting(*given)

    monkeypatch.setattr(jobs, "next_waiting", watched)
    calls.hold()
    with running(model, in_flight=1) as engine:
        tickets = [engine.submit(ask(seed=seed)) for seed in range(4)]
        calls.until(0)
        calls.release()
        for ticket in tickets:
            ticket.result(SECONDS)
    # at most once for each who came, once for each who was let in, and once for each who left
    assert len(tickets) <= len(looks) <= 3 * len(tickets)
    assert len(calls.made) == len(tickets) * STEPS > len(looks)


def test_a_place_that_is_given_up_is_taken_before_the_others_go_on(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model, in_flight=4) as engine:
        going = [engine.submit(ask(seed=seed)) for seed in range(1, 5)]
        calls.until(4)
        next_one = engine.submit(ask(seed=5))
        calls.until(1, 2)
        going[2].cancel()
        calls.release()
        next_one.result(SECONDS)
        for ticket in (going[0], going[1], going[3]):
            ticket.result(SECONDS)
    second = [at for at, seeds in enumerate(calls.made) if seeds == (1,)][1]
    assert calls.made[second + 1 : second + 4] == [(5,), (2,), (4,)]


def test_whoever_has_the_result_finds_the_room_free(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_again = threading.Event()
    with running(model, in_flight=1, queue_size=0) as engine:
        leave = engine._leave

        def late(ticket: Ticket) -> None:
            assert asked_again.wait(SECONDS)
            leave(ticket)

        monkeypatch.setattr(engine, "_leave", late)
        engine.submit(ask(), wait=False).result(SECONDS)
        again = engine.submit(ask(), wait=False)
        asked_again.set()
        again.result(SECONDS)


def test_a_decoding_is_never_refused(model: Model, calls: Calls) -> None:
    with running(model, in_flight=1, queue_size=0) as engine:
        drawn = engine.submit(one_of_each()[6]).result(SECONDS).value
        calls.hold()
        engine.submit(ask(seed=1))
        calls.until(1)
        ticket = engine.decode(drawn)
        calls.release()
        assert isinstance(ticket.result(SECONDS).value, Image)


@pytest.mark.parametrize(("options", "said"), [({"queue_size": -1}, "-1"), ({"in_flight": 0}, "in_flight=0")])
def test_sizes_that_admit_nobody_are_errors(model: Model, options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Engine(model, **options)


# Closing


def test_closing_ends_those_in_flight_and_those_queued(model: Model, calls: Calls) -> None:
    calls.hold()
    engine = Engine(model, in_flight=2, queue_size=1)
    tickets = [engine.submit(ask(seed=seed)) for seed in (1, 2, 3, 4)]
    calls.until(2)
    made = len(calls.made)
    engine.stop()
    for ticket in tickets:  # they know before the call that is going on has ended
        with pytest.raises(CoreClosed, match="is closed"):
            ticket.result(0)
    calls.release()
    engine.close()
    engine.close()
    assert len(calls.made) == made
    with pytest.raises(CoreClosed):
        engine.submit(ask())
    with pytest.raises(CoreClosed):
        engine.decode(picture())


def test_closing_from_many_threads_while_others_submit_hangs_nobody(model: Model) -> None:
    engine = Engine(model, in_flight=3, queue_size=3)
    barrier = threading.Barrier(8)

    def submitting(seed: int) -> int:
        barrier.wait()
        ended = 0
        try:
            for _ in range(100):
                ticket = engine.submit(ask(seed=seed, num_steps=1))
                ended += 1
                ticket.result(SECONDS)
        except CoreClosed:
            pass
        return ended

    def closing() -> None:
        barrier.wait()
        time.sleep(0.05)
        engine.close()

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(submitting, seed) for seed in range(5)]
        closed = [pool.submit(closing) for _ in range(3)]
        for each in [*asked, *closed]:
            each.result(SECONDS)
    assert not engine_threads()


def test_many_threads_ask_at_once_and_each_gets_its_own(model: Model) -> None:
    requests = [ask(" ".join(["what"] * (1 + seed)), seed=seed, temperature=1.0) for seed in range(6)]
    wanted = [solo(random_model(), request) for request in requests]
    with running(model, in_flight=3) as engine, ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            given = pool.map(lambda request: engine.submit(request).result(SECONDS), requests)
            assert list(given) == wanted


@pytest.mark.parametrize("grouping", [alone, same_shape])
def test_whatever_is_cancelled_and_fails_everybody_gets_an_outcome_and_the_right_one(
    model: Model, calls: Calls, grouping: Grouping
) -> None:
    wanted = [solo(random_model(), ask(seed=seed)) for seed in range(8)]
    calls.failing = {5}

    def asking(name: int) -> None:
        chance = random.Random(name)
        for _ in range(15):
            seed = chance.randrange(8)
            ticket = engine.submit(ask(seed=seed))
            if cancels := chance.random() < 0.4:
                time.sleep(chance.random() / 50)
                ticket.cancel()
            try:
                given = ticket.result(SECONDS)
                assert seed != 5
                assert isinstance(given.value, Text)
                assert given == wanted[seed] or grouping is not alone
            except CancelledError:
                assert cancels
            except ArithmeticError:
                assert seed == 5

    with running(model, in_flight=3, grouping=grouping) as engine, ThreadPoolExecutor(6) as pool:
        for asked in [pool.submit(asking, name) for name in range(6)]:
            asked.result(60)
        assert engine.submit(ask(seed=1)).result(SECONDS) == wanted[1]


def test_an_idle_engine_closes_and_leaves_no_thread(model: Model) -> None:
    engine = Engine(model)
    assert len(engine_threads()) == 1
    engine.close()
    assert not engine_threads()


def test_a_kept_ticket_does_not_keep_the_weights() -> None:
    model = random_model()
    engine = Engine(model)
    ticket = engine.submit(ask())
    ticket.result(SECONDS)
    engine.close()
    weights, thread_owner = weakref.ref(model), weakref.ref(engine)
    del model, engine
    gc.collect()
    assert weights() is None
    assert thread_owner() is None
    assert ticket.result(0)


@pytest.mark.parametrize("part", ["canvas", "advance", "value"])
def test_a_kept_error_does_not_keep_the_weights_and_tells_where_it_was_raised(part: str) -> None:
    model = random_model()

    def failing(*given: object, **named: object) -> object:
        raise ArithmeticError("no sum")

    setattr(model, part, failing)
    engine = Engine(model)
    ticket = engine.submit(ask())
    with pytest.raises(ArithmeticError) as caught:
        ticket.result(SECONDS)
    error = caught.value.with_traceback(None)
    del caught
    engine.close()
    weights = weakref.ref(model)
    del model, engine, failing
    gc.collect()
    assert weights() is None
    assert "in failing" in error.__notes__[0]


def test_a_kept_ticket_of_a_cancelled_request_keeps_no_keys_and_values(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model) as engine:
        request = one_of_each(1)[4]
        ticket = engine.submit(request)
        calls.until(1, 2)
        assert ticket.state is not None
        assert ticket.state.prefix is not None
        ticket.cancel()
        calls.release()
        engine.submit(ask(seed=9)).result(SECONDS)
    assert ticket.state.prefix is None
    assert ticket.state.prompt is None


def test_who_listens_takes_no_room_and_is_no_request(model: Model, calls: Calls) -> None:
    calls.hold()
    with running(model, in_flight=2, queue_size=0) as engine:
        spoken = engine.submit(one_of_each(1)[1])
        calls.until(1, 1)
        heard = engine.listen(spoken)
        assert engine.status().active == 1
        other = engine.submit(ask(seed=2), wait=False)
        with pytest.raises(Overloaded, match="has 2 requests and takes 2"):
            engine.submit(ask(seed=3), wait=False)
        calls.release()
        for ticket in (spoken, heard, other):
            assert ticket.result(SECONDS)


def test_an_engine_that_nobody_closed_does_not_keep_the_program_alive() -> None:
    program = """
from tests.core_model.random_core import ask, random_model
from omni_agent.core_model.engine import Engine
engine = Engine(random_model())
print(engine.submit(ask()).result(20).confidence)
engine.submit(ask())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert 0 <= float(ended.stdout) <= 1


def test_a_program_that_ends_leaves_what_nobody_awaits_undone() -> None:
    program = """
from tests.core_model.random_core import ask, random_model
from omni_agent.core_model.engine import Engine
model = random_model()
engine = Engine(model, queue_size=100_000)
engine.submit(ask()).result(20)
tickets = [engine.submit(ask(seed=seed)) for seed in range(20_000)]
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_thread_that_still_waits_gets_its_results_after_the_main_one_has_ended() -> None:
    program = """
import threading, time
from tests.core_model.random_core import ask, random_model
from omni_agent.core_model.engine import Engine
engine = Engine(random_model())
def late():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    time.sleep(1.5)
    print(sum(engine.submit(ask(seed=seed)).result(20).confidence >= 0 for seed in range(5)))
threading.Thread(target=late).start()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "5\n"), ended.stderr


def test_a_fork_is_told_at_once_that_no_engine_runs_there() -> None:
    program = """
import os
from tests.core_model.random_core import ask, random_model
from omni_agent.core_model.engine import Engine
from omni_agent.errors import CoreClosed
engine = Engine(random_model())
ticket = engine.submit(ask())
engine._condition.acquire()  # as a thread may have it when another one forks
child = os.fork()
if not child:
    for ask_it in (lambda: engine.submit(ask()), engine.status, lambda: engine.listen(ticket)):
        try:
            ask_it()
        except CoreClosed as error:
            print(error, flush=True)
    engine.close()
    os._exit(0)
engine._condition.release()
print(os.waitpid(child, 0)[1], ticket.result(20).confidence >= 0)
engine.close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    *told, last = ended.stdout.splitlines()
    assert (ended.returncode, last) == (0, "0 True"), ended.stderr
    assert len(told) == 3
    assert all("this is a fork of it" in line and "load the core after forking" in line for line in told)


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "omni-agent engine"]


ROOT = Path(__file__).parents[2]


# Priorities, and many who wait


def test_those_of_low_priority_go_on_while_those_of_high_priority_never_cease(
    model: Model, calls: Calls
) -> None:
    with running(model, in_flight=2) as engine:
        low = engine.submit(ask(seed=1, priority=-50))
        high = [engine.submit(ask(seed=10 + number, priority=50)) for number in range(3)]
        number = 13
        end = time.monotonic() + SECONDS
        while not low.done and time.monotonic() < end:  # two are always there
            high = [ticket for ticket in high if not ticket.done]
            while len(high) < 3:
                high.append(engine.submit(ask(seed=number, priority=50)))
                number += 1
            time.sleep(0.001)
        assert isinstance(low.result(0).value, Text)
        assert calls.of(1) == STEPS


def test_one_of_high_priority_finds_room_beside_others_and_is_done_before_them(
    model: Model, calls: Calls
) -> None:
    calls.hold()
    with running(model, in_flight=2) as engine:
        low = [engine.submit(ask(seed=seed)) for seed in range(4)]
        calls.until(1, 2)
        begun = len(calls.made)
        urgent = engine.submit(ask(seed=9, priority=1))
        calls.release()
        for ticket in (urgent, *low):
            ticket.result(SECONDS)
    last = len(calls.made) - calls.made[::-1].index((9,))
    assert last - begun <= STEPS + STEPS // 3 + 2


def test_an_engine_that_breaks_down_fails_a_hundred_who_wait_with_the_cause(
    model: Model, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.hold()
    with running(model, in_flight=4) as engine:
        tickets = [engine.submit(ask(seed=seed)) for seed in range(100)]
        calls.until(2)

        def broken(*_: object) -> None:
            raise MemoryError("the machine's own")

        monkeypatch.setattr(engine, "_groups", broken)
        calls.release()
        for ticket in tickets:
            with pytest.raises(CoreClosed, match="MemoryError") as failed:
                ticket.result(SECONDS)
            assert isinstance(failed.value.__cause__, MemoryError)
        with pytest.raises(CoreClosed, match="MemoryError"):
            engine.submit(ask())
        with pytest.raises(CoreClosed, match="MemoryError"):
            engine.status()


def test_closing_while_a_hundred_wait_ends_them_all_at_once(model: Model, calls: Calls) -> None:
    calls.hold()
    engine = Engine(model, in_flight=4)
    tickets = [engine.submit(ask(seed=seed, deadline=60.0 if seed % 2 else None)) for seed in range(100)]
    calls.until(1)
    engine.stop()
    for ticket in tickets:
        with pytest.raises(CoreClosed, match="is closed"):
            ticket.result(0)
    calls.release()
    engine.close()
    assert not engine_threads()

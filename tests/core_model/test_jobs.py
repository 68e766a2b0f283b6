"""Whose turn it is, and who comes in flight: laws of priorities."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omni_agent.core import Modality, Request, Task
from omni_agent.core_model.jobs import LESSER_EVERY, Job, for_turn, next_waiting, took_its_turn
from omni_agent.core_model.ticket import Ticket
from omni_agent.values import Text
from tests.core_model.random_core import ask, picture, sound

priorities = st.integers(-3, 3)


def job(number: int, priority: int = 0, due: float | None = None) -> Job:
    return Job(ticket=Ticket(number, lambda _: None), work=ask(priority=priority), due=due)


def value(number: int) -> Job:
    return Job(ticket=Ticket(number, lambda _: None), work=picture())


@given(st.lists(priorities, min_size=1, max_size=20), st.integers(1, 4))
def test_whoever_waits_comes_in_flight_however_many_of_higher_priority_come_after(
    ahead: list[int], most: int
) -> None:
    waiting = [job(number, priority) for number, priority in enumerate(ahead)]
    last = job(len(ahead), -3)
    waiting.append(last)
    in_flight: list[Job] = []
    for number in range(LESSER_EVERY * (len(ahead) + 1) + 1):
        waiting.append(job(1000 + number, 3))  # with every place that becomes free
        came = next_waiting(waiting, in_flight, most, number)
        assert came is not None
        waiting.remove(came)
        if came is last:
            return
        in_flight = [*in_flight, came][-most + 1 :] if most > 1 else []
    raise AssertionError("it waits for ever")


@given(st.lists(priorities, min_size=1, max_size=20), st.integers(1, 100))
def test_between_two_of_the_oldest_places_go_by_priority_and_equals_as_they_came(
    waiting: list[int], number: int
) -> None:
    jobs = [job(index, priority) for index, priority in enumerate(waiting)]
    came = next_waiting(jobs, [], 1, number)
    assert came is not None
    if number % LESSER_EVERY:
        assert came.priority == max(waiting)
        assert came is next(each for each in jobs if each.priority == came.priority)
    else:
        assert came is jobs[0]


@given(st.lists(priorities, max_size=8), st.integers(1, 8), st.integers(0, 8), priorities)
def test_room_is_counted_among_those_of_at_least_its_priority(
    in_flight: list[int], most: int, number: int, priority: int
) -> None:
    others = [job(index, each) for index, each in enumerate(in_flight)]
    came = next_waiting([job(100, priority)], others, most, number)
    assert (came is not None) == (sum(each >= priority for each in in_flight) < most)


@given(st.integers(0, 8), st.integers(1, 8))
def test_one_of_high_priority_comes_past_others_that_came_first_and_have_no_room(
    number: int, most: int
) -> None:
    held = [job(index) for index in range(most)]
    first, urgent = job(100), job(101, 3)
    assert next_waiting([first, urgent], held, most, number) is urgent
    assert next_waiting([first], held, most, number) is None


def test_who_has_no_room_yet_keeps_the_place_that_is_its() -> None:
    first, urgent = job(100), job(101, 3)
    assert not took_its_turn(urgent, [first, urgent], 0)
    assert took_its_turn(first, [first, urgent], 0)
    assert took_its_turn(urgent, [first, urgent], 1)
    assert not took_its_turn(value(102), [first], 1)
    assert next_waiting([first, job(103, 3)], [], 1, 0) is first  # as soon as there is room


def test_what_costs_more_is_of_another_kind() -> None:
    def kind(**settings: Any) -> Hashable:
        return Job(ticket=Ticket(1, lambda _: None), work=ask(**settings)).kind

    assert kind(seed=1, temperature=0.5) == kind() == kind(priority=3, deadline=1.0)
    assert kind(guidance_scale=1.0) == kind(guidance_scale=2.0)
    others = [
        {"guidance_scale": 1.0},
        {"guidance_scale": 0.0},
        {"mode": "fast"},
        {"length": 3},
        {"block_length": 2},
    ]
    assert len({kind(), *(kind(**other) for other in others)}) == 6


def test_what_there_is_more_than_twice_as_much_of_is_of_another_kind() -> None:
    def heard(seconds: float) -> Job:
        work = Request(task=Task.TRANSCRIBE, content=(sound(seconds),), blank=Modality.TEXT)
        return Job(ticket=Ticket(1, lambda _: None), work=work)

    def said(words: int) -> Job:
        work = Request(task=Task.SPEAK, content=(Text("dog " * words),), blank=Modality.SPEECH)
        return Job(ticket=Ticket(1, lambda _: None), work=work)

    assert heard(0.3).kind == heard(0.9).kind
    assert len({heard(seconds).kind for seconds in (0.5, 1.5, 3, 6, 10)}) == 5
    assert heard(0.5).yields == heard(10).yields == (Modality.TEXT,)
    assert said(1).kind == said(2).kind != said(8).kind
    assert said(1).yields[0] == said(2).yields[0] != said(8).yields[0]
    assert said(1).yields[-1] == said(8).yields[-1] == Modality.SPEECH


def test_a_value_and_a_deadline_need_no_room() -> None:
    held = [job(number, 3) for number in range(4)]
    for each in (value(9), job(9, -3, due=5.0)):
        assert next_waiting([job(8, 3), each], held, 1, 1) is each
        assert next_waiting([job(8, 3)], [each], 1, 1) is not None
    assert next_waiting([], [], 1, 0) is None


@given(st.lists(priorities, min_size=1, max_size=12))
def test_everybody_has_turns_and_those_of_the_highest_priority_most(in_flight: list[int]) -> None:
    jobs = [job(index, priority) for index, priority in enumerate(in_flight)]
    turns = dict.fromkeys(range(len(jobs)), 0)
    rounds = LESSER_EVERY * len(jobs) * 2
    for number in range(1, rounds + 1):
        turn = for_turn(jobs, number, 16)
        assert len(set(map(id, turn))) == len(turn)
        for each in turn:
            each.last_turn = sum(turns.values()) + 1
            turns[each.ticket.number] += 1
    highest = max(in_flight)
    first = [index for index, priority in enumerate(in_flight) if priority == highest]
    others = [turns[index] for index in turns if index not in first]
    assert all(turns[index] == rounds for index in first)
    assert all(others)
    assert not others or max(others) - min(others) <= 1
    assert sum(others) <= rounds * len(first) / LESSER_EVERY


def test_a_value_is_decoded_in_every_round_and_brings_nobody_else_a_turn() -> None:
    high, low, decoded = job(1, 2), job(2, -2), value(3)
    assert for_turn([high, low, decoded], 1, 16) == [high, decoded]
    assert for_turn([low, decoded], 1, 16) == [low, decoded]
    assert for_turn([decoded], 1, 16) == [decoded]


def test_a_round_is_no_longer_than_the_places_however_many_have_deadlines() -> None:
    many = [job(number, due=1e9) for number in range(40)]
    seen: list[int] = []
    for number in (1, 2, 3):
        turn = for_turn([*many, value(99)], number, 16)
        assert len(turn) == 16
        assert turn[0].is_value
        for each in turn[1:]:
            each.last_turn = len(seen) + 1
            seen.append(each.ticket.number)
    assert sorted(seen[:40]) == list(range(40)), "all had a turn before anybody had two"

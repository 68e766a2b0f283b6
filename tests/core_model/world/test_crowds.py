"""Crowds: what training alone shows keeps to what training may show."""

from __future__ import annotations

import numpy as np

from omni_agent.core_model.world import crowd_question, load_world, sample_crowd, sample_strangers
from omni_agent.core_model.world.crowds import MOST
from omni_agent.core_model.world.splits import fifth


def test_a_crowd_has_two_kinds_or_more_in_distinct_cells() -> None:
    rng = np.random.default_rng(0)
    totals = set()
    for _ in range(500):
        crowd = sample_crowd(rng)
        numbers = crowd.numbers
        totals.add(int(numbers.sum()))
        assert len(crowd.items) == numbers.sum() <= MOST
        assert (numbers > 0).sum() >= 2
        assert numbers.max() <= 5
        cells = {(round((item.x - 11) / 21), round((item.y - 11) / 21)) for item in crowd.items}
        assert len(cells) == len(crowd.items)
    assert totals == set(range(2, MOST + 1))


def test_no_crowd_has_a_number_of_an_object_that_is_not_trained_on_alone() -> None:
    rng = np.random.default_rng(1)
    world = load_world()
    seen = np.zeros((len(world.objects), 6), dtype=int)
    for _ in range(3000):
        numbers = sample_crowd(rng).numbers
        seen[np.arange(len(numbers)), numbers] += 1
    for thing in world.objects:
        for number in range(2, 6):
            trained = fifth(thing.name, world.numbers[number]) > 1
            assert bool(seen[thing.index, number]) == trained
    assert (seen[:, 1] > 0).all()


def test_crowds_never_have_a_background_of_the_world() -> None:
    crowd = sample_crowd(np.random.default_rng(2))
    assert crowd.background not in load_world().backgrounds
    assert crowd.background.phrase == ""


def test_strangers_are_none_of_the_worlds_and_come_in_any_number() -> None:
    rng = np.random.default_rng(4)
    known = {thing.glyph for thing in load_world().objects}
    alike, seen = set(), set()
    for _ in range(400):
        crowd = sample_strangers(rng)
        numbers = crowd.numbers[crowd.numbers > 0].tolist()
        assert 1 <= len(crowd.items) == sum(numbers) <= MOST
        glyphs = {item.object.glyph for item in crowd.items}
        assert len(glyphs) == len(numbers) <= 4
        assert not glyphs & known
        seen |= glyphs
        if len({item.size for item in crowd.items}) == len(numbers) == 1 < len(crowd.items):
            alike.add(len(crowd.items))
    assert alike == {2, 3, 4, 5}
    assert len(seen) > 150


def test_questions_about_a_crowd_are_answered_by_its_numbers() -> None:
    rng = np.random.default_rng(3)
    world = load_world()
    numbers = np.zeros(len(world.objects), np.int8)
    numbers[[4, 9]] = 3, 1
    wanted = {}
    for thing in world.objects:
        wanted[f"how many {thing.plural} are there"] = world.numbers[numbers[thing.index]]
        wanted[f"is there {thing.phrase}"] = "yes" if numbers[thing.index] else "no"
    asked = [crowd_question(rng, numbers) for _ in range(2000)]
    for question in asked:
        assert wanted[question.text] == question.answer
    answers = [question.answer for question in asked if question.kind == "is there"]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6
    assert {"zero", "one", "three"} <= {question.answer for question in asked}

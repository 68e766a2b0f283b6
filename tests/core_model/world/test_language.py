"""What is said about the world."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from omni_agent.core_model.world import (
    KINDS,
    Combination,
    Kind,
    Question,
    caption,
    draw_prompt,
    load_world,
    question_kinds,
    questions,
    sample_combination,
    sample_question,
    sample_scene,
    sample_sentence,
    split_of,
    sums,
)


def shown(kind: Kind, names: list[str], number: int, background: str) -> Combination:
    world = load_world()
    return Combination(
        kind=kind,
        objects=tuple(world.object(name) for name in names),
        number=number,
        background=world.background(background),
    )


DOG = shown("one", ["dog"], 1, "grass")
APPLES = shown("count", ["apple"], 3, "snow")
DOG_AND_ELEPHANT = shown("pair", ["dog", "elephant"], 1, "sunset")


def asked(combination: Combination) -> dict[str, str]:
    return {question.text: question.answer for question in questions(combination)}


@pytest.mark.parametrize(
    ("combination", "words"),
    [
        (DOG, "a dog on the grass"),
        (APPLES, "three apples in the snow"),
        (DOG_AND_ELEPHANT, "a dog and an elephant at sunset"),
        (shown("count", ["mouse"], 5, "cloud"), "five mice in a pink cloud"),
        (shown("count", ["sheep"], 2, "road"), "two sheep on the road"),
        (shown("count", ["strawberry"], 4, "water"), "four strawberries in the water"),
    ],
)
def test_captions_have_the_right_articles_and_plurals(combination: Combination, words: str) -> None:
    assert caption(combination) == words
    assert draw_prompt(combination) == f"draw {words}"


def test_articles_follow_the_first_letter() -> None:
    for thing in load_world().objects:
        assert thing.article == ("an" if thing.name[0] in "aeiou" else "a")


def test_all_questions_about_one_object() -> None:
    answers = asked(DOG)
    assert answers["what is this"] == "a dog"
    assert answers["describe the picture"] == "a dog on the grass"
    assert answers["where is the dog"] == "on the grass"
    assert answers["how many dogs are there"] == "one"
    assert answers["how many apples are there"] == "zero"
    assert answers["is there a dog"] == "yes"
    assert answers["is there an apple"] == "no"
    assert "what is on the left" not in answers
    assert len(answers) == 3 + 60 + 60


def test_all_questions_about_a_number_of_objects() -> None:
    answers = asked(APPLES)
    assert answers["how many apples are there"] == "three"
    assert answers["how many mice are there"] == "zero"
    assert answers["is there an apple"] == "yes"
    assert "what is this" not in answers
    assert len(answers) == 1 + 60 + 60


def test_all_questions_about_a_pair() -> None:
    answers = asked(DOG_AND_ELEPHANT)
    assert answers["what is on the left"] == "a dog"
    assert answers["what is on the right"] == "an elephant"
    assert answers["where is the elephant"] == "at sunset"
    assert answers["how many elephants are there"] == "one"
    assert answers["is there a tiger"] == "no"
    assert len(answers) == 3 + 2 + 60 + 60


def test_there_are_155_sums_and_none_is_negative() -> None:
    numbers = load_world().numbers
    assert len(sums()) == 155
    assert len({question.text for question in sums()}) == 155
    assert Question(kind="sum", text="what is two plus three", answer="five") in sums()
    assert Question(kind="sum", text="what is nine minus four", answer="five") in sums()
    for question in sums():
        first, sign, second = question.text.removeprefix("what is ").split()
        a, b = numbers.index(first), numbers.index(second)
        assert numbers.index(question.answer) == (a + b if sign == "plus" else a - b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sampled_question_is_among_all_questions(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = sample_scene(rng, None, kind)
        possible = set(questions(scene))
        for question_kind in question_kinds(scene):
            question = sample_question(rng, scene, question_kind)
            assert question.kind == question_kind
            assert question in possible


@pytest.mark.parametrize("kind", KINDS)
def test_is_there_is_half_no(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    answers = Counter(
        sample_question(rng, sample_combination(rng, None, kind), "is there").answer for _ in range(2000)
    )
    assert 900 < answers["no"] < 1100


def test_counts_ask_about_two_to_five_and_zero_and_one_are_apart() -> None:
    rng = np.random.default_rng(2)
    many, few = set(), set()
    for _ in range(300):
        many.add(sample_question(rng, sample_combination(rng, None, "count"), "count").answer)
        few.add(sample_question(rng, sample_combination(rng, None), "one or zero").answer)
    assert many == {"two", "three", "four", "five"}
    assert few == {"zero", "one"}


def test_a_question_that_does_not_fit_the_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="'what' cannot be asked about a 'pair' scene: choose from caption"):
        sample_question(np.random.default_rng(3), DOG_AND_ELEPHANT, "what")


def test_sentences_are_lower_case_words_of_every_kind() -> None:
    rng = np.random.default_rng(4)
    sentences = [sample_sentence(rng) for _ in range(3000)]
    assert all(set(sentence) <= set("abcdefghijklmnopqrstuvwxyz ") for sentence in sentences)
    starts = [
        "draw",
        "what is",
        "is there",
        "how many",
        "where is",
        "describe",
        "two",
        "zero",
        "a ",
        "yes",
        "on the",
    ]
    assert all(any(sentence.startswith(start) for sentence in sentences) for start in starts)


def test_sentences_of_a_split_speak_of_its_scenes_only() -> None:
    rng, other = np.random.default_rng(5), np.random.default_rng(6)
    allowed = {
        draw_prompt(each)
        for each in (sample_combination(other, None) for _ in range(8000))
        if split_of(each) == "train"
    }
    held_out = {draw_prompt(each) for each in (sample_combination(other, "held_out") for _ in range(8000))}
    prompts = {sample_sentence(rng, "train", "draw") for _ in range(500)}
    assert not prompts & held_out
    assert prompts & allowed


def test_scenes_in_random_colours_have_no_caption() -> None:
    scene = sample_scene(np.random.default_rng(7), "train", background_colours="random")
    with pytest.raises(ValueError, match="no words describe it"):
        caption(scene)

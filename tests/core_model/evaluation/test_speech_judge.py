"""The judge of speech follows a good voice, and its language model is a probability."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omni_agent.core_model.evaluation.speech_judge import SpeechJudge, trigram_model
from omni_agent.core_model.training.voices import speak_with
from omni_agent.core_model.world import short_answers
from omni_agent.errors import InputError


def read_arpa(text: str) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    probability, backoff = {}, {}
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) >= 2:
            gram = tuple(parts[1].split())
            probability[gram] = 10 ** float(parts[0])
            backoff[gram] = 10 ** float(parts[2]) if len(parts) > 2 else 1.0
    return probability, backoff


def test_probabilities_sum_to_one_after_any_history() -> None:
    probability, backoff = read_arpa(
        trigram_model(["a dog on the grass", "a cat on the road", "a dog", "yes"])
    )
    vocabulary = [gram[0] for gram in probability if len(gram) == 1 and gram != ("<s>",)]

    def after(history: tuple[str, ...], word: str) -> float:
        if (*history, word) in probability:
            return probability[(*history, word)]
        return backoff.get(history, 1.0) * after(history[1:], word)

    for history in [(), ("a",), ("<s>", "a"), ("on", "the"), ("a", "cat"), ("yes", "dog")]:
        total = sum(after(history, word) for word in vocabulary)
        assert math.isclose(total, 1.0, rel_tol=1e-3), history


def test_no_sentences_make_no_language_model() -> None:
    with pytest.raises(InputError, match="no sentences"):
        trigram_model([])


@pytest.fixture(scope="module")
def judge() -> SpeechJudge:
    return SpeechJudge(["a dog on the grass"])


@pytest.mark.parametrize(
    "text", ["a dog on the grass", "three apples in the snow", "what is nine minus four"]
)
def test_the_judge_hears_the_voice_that_omni_tiny_learns(judge: SpeechJudge, text: str) -> None:
    samples, rate = speak_with("rms", text)
    assert judge.transcribe(samples, rate) == text
    assert judge.transcribe(samples * 0.05, rate) == text


def test_silence_says_nothing_and_no_sound_is_refused(judge: SpeechJudge) -> None:
    assert judge.transcribe(np.zeros(8_000, np.float32), 16_000) == ""
    with pytest.raises(InputError, match="no samples"):
        judge.transcribe(np.zeros(0, np.float32), 16_000)


def test_a_sound_is_judged_the_same_whatever_was_judged_before(judge: SpeechJudge) -> None:
    sounds = [speak_with("rms", text) for text in short_answers()]
    there = [judge.transcribe(*sound) for sound in sounds]
    back = [judge.transcribe(*sound) for sound in reversed(sounds)]
    assert back[::-1] == there

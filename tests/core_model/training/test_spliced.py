"""What is heard word by word is put together again, in any order."""

from __future__ import annotations

import numpy as np

from omni_agent.core_model.training.pools import Ragged
from omni_agent.core_model.training.samples import IGNORED
from omni_agent.core_model.training.spliced import Splicer

NONE, DOG, CAT, OWL = 9, 1, 2, 3
ROWS = [
    [NONE, NONE, NONE, DOG, DOG, NONE, NONE, CAT, NONE],  # two query frames, then seven of speech
    [NONE, NONE, OWL],
    [NONE, NONE, DOG, NONE, DOG],  # a word said twice
    [IGNORED] * 5,  # heard wrong
    [NONE, NONE, NONE],  # nothing heard
]


def splicer() -> Splicer:
    """Each frame's value is its own place in the pool."""
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ROWS])])
    values = np.arange(starts[-1], dtype=np.float16)[:, None]
    heard = Ragged(texts=tuple("abcde"), values=values, starts=starts)
    return Splicer(heard, np.concatenate(ROWS), none=NONE, queries=2)


def test_words_part_in_the_middle_between_them_and_what_was_heard_wrong_gives_none() -> None:
    made = splicer()
    assert made.words == [DOG, CAT, OWL]
    pieces = {word: [tuple(piece) for piece in places] for word, places in made._pieces.items()}
    assert pieces == {DOG: [(2, 6), (14, 15), (15, 17)], CAT: [(6, 9)], OWL: [(11, 12)]}


def test_a_sentence_is_a_piece_of_each_word_behind_the_queries_of_one_recording() -> None:
    made = splicer()
    for seed in range(20):
        heard = made.spoken(np.random.default_rng(seed), [OWL, CAT])
        assert heard is not None
        assert heard.frames[2:, 0].tolist() == [11, 6, 7, 8]
        assert heard.words[2:].tolist() == [OWL, NONE, CAT, NONE]
        assert heard.frames[1, 0] == heard.frames[0, 0] + 1
        assert heard.frames[0, 0] in (0, 9, 12, 17, 22)
    assert made.spoken(np.random.default_rng(0), [OWL, 7]) is None, "a word that nobody said"


def test_half_the_words_are_others_and_half_the_sentences_in_another_order() -> None:
    made = splicer()
    rng = np.random.default_rng(0)
    jumbled = [made.jumbled(rng, [DOG, CAT, OWL, 8]) for _ in range(400)]
    assert all(len(said) == 4 for said in jumbled)
    kept = np.mean([8 in said for said in jumbled])
    last = np.mean([said[-1] == 8 for said in jumbled if 8 in said])
    assert 0.4 < kept < 0.6
    assert 0.5 < last < 0.75

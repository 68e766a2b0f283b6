"""Utterances made of words that were heard elsewhere: the frames of each come from a recording of its own.

A core that hears only what is said learns which sentences are, and hears no others: "draw a pig" is never
trained on where a pig alone is held out, and "pig" was written as "cake" there, though the encoder spots it.
In words of any order nothing can be foretold. And a sentence whose words come from several recordings is one
more recording of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int64

from omni_agent.core_model.training.pools import Ragged
from omni_agent.core_model.training.samples import IGNORED, Heard

__all__ = ["Splicer"]


class Splicer:
    """The pieces of a pool of heard sentences, word by word; between two words they part in the middle.

    Sentences whose words are not all spotted give no pieces.
    """

    def __init__(
        self, heard: Ragged, words: Int64[np.ndarray, " frames"], *, none: int, queries: int
    ) -> None:
        """`words`: the token spotted at each frame, `none` where none is; the first `queries` frames of each
        sentence belong to no word.
        """
        self._heard, self._words, self._queries = heard, words, queries
        pieces: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for start, stop in zip(heard.starts, heard.starts[1:], strict=False):
            row = words[start + queries : stop]
            if not len(row) or row[0] == IGNORED:
                continue
            new = np.flatnonzero((row != none) & (np.diff(row, prepend=none) != 0))
            if not len(new):
                continue
            last = [
                int(np.flatnonzero(row[: after if after else None] != none)[-1]) for after in [*new[1:], 0]
            ]
            parted = [(a + b + 1) // 2 for a, b in zip(last, new[1:], strict=False)]
            edges = [0, *parted, len(row)]
            for at, (left, right) in zip(new, pairwise(edges), strict=True):
                first = int(start) + queries
                pieces[int(row[at])].append((first + int(left), first + int(right)))
        self._pieces = {word: np.array(places) for word, places in pieces.items()}
        self.words = sorted(self._pieces)
        """Every word there are pieces of."""

    def spoken(self, rng: np.random.Generator, text: Sequence[int]) -> Heard | None:
        """The words in that order, each from a random recording; None where one is in no recording."""
        if not all(word in self._pieces for word in text):
            return None
        opening = int(self._heard.starts[rng.integers(len(self._heard))])
        places = [np.arange(opening, opening + self._queries)]
        for word in text:
            start, stop = self._pieces[word][rng.integers(len(self._pieces[word]))]
            places.append(np.arange(start, stop))
        taken = np.concatenate(places)
        frames = self._heard.values[taken].astype(np.float16, copy=False)
        return Heard(frames=frames, words=self._words[taken])

    def jumbled(self, rng: np.random.Generator, text: Sequence[int]) -> list[int]:
        """The text with half of its words changed for any others, and in half of all cases shuffled."""
        said = [word if rng.random() < 0.5 else int(rng.choice(self.words)) for word in text]
        return [said[i] for i in rng.permutation(len(said))] if rng.random() < 0.5 else said

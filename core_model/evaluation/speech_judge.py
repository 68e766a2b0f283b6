"""The judge that reads back what omni-tiny says: pocketsphinx with a language model of the world's sentences.

It is apart from everything that is trained. Its language model lets it expect any sentence of the world but
none in particular: a fixed grammar would hide damage, and the open English model fails on the best synthetic
voice.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from omni_agent.core_model.speech_frontend import at_rate
from omni_agent.core_model.world import sample_sentence
from omni_agent.errors import InputError, MissingExtra

__all__ = ["SpeechJudge", "trigram_model"]

RATE = 16_000
_PEAK = 0.6
_SILENCE = 0.15  # seconds on both sides
_SENTENCES = 5_000
_LONG = 5  # words: shorter ones are too few to be left out, the judge would never hear them


class SpeechJudge:
    """Writes down what it hears, in the words of its language model. Not thread-safe; one sound at a time."""

    def __init__(self, exclude: Collection[str] = (), *, sentences: int = _SENTENCES, seed: int = 0) -> None:
        """Build the language model from random sentences of the world, without those of `exclude` of five
        words or more.

        Raises MissingExtra when pocketsphinx is not installed.
        """
        try:
            import pocketsphinx
        except ImportError as error:
            raise MissingExtra("the judge of speech", "evaluate") from error
        rng = np.random.default_rng(seed)
        tested = {text for text in exclude if len(text.split()) >= _LONG}
        known: list[str] = []
        while len(known) < sentences:
            text = sample_sentence(rng)
            if text not in tested:
                known.append(text)
        self.words = frozenset(word for text in known for word in text.split())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "world.arpa")
            path.write_text(trigram_model(known))
            config = pocketsphinx.Config(
                hmm=pocketsphinx.get_model_path("en-us/en-us"),
                dict=pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"),
                lm=str(path),
                samprate=float(RATE),
                loglevel="FATAL",
            )
            self._decoder = pocketsphinx.Decoder(config)

    def transcribe(self, samples: Float32[np.ndarray, " n"], rate: int) -> str:
        """The words heard in a mono sound, lower case; empty when none. Raises InputError for no samples."""
        if samples.size == 0:
            raise InputError("given no samples to judge; wanted at least one")
        sound = at_rate(samples, rate)
        if not sound.any():
            return ""  # the model of sentences would find a short word in digital silence
        quiet = np.zeros(round(_SILENCE * RATE), dtype=np.float32)
        peak = max(float(np.abs(sound).max()), 1e-6)
        padded = np.concatenate([quiet, sound * (_PEAK / peak), quiet])
        self._decoder.reinit_feat()  # of the sound before nothing is left, so each is judged as the first one
        self._decoder.start_utt()
        self._decoder.process_raw((padded * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return "" if hypothesis is None else str(hypothesis.hypstr)


def trigram_model(sentences: Iterable[str]) -> str:
    """A trigram model with Witten-Bell smoothing (Witten and Bell 1991, interpolated), as an ARPA file's
    text."""
    counts: list[Counter[tuple[str, ...]]] = [Counter(), Counter(), Counter()]
    for sentence in sentences:
        words = ["<s>", *sentence.split(), "</s>"]
        for order in (1, 2, 3):
            counts[order - 1].update(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
    vocabulary = [gram for gram in counts[0] if gram != ("<s>",)]
    if not vocabulary:
        raise InputError("given no sentences to make a language model of; wanted at least one")
    total = sum(counts[0][gram] for gram in vocabulary)
    kinds = len(vocabulary)
    probability: dict[tuple[str, ...], float] = {
        gram: (counts[0][gram] + 1) / (total + kinds) for gram in vocabulary
    }
    backoff: dict[tuple[str, ...], float] = {}
    for order in (2, 3):
        followers: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for gram in counts[order - 1]:
            followers[gram[:-1]].append(gram)
        for history, grams in followers.items():
            seen = sum(counts[order - 1][gram] for gram in grams)
            backoff[history] = len(grams) / (seen + len(grams))
            for gram in grams:
                share = counts[order - 1][gram] / (seen + len(grams))
                probability[gram] = share + backoff[history] * probability[gram[1:]]
    probability[("<s>",)] = 10.0**-99
    return _arpa(probability, backoff)


def _arpa(probability: dict[tuple[str, ...], float], backoff: dict[tuple[str, ...], float]) -> str:
    by_order = {order: sorted(gram for gram in probability if len(gram) == order) for order in (1, 2, 3)}
    lines = ["\\data\\", *(f"ngram {order}={len(grams)}" for order, grams in by_order.items()), ""]
    for order, grams in by_order.items():
        lines.append(f"\\{order}-grams:")
        for gram in grams:
            weight = "" if order == 3 else f"\t{math.log10(backoff.get(gram, 1.0)):.5f}"
            lines.append(f"{math.log10(probability[gram]):.5f}\t{' '.join(gram)}{weight}")
        lines.append("")
    return "\n".join([*lines, "\\end\\", ""])

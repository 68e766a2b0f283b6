"""Listening to a request: the sound of its speech, made a hop at a time while its codes are decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omni_agent.core import Modality, VoiceSettings
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.speech_codec import SpeechCodecStream
from omni_agent.values import Speech, SpeechChunk, Tokens

__all__ = ["Listening"]

# What one turn hands to the codec, so that a long speech which is decided at once keeps nobody waiting.
CODES_A_TURN = 25


class Listening:
    """The sound of one request so far, in a voice. It belongs to the thread that owns the model."""

    def __init__(self, voice: VoiceSettings | None = None) -> None:
        self._voice = voice
        self._stream: SpeechCodecStream | None = None
        self._codes: list[int] = []
        self._chunks: list[SpeechChunk] = []
        self._length = 0

    def turn(self, model: Model, codes: Sequence[int], *, complete: bool) -> SpeechChunk | None:
        """The next chunk, if the codes make one; one turn makes some hops of sound at most.

        Args:
            model: what speaks.
            codes: all that are decided from the left by now: those of the turn before, and more.
            complete: no more will come.
        """
        if self._stream is None:
            self._stream = model.voice.stream(voice=self._voice)
        piece = codes[len(self._codes) : len(self._codes) + CODES_A_TURN]
        self._codes += piece
        last = complete and len(self._codes) == len(codes)
        if not piece and not last:
            return None
        samples = self._stream.push(piece, last=last)
        if not len(samples):
            return None
        chunk = SpeechChunk(speech=Speech(samples, model.voice.sample_rate), start=self._length, last=last)
        self._chunks.append(chunk)
        self._length += len(samples)
        return chunk

    def is_behind(self, codes: Sequence[int]) -> bool:
        """Whether there are codes that no turn has taken yet."""
        return len(codes) > len(self._codes)

    def whole(self, model: Model) -> Speech:
        """All of it, after the last chunk."""
        tokens = Tokens(ids=tuple(self._codes), tokenizer=model.tokenizer_name(Modality.SPEECH))
        samples = np.concatenate([chunk.samples for chunk in self._chunks])
        return Speech(samples, model.voice.sample_rate, tokens=tokens)

"""What a speech codec can do: omni-tiny's table and the published flow decoder have one face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Int
from torch import Tensor

from omni_agent.core import VoiceSettings

__all__ = ["SpeechCodec", "SpeechCodecStream"]


class SpeechCodec(Protocol):
    """Sound to codes and codes to sound."""

    @property
    def sample_rate(self) -> int:
        """Of the sound it makes, in Hz."""
        ...

    def encode(self, samples: Float32[np.ndarray, " n"], rate: int) -> Int[Tensor, " codes"]:
        """Codes of a mono sound in [-1, 1] at `rate` Hz."""
        ...

    def decode(self, codes: Int[Tensor, " codes"] | Sequence[int]) -> Float32[np.ndarray, " n"]:
        """The sound of codes, mono in [-1, 1]; equal codes give equal sounds."""
        ...

    def stream(self, *, voice: VoiceSettings | None = None) -> SpeechCodecStream:
        """A way to the same sound while codes are still to come: as long as what `decode` makes of them.

        Args:
            voice: how, other than `speak_as` said.

        Raises:
            InputError: there is no such voice.
        """
        ...

    def check_voice(self, voice: VoiceSettings) -> None:
        """Raises InputError if it cannot speak like that."""
        ...

    def speak_as(self, voice: VoiceSettings) -> None:
        """Make all sound like that, from now on. It is a setting, and no part of a checkpoint.

        Raises:
            InputError: there is no such voice.
        """
        ...


class SpeechCodecStream(Protocol):
    """One speech on its way from codes to sound."""

    def push(self, codes: Sequence[int], *, last: bool = False) -> Float32[np.ndarray, " n"]:
        """Take the codes that come next, and give the sound that no later one can change, which may be none.

        What is given does not depend on how many codes came at once. With `last`, no more will come and the
        rest of the sound is due, at least a sample if there was any code.

        Raises:
            InputError: a code that there is not, or codes after the last ones.
        """
        ...

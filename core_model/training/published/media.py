"""Pictures and sounds of samples as the frozen parts of a core have them: codes, and encoded speech.

Codes are kept in a folder, a small file each, as a sample is seen in many steps and many runs. Encoded speech
is large; of that, only the last sounds are remembered.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from omni_agent.core import Modality
from omni_agent.core_model.checkpoints.files import replace_file
from omni_agent.core_model.layout import Codes, Heard, Part
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.speech_frontend import RATE, frame_count
from omni_agent.core_model.training.sample_lines import Medium
from omni_agent.errors import InputError
from omni_agent.values import Image, Speech
from omni_agent.values.image import check_picture
from omni_agent.values.speech import sound_seconds

__all__ = ["Media"]

REMEMBERED = 512
"""Of either kind; ten seconds of encoded speech are 350 KB."""


class Media:
    """The media of samples, by their files.

    Args:
        parts: of the core; its weights must not change.
        folder: where codes are kept.
    """

    def __init__(self, parts: Parts, folder: Path) -> None:
        self._parts, self._folder = parts, folder
        self._codes = lru_cache(REMEMBERED)(self._codes_of)
        self.encoded = lru_cache(REMEMBERED)(self._encoded)

    def part(self, medium: Medium, said: bool) -> Part:
        """What stands for a medium in a turn: codes if the assistant said it or it is a picture, else how
        many frames are heard.
        """
        if medium.modality is Modality.SPEECH and not said:
            return Heard(len(self.encoded(medium.path)))
        return Codes(medium.modality, self._codes(medium, said))

    def measured(self, medium: Medium, said: bool) -> Part:
        """The same by the header of its file alone: as long, with zeros as codes. A sound's codes may be one
        more or less.

        Raises:
            InputError: the file is not there or its header is not as wanted, the sound is longer than the
                core hears, or the core has no such part.
            NotAvailable: the core was loaded without its speech codec.
        """
        config = self._parts.config
        if medium.modality is Modality.IMAGE:
            sizes = self._parts.eyes.config
            check_picture(medium.path)
            return Codes(Modality.IMAGE, [0] * (sizes.codes_drawn if said else sizes.codes_seen))
        seconds = sound_seconds(medium.path)
        if said:
            _ = self._parts.voice  # says so, where it is not there
            assert config.speech_codec is not None
            return Codes(Modality.SPEECH, [0] * math.ceil(seconds * config.speech_codec.codes_per_second))
        if config.speech_encoder is None:
            raise InputError(f"{config.name} has no ears: give it text")
        if seconds > config.max_speech_seconds:
            raise InputError(
                f"{str(medium.path)!r} is {seconds:.1f} seconds long; {config.name} hears"
                f" {config.max_speech_seconds:g} at most: cut it into parts"
            )
        rows = frame_count(math.ceil(seconds * RATE))
        return Heard(rows + len(config.speech_encoder.query_rows))

    def _encoded(self, path: Path) -> Float[Tensor, "t encoder"]:
        # cloned, as what was made in inference mode could not be learnt through
        return self._parts.encoded(Speech.open(path)).clone()

    def _codes_of(self, medium: Medium, said: bool) -> tuple[int, ...]:
        content = hashlib.sha256(medium.path.read_bytes()).hexdigest()
        tokenizer = self._parts.tokenizer_name(medium.modality)
        kind = f"{medium.modality}-{'said' if said else 'seen'}-{tokenizer}"
        kept = self._folder / kind / content[:2] / f"{content}.npy"
        if kept.exists():
            return tuple(np.load(kept, allow_pickle=False).tolist())
        if medium.modality is Modality.IMAGE:
            codes = self._parts.image_codes(Image.open(medium.path), drawn=said)
        else:
            speech = Speech.open(medium.path)
            codes = self._parts.voice.encode(speech.samples, speech.rate).tolist()
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, partial(_write, np.array(codes, dtype=np.int32)))
        return tuple(codes)


def _write(codes: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:  # by its name, numpy would add an ending
        np.save(file, codes, allow_pickle=False)

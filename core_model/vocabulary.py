"""The one vocabulary: which ids are text, speech codes, image codes and special tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from omni_agent.core import Modality
from omni_agent.core_model.config import CoreConfig

__all__ = ["Vocabulary"]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Ranges of token ids. Codes of a tokenizer count from 0; `speech.start` and `image.start` shift them
    into place. A modality that the core does not have is an empty range.
    """

    text: range
    speech: range
    image: range
    special: dict[str, int]

    @classmethod
    def of(cls, config: CoreConfig) -> Vocabulary:
        """Text first, then the special tokens, speech codes and image codes."""
        first = config.text_tokens
        speech = first + len(config.special_tokens)
        image = speech + (config.speech_codec.num_codes if config.speech_codec else 0)
        return cls(
            text=range(first),
            special={name: first + i for i, name in enumerate(config.special_tokens)},
            speech=range(speech, image),
            image=range(image, image + (config.image_tokenizer.num_codes if config.image_tokenizer else 0)),
        )

    def __len__(self) -> int:
        return self.image.stop

    @property
    def end(self) -> int:
        """The end of a text or of speech, and its padding."""
        return self.special["<|endoftext|>"]

    @property
    def mask(self) -> int:
        """The token of a masked place."""
        return self.special["<|mask|>"]

    def range_of(self, modality: Modality) -> range:
        """The ids of one modality."""
        return {Modality.TEXT: self.text, Modality.SPEECH: self.speech, Modality.IMAGE: self.image}[modality]

    def columns(self, modality: Modality) -> Int[Tensor, " columns"]:
        """What a blank of this modality may hold: its ids and the end token; a picture is always full, so it
        has no end.
        """
        ids = torch.arange(self.range_of(modality).start, self.range_of(modality).stop)
        return ids if modality is Modality.IMAGE else torch.cat([ids, torch.tensor([self.end])])

    def opener(self, modality: Modality) -> int:
        """The token in front of a blank, which says what the blank is to hold."""
        return self.special[_OPENERS[modality]]


_OPENERS = {
    Modality.TEXT: "<|im_start|>",
    Modality.SPEECH: "<|begin_of_audio|>",
    Modality.IMAGE: "<|begin_of_image|>",
}

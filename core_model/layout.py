"""How a prompt lies on the canvas: the one order that training teaches and decoding uses.

Pictures first, then the user's turn (the task's instruction, then text and heard speech in the order given),
then the token that opens the blank and says what it is to hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omni_agent.core import Modality
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = ["Prompt", "Typed", "lay_out", "picture_ids"]

Typed = Sequence[int]
"""Text as token ids."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Token ids up to the blank, how many of them are pictures, and where each heard speech begins."""

    ids: list[int]
    pictures: int
    heard_at: tuple[int, ...]


def picture_ids(vocabulary: Vocabulary, codes: Sequence[int]) -> list[int]:
    """One picture between its begin and end tokens."""
    special, first = vocabulary.special, vocabulary.image.start
    return [special["<|begin_of_image|>"], *(first + code for code in codes), special["<|end_of_image|>"]]


def lay_out(
    vocabulary: Vocabulary,
    *,
    pictures: Sequence[Sequence[int]] = (),
    instruction: Typed = (),
    content: Sequence[Typed | int] = (),
    blank: Modality,
) -> Prompt:
    """The prompt of a request.

    Args:
        vocabulary: of the core.
        pictures: image codes, each counted from 0.
        instruction: token ids of what the task says in front.
        content: what is typed, as token ids, and what is heard, as its number of frames.
        blank: what the blank is to hold.
    """
    special = vocabulary.special
    ids = [token for codes in pictures for token in picture_ids(vocabulary, codes)]
    shared = len(ids)
    heard_at: list[int] = []
    ids += [special["<|im_start|>"], *instruction]
    for part in content:
        if isinstance(part, int):
            heard_at.append(len(ids) + 1)
            ids += [
                special["<|begin_of_audio|>"],
                *[special["<|context_of_audio|>"]] * part,
                special["<|end_of_audio|>"],
            ]
        else:
            ids += part
    ids += [special["<|im_end|>"], vocabulary.opener(blank)]
    return Prompt(ids=ids, pictures=shared, heard_at=tuple(heard_at))

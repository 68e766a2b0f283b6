"""How a prompt lies on the canvas: the one order that training teaches and decoding uses.

Two templates. *Compact* (omni-tiny): pictures first, then the user's turn (the task's instruction, then text
and heard speech in the order given), then the token that opens the blank and says what it is to hold. *Chat*
(published): Qwen2's turns without a default system line, the user's text, then speech, then pictures, and the
opening of the assistant's turn, which leaves to the model what the blank holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omni_agent.core import Modality
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = ["Prompt", "Typed", "lay_out", "lay_out_chat", "picture_ids"]

Typed = Sequence[int]
"""Text as token ids."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Token ids up to the blank, how many of them are pictures at the front, and where each heard speech
    begins.
    """

    ids: list[int]
    pictures: int
    heard_at: tuple[int, ...]


def picture_ids(vocabulary: Vocabulary, codes: Sequence[int]) -> list[int]:
    """One picture between its begin and end tokens."""
    special, first = vocabulary.special, vocabulary.image.start
    return [special["<|begin_of_image|>"], *(first + code for code in codes), special["<|end_of_image|>"]]


def heard_ids(vocabulary: Vocabulary, frames: int) -> list[int]:
    """The places of so many heard frames, between the begin and end tokens of speech."""
    special = vocabulary.special
    context = [special["<|context_of_audio|>"]] * frames
    return [special["<|begin_of_audio|>"], *context, special["<|end_of_audio|>"]]


def lay_out(
    vocabulary: Vocabulary,
    *,
    pictures: Sequence[Sequence[int]] = (),
    instruction: Typed = (),
    content: Sequence[Typed | int] = (),
    blank: Modality,
) -> Prompt:
    """The compact prompt of a request.

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
            ids += heard_ids(vocabulary, part)
        else:
            ids += part
    ids += [special["<|im_end|>"], vocabulary.opener(blank)]
    return Prompt(ids=ids, pictures=shared, heard_at=tuple(heard_at))


def lay_out_chat(
    vocabulary: Vocabulary,
    encode: Callable[[str], list[int]],
    *,
    system: str = "",
    texts: Sequence[str] = (),
    heard: Sequence[int] = (),
    pictures: Sequence[Sequence[int]] = (),
    filler: Typed = (),
) -> Prompt:
    """The published prompt of a request (`tools/inference.py`; the user texts are those of training).

    Args:
        vocabulary: of the core.
        encode: token ids of plain text. What stands between two special tokens is encoded in one piece, as
            tokens may span its parts.
        system: the system line; none where empty.
        texts: lines of the user's turn.
        heard: speech, as its number of frames.
        pictures: image codes, each counted from 0.
        filler: token ids put at the end of the user's turn.
    """
    special = vocabulary.special
    ids: list[int] = []
    heard_at: list[int] = []
    if system:
        ids += [special["<|im_start|>"], *encode(f"system\n{system}"), special["<|im_end|>"], *encode("\n")]
    ids.append(special["<|im_start|>"])
    media: list[int | Sequence[int]] = [*heard, *pictures]
    before = "user\n" + "\n".join(texts) + ("\n" if texts and media else "")
    for part in media:
        ids += encode(before)
        if isinstance(part, int):
            heard_at.append(len(ids) + 1)
            ids += heard_ids(vocabulary, part)
        else:
            ids += picture_ids(vocabulary, part)
        before = "\n"
    if not media:
        ids += encode(before)
    ids += [*filler, special["<|im_end|>"], *encode("\n"), special["<|im_start|>"], *encode("assistant\n")]
    return Prompt(ids=ids, pictures=0, heard_at=tuple(heard_at))

"""How a prompt lies on the canvas: the one order that training teaches and decoding uses.

Two templates. *Compact* (omni-tiny): pictures first, then the user's turn (the task's instruction, then text
and heard speech in the order given), then the token that opens the blank and says what it is to hold. *Chat*
(published): Qwen2's turns without a default system line, the user's text, then speech, then pictures, and the
opening of the assistant's turn, which leaves to the model what the blank holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from omni_agent.core import Modality
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = [
    "Chat",
    "Codes",
    "Heard",
    "Ids",
    "Part",
    "Prompt",
    "Turn",
    "Typed",
    "lay_out",
    "lay_out_chat",
    "lay_out_turns",
    "picture_ids",
    "speech_place",
]

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
        encode: token ids of plain text.
        system: the system line; none where empty.
        texts: lines of the user's turn.
        heard: speech, as its number of frames.
        pictures: image codes, each counted from 0.
        filler: token ids put at the end of the user's turn.
    """
    media: list[Part] = [
        *(Heard(each) for each in heard),
        *(Codes(Modality.IMAGE, each) for each in pictures),
    ]
    content: list[Part] = ["\n".join(texts) + ("\n" if texts and media else "")]
    for part in media:
        content += [part, "\n"]
    if media:
        content.pop()
    turns = [Turn(role="system", content=(system,))] if system else []
    turns.append(Turn(role="user", content=(*content, Ids(filler))))
    chat = lay_out_turns(vocabulary, encode, turns)
    return Prompt(
        ids=[*chat.ids, *opening(vocabulary, encode)],
        pictures=0,
        heard_at=chat.heard_at,
    )


@dataclass(frozen=True)
class Heard:
    """Heard speech in a turn: how many frames it has."""

    count: int


@dataclass(frozen=True)
class Codes:
    """A picture or spoken speech in a turn: its codes, each counted from 0."""

    modality: Modality
    codes: Sequence[int]


@dataclass(frozen=True)
class Ids:
    """Token ids that stand in a turn as they are."""

    ids: Sequence[int]


Part = str | Heard | Codes | Ids


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a chat: whose it is and what it holds, in order."""

    role: Literal["system", "user", "assistant"]
    content: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Whole turns as token ids.

    Attributes:
        ids: of all turns.
        heard_at: where each heard speech begins.
        answers: where each of the assistant's turns begins, behind its opening, and where it ends, behind its
            line break.
    """

    ids: list[int]
    heard_at: tuple[int, ...]
    answers: tuple[range, ...]


def lay_out_turns(vocabulary: Vocabulary, encode: Callable[[str], list[int]], turns: Sequence[Turn]) -> Chat:
    """Qwen2's turns, each closed. What stands between two special tokens is encoded in one piece, as tokens
    may span its parts; but an assistant's turn begins where a prompt ends.
    """
    special = vocabulary.special
    ids: list[int] = []
    heard_at: list[int] = []
    answers: list[range] = []
    for turn in turns:
        if turn.role == "assistant":
            ids += opening(vocabulary, encode)
            before = ""
        else:
            ids.append(special["<|im_start|>"])
            before = f"{turn.role}\n"
        begin = len(ids)
        for part in turn.content:
            if isinstance(part, str):
                before += part
                continue
            ids += encode(before)
            before = ""
            if isinstance(part, Heard):
                heard_at.append(len(ids) + 1)
                ids += heard_ids(vocabulary, part.count)
            elif isinstance(part, Codes):
                ids += code_ids(vocabulary, part)
            else:
                ids += part.ids
        ids += [*encode(before), special["<|im_end|>"], *encode("\n")]
        if turn.role == "assistant":
            answers.append(range(begin, len(ids)))
    return Chat(ids=ids, heard_at=tuple(heard_at), answers=tuple(answers))


def speech_place(start: int, length: int, share: float) -> int:
    """Where in the row the speech of a blank of `length` places from `start` on begins: of the whole row and
    then cut, as published; of the blank alone it could be one less.
    """
    return int(start + share * length)


def opening(vocabulary: Vocabulary, encode: Callable[[str], list[int]]) -> list[int]:
    """What stands in front of the assistant's content."""
    return [vocabulary.special["<|im_start|>"], *encode("assistant\n")]


def code_ids(vocabulary: Vocabulary, part: Codes) -> list[int]:
    """Codes between the begin and end tokens of their modality."""
    if part.modality is Modality.IMAGE:
        return picture_ids(vocabulary, part.codes)
    special, first = vocabulary.special, vocabulary.speech.start
    return [
        special["<|begin_of_audio|>"],
        *(first + code for code in part.codes),
        special["<|end_of_audio|>"],
    ]

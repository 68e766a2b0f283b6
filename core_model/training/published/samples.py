"""From a line to its tokens, laid out by the code that lays out what decoding asks (`layout.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TypeGuard

import numpy as np
from jaxtyping import Bool, Int64

from omni_agent.core import Modality
from omni_agent.core_model.config import CoreConfig, TaskConfig
from omni_agent.core_model.layout import Heard, Ids, Part, Turn, lay_out_turns, speech_place
from omni_agent.core_model.training.published.config import AnswersConfig, DropoutConfig
from omni_agent.core_model.training.sample_kinds import Kind, kind_of, task_of
from omni_agent.core_model.training.sample_lines import Line, Medium
from omni_agent.core_model.vocabulary import Vocabulary

__all__ = ["Layouts", "Sample"]

AsPart = Callable[[Medium, bool], Part]
"""What stands for a medium, given whether the assistant said it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One sample as a row of tokens.

    Attributes:
        kind: what it teaches.
        ids: the whole conversation, unmasked, with the padding behind its last answer.
        labelled: where the model is to say what stands there: the answers, each with its closing and line
            break, and the padding.
        heard: the sounds that the user speaks, and where each begins.
    """

    kind: Kind
    ids: Int64[np.ndarray, " n"]
    labelled: Bool[np.ndarray, " n"]
    heard: tuple[tuple[int, Path], ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class Layouts:
    """How samples of a core are laid out.

    Attributes:
        config: of the core.
        vocabulary: of the core.
        encode: token ids of plain text.
        answers: what is put behind answers.
        dropout: how many drawings lose their prompt.
    """

    config: CoreConfig
    vocabulary: Vocabulary
    encode: Callable[[str], list[int]]
    answers: AnswersConfig
    dropout: DropoutConfig

    def sample(self, line: Line, part: AsPart, rng: np.random.Generator) -> Sample:
        """The tokens of a line, with what chance has a say in drawn from `rng`."""
        kind = kind_of(line)
        turns = [
            Turn(
                role=said.role,
                content=tuple(
                    part(each, said.role == "assistant") if isinstance(each, Medium) else each
                    for each in said.content
                ),
            )
            for said in line.said
        ]
        asked = [said for said in line.said if said.role == "user"]
        sounds = [each.path for said in asked for each in said.content if _is_sound(each)]
        task = task_of(kind, self.config)
        if kind.draws and rng.random() < self.dropout.share:
            turns, sounds = self._without_prompt(turns, sounds, task, rng)
        chat = lay_out_turns(self.vocabulary, self.encode, turns)
        last = chat.answers[-1].start
        if self.answers.padding == "chance":
            behind = [self.vocabulary.end] * int(rng.integers(1, self.answers.most + 1))
            answer, given = [*chat.ids[last:], *behind], None
        else:
            answer, given = self._blank(chat.ids[last:], last, task, turns[-2])
        labelled = np.zeros(last + len(answer), dtype=bool)
        for each in chat.answers:
            labelled[each.start : each.stop] = True
        labelled[last:] = True
        if given is not None:
            labelled[last + given] = False
        return Sample(
            kind=kind,
            ids=np.array([*chat.ids[:last], *answer], dtype=np.int64),
            labelled=labelled,
            heard=tuple(zip(chat.heard_at, sounds, strict=True)),
        )

    def longest(self, line: Line, part: AsPart) -> int:
        """The most tokens that `sample` makes of a line."""
        prompted = replace(self, dropout=DropoutConfig())
        made = len(prompted.sample(line, part, np.random.default_rng(0)))
        return made + (self.answers.most if self.answers.padding == "chance" else 0)

    def _blank(
        self, answer: list[int], start: int, task: TaskConfig | None, question: Turn
    ) -> tuple[list[int], int | None]:
        """An answer as it fills the blank that decoding would ask for behind `start` tokens, or several of
        its lengths; and its place that decoding fills in beforehand, if there is one.
        """
        end, begin = self.vocabulary.end, self.vocabulary.special.get("<|begin_of_audio|>")
        bucket = 1 if task is None else task.blank_length(_units(question))
        spoken = answer.index(begin) if begin in answer else None
        for blanks in count(1):
            length, given, made = bucket * blanks, None, answer
            if task is not None and task.speech_from is not None and spoken is not None:
                place = speech_place(start, length, task.speech_from) - start
                if spoken <= place:
                    given, made = place, [*answer[:spoken], *[end] * (place - spoken), *answer[spoken:]]
            if len(made) <= length:
                break
        return [*made, *[end] * (length - len(made))], given

    def _without_prompt(
        self, turns: list[Turn], sounds: list[Path], task: TaskConfig | None, rng: np.random.Generator
    ) -> tuple[list[Turn], list[Path]]:
        """The same with nothing, or with tokens of chance, in the user's last turn: as decoding has it where
        it is guided (`prompting.without_prompt`).
        """
        *before, question, answer = turns
        kept: tuple[Part, ...] = ()
        if rng.random() < self.dropout.noise and not any(
            isinstance(each, Heard) for each in question.content
        ):
            kept = (f"{task.instruction}\n",) if task and task.instruction else ()
            lengths = [
                len(lay_out_turns(self.vocabulary, self.encode, [each]).ids)
                for each in (question, replace(question, content=kept))
            ]
            missing = max(lengths[0] - lengths[1], 0)
            chance = rng.choice(self.vocabulary.special["<|begin_of_audio|>"], missing, replace=False)
            kept += (Ids(chance.tolist()),)
        lost = sum(isinstance(each, Heard) for each in question.content)
        turns = [*before, replace(question, content=kept), answer]
        return turns, sounds[: len(sounds) - lost]


def _is_sound(part: str | Medium) -> TypeGuard[Medium]:
    return isinstance(part, Medium) and part.modality is Modality.SPEECH


def _units(question: Turn) -> int:
    """What decoding chooses the length of a blank by: characters and frames."""
    return sum(
        len(each) if isinstance(each, str) else each.count if isinstance(each, Heard) else 0
        for each in question.content
    )

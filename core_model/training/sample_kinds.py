"""The kinds of sample that the published model was trained on, and what decoding calls them."""

from __future__ import annotations

from enum import StrEnum

from omni_agent.core import Modality, Task
from omni_agent.core_model.config import CoreConfig, TaskConfig
from omni_agent.core_model.training.sample_lines import Line

__all__ = ["Kind", "kind_of", "task_of"]


class Kind(StrEnum):
    """What a sample teaches, by what its last question and answer hold."""

    RECOGNITION = "recognition"
    SPEAKING = "speaking"
    DRAWING = "text to image"
    PICTURE_QUESTION = "picture question"
    SPOKEN_DRAWING = "speech to image"
    SPOKEN_ANSWER = "spoken answer"
    SPOKEN_PICTURE_QUESTION = "spoken picture question"
    WRITTEN_ANSWER = "written answer"
    OTHER = "other"

    @property
    def draws(self) -> bool:
        """Whether the answer is a picture."""
        return self in (Kind.DRAWING, Kind.SPOKEN_DRAWING)


_TEXT, _SPEECH, _IMAGE = Modality.TEXT, Modality.SPEECH, Modality.IMAGE
_KINDS = {
    (frozenset({_TEXT, _SPEECH}), (_TEXT,)): Kind.RECOGNITION,
    (frozenset({_TEXT}), (_SPEECH,)): Kind.SPEAKING,
    (frozenset({_TEXT}), (_IMAGE,)): Kind.DRAWING,
    (frozenset({_TEXT, _IMAGE}), (_TEXT,)): Kind.PICTURE_QUESTION,
    (frozenset({_SPEECH}), (_IMAGE,)): Kind.SPOKEN_DRAWING,
    (frozenset({_SPEECH}), (_TEXT, _SPEECH)): Kind.SPOKEN_ANSWER,
    (frozenset({_SPEECH, _IMAGE}), (_TEXT, _SPEECH)): Kind.SPOKEN_PICTURE_QUESTION,
    (frozenset({_TEXT}), (_TEXT,)): Kind.WRITTEN_ANSWER,
}
_ASKED = {
    Kind.RECOGNITION: (Task.TRANSCRIBE, (_SPEECH,)),
    Kind.SPEAKING: (Task.SPEAK, (_TEXT,)),
    Kind.DRAWING: (Task.DRAW, (_TEXT,)),
    Kind.PICTURE_QUESTION: (Task.ANSWER, (_IMAGE, _TEXT)),
    Kind.SPOKEN_DRAWING: (Task.DRAW, (_SPEECH,)),
    Kind.SPOKEN_ANSWER: (Task.REPLY, (_SPEECH,)),
    Kind.SPOKEN_PICTURE_QUESTION: (Task.REPLY, (_IMAGE, _SPEECH)),
    Kind.WRITTEN_ANSWER: (Task.ANSWER, (_TEXT,)),
}


def kind_of(line: Line) -> Kind:
    """The kind of a sample."""
    question, answer = line.said[-2:]
    return _KINDS.get((frozenset(question.modalities), tuple(answer.modalities)), Kind.OTHER)


def task_of(kind: Kind, config: CoreConfig) -> TaskConfig | None:
    """How decoding asks a core for what a kind of sample teaches; None where it does not."""
    if kind is Kind.OTHER:
        return None
    task, given = _ASKED[kind]
    return config.task(task, given)

"""Which requests a core in this process accepts: checked before they take a place at the engine.

Only what can be told at once, without tokenising and without the weights. The rest, such as a text that holds
no words, is found when the canvas is made, and fails that one request then.
"""

from __future__ import annotations

from collections.abc import Sequence

from omni_agent.core import Modality, Request, Task
from omni_agent.core_model.model import Model
from omni_agent.core_model.prompting import given
from omni_agent.errors import InputError
from omni_agent.values import Image, Speech, Text

__all__ = ["blank_of", "check_request", "check_task", "check_tokens"]

_BLANKS = {
    Task.TRANSCRIBE: Modality.TEXT,
    Task.SPEAK: Modality.SPEECH,
    Task.ANSWER: Modality.TEXT,
    Task.DESCRIBE: Modality.TEXT,
    Task.DRAW: Modality.IMAGE,
    Task.REPLY: Modality.SPEECH,
}

_NAMES = {Modality.TEXT: "Text", Modality.SPEECH: "Speech", Modality.IMAGE: "Image"}
_QUESTIONS = (
    (Modality.TEXT,),
    (Modality.SPEECH,),
    (Modality.IMAGE, Modality.TEXT),
    (Modality.IMAGE, Modality.SPEECH),
)
_CONTENTS: dict[Task, tuple[tuple[Modality, ...], ...]] = {
    Task.TRANSCRIBE: ((Modality.SPEECH,),),
    Task.SPEAK: ((Modality.TEXT,),),
    Task.ANSWER: _QUESTIONS,
    Task.DESCRIBE: ((Modality.IMAGE,),),
    Task.DRAW: ((Modality.TEXT,), (Modality.SPEECH,)),
    Task.REPLY: _QUESTIONS,
}


def check_request(request: Request, model: Model) -> None:
    """Refuse what `model` cannot fill.

    Raises:
        InputError: no request, a history, content or a blank that the task does not have, a text without
            words, speech that is too long, tokens of another core, or a length the blank cannot have.
    """
    if not isinstance(request, Request):
        raise InputError(f"generate was given {type(request).__name__}; wanted a Request, or use a verb")
    if request.history is not None and len(request.history):
        raise InputError(
            f"{model.config.name} was given a history of {len(request.history)} turns; this version asks"
            " single questions only: ask without history"
        )
    check_task(request.task, given(request.content), request.blank, model)
    for value in request.content:
        if isinstance(value, Text):
            _check_text(value, model)
        else:
            _check_media(value, model)
    _check_length(request, model)
    _check_reading(request, model)


def check_task(task: Task, kinds: Sequence[Modality], blank: Modality, model: Model) -> None:
    """Refuse a task that `model` does not do from values of these kinds, or a blank that is not the task's.

    Raises:
        InputError: it is one of these.
    """
    if tuple(kinds) not in _CONTENTS[task]:
        there = ", ".join(_NAMES[kind] for kind in kinds)
        wanted = "; or ".join(", ".join(_NAMES[kind] for kind in each) for each in _CONTENTS[task])
        hint = "; a file is opened first, with Image.open or Speech.open" if Modality.TEXT in kinds else ""
        raise InputError(f"{task} was given {there}; it wants {wanted}{hint}")
    if model.config.task(task, kinds) is None or not model.config.has(kinds):
        known = ", ".join(sorted(model.config.tasks))
        raise InputError(
            f"{model.config.name} was asked to {task} from {', '.join(kinds)}; it was made to {known}"
        )
    if blank is not _BLANKS[task]:
        raise InputError(f"{task} was asked to fill a blank of {blank}; it fills one of {_BLANKS[task]}")


def blank_of(task: Task) -> Modality:
    """What a task fills a blank with."""
    return _BLANKS[task]


def check_tokens(value: Image | Speech, model: Model) -> None:
    """Refuse a value whose tokens `model` cannot read.

    Raises:
        InputError: they are another core's, codes that there are not, or not as many as a picture or a sound
            may have.
    """
    tokens = value.tokens
    assert tokens is not None
    modality = _modality(value)
    if not _is_own(value, model):
        raise InputError(
            f"the {modality} holds tokens of the tokenizer {tokens.tokenizer!r}, not of this core's"
            f" {model.tokenizer_name(modality)!r}: decode it with the core that made it"
        )
    codes = len(model.vocabulary.range_of(modality))
    if max(tokens.ids) >= codes:
        raise InputError(
            f"the {modality} holds the code {max(tokens.ids)}; the codes of this core are 0 to {codes - 1}"
        )
    if isinstance(value, Speech):
        _check_seconds(value, model, _MOST_SECONDS)
    else:
        config = model.eyes.config
        if len(tokens.ids) not in (config.codes_drawn, config.codes_seen):
            raise InputError(
                f"the picture holds {len(tokens.ids)} codes; a picture of this core has {config.codes_drawn}"
            )


_MOST_CHARACTERS_A_TOKEN = 32
"""A text of more is refused unread: tokenising a million characters would keep the engine for a second."""

_MOST_SECONDS = 300.0
"""What a `Speech` may last at all: decoding more could only fail, after much work."""


def _modality(value: Image | Speech) -> Modality:
    return Modality.IMAGE if isinstance(value, Image) else Modality.SPEECH


def _is_own(value: Image | Speech, model: Model) -> bool:
    return value.tokens is not None and value.tokens.tokenizer == model.tokenizer_name(_modality(value))


def _check_text(text: Text, model: Model) -> None:
    if not text.strip():
        raise InputError(f"an empty text was given; {model.config.name} wants at least one word")
    most = _MOST_CHARACTERS_A_TOKEN * model.config.max_text_tokens
    if len(text) > most:
        raise InputError(
            f"a text of {len(text):,} characters was given; {model.config.name} reads"
            f" {model.config.max_text_tokens} tokens at most: shorten it"
        )


def _check_media(value: Image | Speech, model: Model) -> None:
    if not value.is_decoded or _is_own(value, model):  # the model reads tokens of its own rather than pixels
        check_tokens(value, model)
    if isinstance(value, Speech):
        _check_seconds(value, model, model.config.max_speech_seconds)


def _check_seconds(speech: Speech, model: Model, most: float) -> None:
    if speech.is_decoded:
        seconds = speech.seconds
    else:
        codec = model.config.speech_codec
        assert speech.tokens is not None
        assert codec is not None  # `check_tokens` knows no others' tokens
        seconds = len(speech.tokens.ids) / codec.codes_per_second
    if seconds > most:
        raise InputError(
            f"the speech is {seconds:.1f} seconds long; {model.config.name} takes {most:g} at most:"
            " cut it into parts"
        )


def _check_length(request: Request, model: Model) -> None:
    length, task = request.settings.length, model.config.task(request.task, given(request.content))
    assert task is not None
    if length is None:
        return
    if request.blank is Modality.IMAGE and task.max_length is None and length not in task.lengths:
        fits = " or ".join(map(str, task.lengths))
        raise InputError(
            f"{request.task} was given length={length}; a picture of {model.config.name} has {fits} codes"
        )
    most = task.max_length or task.lengths[-1]
    if length > most:
        raise InputError(
            f"{request.task} was given length={length}; {model.config.name} fills {most} places at most"
        )


def _check_reading(request: Request, model: Model) -> None:
    task, settings = model.config.task(request.task, given(request.content)), request.settings
    assert task is not None
    if settings.algorithm or task.algorithm:
        return
    for name in ("repeat_penalty", "max_position_penalty"):
        if getattr(settings, name) is not None:
            raise InputError(
                f"{request.task} was given {name}, which belongs to the published reading;"
                f" {model.config.name} reads typed: give an algorithm too, or leave it out"
            )

"""From a request to its canvas: the prompt in the template of the checkpoint, and the blank behind it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from omni_agent.core import Modality, Request, Task
from omni_agent.core_model.canvas import Canvas, Frames, Span
from omni_agent.core_model.config import TaskConfig
from omni_agent.core_model.layout import Prompt, lay_out, lay_out_chat, speech_place
from omni_agent.core_model.parts import Parts
from omni_agent.errors import InputError
from omni_agent.values import Image, Speech, Text

__all__ = ["canvas_of", "given", "heard_as", "without_prompt"]


def given(content: Iterable[Text | Image | Speech]) -> list[Modality]:
    """The modalities of values."""
    kinds = ((Text, Modality.TEXT), (Image, Modality.IMAGE), (Speech, Modality.SPEECH))
    return [kind for value in content for of, kind in kinds if isinstance(value, of)]


@torch.inference_mode()
def canvas_of(parts: Parts, request: Request) -> Canvas:
    """The prompt of a request and its blank, all masked but for what the task puts there.

    Raises:
        InputError: a task that this core does not do from such values, a text without words, or of too
            many tokens. What can be told without tokenising is refused before (`acceptance.py`).
    """
    task = parts.config.task(request.task, given(request.content))
    if task is None:
        raise InputError(f"{parts.config.name} does not {request.task} from what was given")
    pictures = [parts.image_codes(value) for value in request.content if isinstance(value, Image)]
    said = [
        _typed(parts, value, task) if isinstance(value, Text) else heard_as(parts, value, task)
        for value in request.content
        if not isinstance(value, Image)
    ]
    content = [_text_ids(parts, each) if isinstance(each, str) else len(each) for each in said]
    heard = [each for each in said if not isinstance(each, str)]
    length = request.settings.length or task.blank_length(sum(map(len, said)))
    if parts.config.template == "chat":
        texts = [each for each in said if isinstance(each, str)]
        prompt = _chat(parts, task, texts, [len(rows) for rows in heard], pictures)
    else:
        instruction = parts.text_tokenizer.encode(task.instruction) if task.instruction else []
        prompt = lay_out(
            parts.vocabulary,
            pictures=pictures,
            instruction=instruction,
            content=content,
            blank=request.blank,
        )
    start = len(prompt.ids)
    ids = torch.tensor(prompt.ids + [parts.vocabulary.mask] * length, device=parts.device)
    if task.speech_from is not None:
        ids[speech_place(start, length, task.speech_from)] = parts.vocabulary.special["<|begin_of_audio|>"]
    return Canvas(
        task=request.task,
        task_config=task,
        ids=ids,
        blank=Span(start=start, stop=start + length, modality=request.blank),
        prefix=prompt.pictures if parts.config.prompt_attention == "prefix" else 0,
        frames=tuple(
            Frames(start=at, embeddings=rows) for at, rows in zip(prompt.heard_at, heard, strict=True)
        ),
    )


def heard_as(parts: Parts, speech: Speech, task: TaskConfig) -> str | Float[Tensor, "t hidden"]:
    """Speech as it is put into the prompt of a task: the words it spells, as if they were typed, or its
    frames; these also where it spells none, or more than a prompt reads.

    Raises:
        InputError: the core has no ears.
        NotAvailable: the speech holds only codes, and the core was loaded without its speech codec.
    """
    if task.heard == "words" and (words := parts.spelled(speech)):
        typed = _typed(parts, words, task)
        if len(parts.text_tokenizer.encode(typed)) <= parts.config.max_text_tokens:
            return typed
    return parts.hear(speech)


def without_prompt(parts: Parts, canvas: Canvas, seed: int) -> Canvas:
    """The blank behind an empty user turn, as in training with prompt dropout.

    With padding attended, a drawing asked for in writing has as many tokens of chance in the user's turn
    as its prompt has, which is how the published code keeps the rows in line.
    """
    task = canvas.task_config
    if parts.config.template == "compact":
        prompt = lay_out(parts.vocabulary, blank=canvas.blank.modality)
    else:
        prompt = _chat(parts, task.model_copy(update={"instruction": ""}))
        if parts.config.padding == "attended" and canvas.task is Task.DRAW and not canvas.frames:
            kept = _chat(parts, task, [""])
            missing = max(canvas.blank.start - len(kept.ids), 0)
            tokens = range(parts.vocabulary.special["<|begin_of_audio|>"])
            filler = random.Random(seed).sample(tokens, min(missing, len(tokens)))
            prompt = _chat(parts, task, [""], filler=filler)
    start = len(prompt.ids)
    ids = torch.cat([torch.tensor(prompt.ids, device=parts.device), canvas.filled])
    blank = Span(start=start, stop=len(ids), modality=canvas.blank.modality)
    return Canvas(task=canvas.task, task_config=task, ids=ids, blank=blank)


def _chat(
    parts: Parts,
    task: TaskConfig,
    texts: Sequence[str] = (),
    heard: Sequence[int] = (),
    pictures: Sequence[Sequence[int]] = (),
    filler: Sequence[int] = (),
) -> Prompt:
    return lay_out_chat(
        parts.vocabulary,
        parts.text_tokenizer.encode,
        system=task.system,
        texts=[task.instruction, *texts] if task.instruction else texts,
        heard=heard,
        pictures=pictures,
        filler=filler,
    )


def _text_ids(parts: Parts, text: str) -> list[int]:
    ids = parts.text_tokenizer.encode(text)
    if not ids:
        raise InputError(f"the text {text!r} holds no words for {parts.config.name}; give it at least one")
    most = parts.config.max_text_tokens
    if len(ids) > most:
        raise InputError(
            f"a text of {len(ids)} tokens was given; {parts.config.name} reads {most} at most: shorten it"
        )
    return ids


def _typed(parts: Parts, text: Text, task: TaskConfig) -> str:
    """The text as it is put into the prompt: with the opening word that the task wants, if it wants one; in a
    chat as it was typed.
    """
    if parts.config.template == "chat" or text.lower().split()[:1] == task.opening.split():
        return text
    return f"{task.opening} {text}".strip()

"""The model: a request becomes a canvas, denoising fills it, and the filled blank becomes a value.

`Model` holds weights and no state of any request. Who calls it when, and with whom together, is the engine's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from omni_agent.core import CanvasChange, Modality, Request, Settings, Snapshot, Task, Value, Yield
from omni_agent.core_model import denoising, snapshots
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.captured import FixedSteps
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.decoding import Decoding, Shortcuts, change_of, counted
from omni_agent.core_model.fixed_shape import shape_of
from omni_agent.core_model.grouping import Shape
from omni_agent.core_model.late import on_host
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.prompting import canvas_of
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.unmasking import TypedRule
from omni_agent.errors import InputError
from omni_agent.values import Image, Reply, Speech, Text, Tokens

__all__ = ["Decoding", "Model"]

ROUGHLY = 32
"""Rows that differ by less are of one shape, where that need not be exact."""


class Model(Parts):
    """The resident weights, and the way of a request through them. All calls belong in the thread that owns
    them.

    Args:
        config: what it is made of.
        text_tokenizer: of its prompts.
        fixed_steps: how steps of fixed shape are launched; None steps and waits, but on CUDA, where there are
            always some.
    """

    def __init__(
        self, config: CoreConfig, text_tokenizer: TextTokenizer, *, fixed_steps: FixedSteps | None = None
    ) -> None:
        super().__init__(config, text_tokenizer)
        self._fixed_steps = fixed_steps

    @property
    def fixed_steps(self) -> FixedSteps | None:
        """How steps of fixed shape are launched, if they are."""
        if self._fixed_steps is None and self.device.type == "cuda":
            self._fixed_steps = FixedSteps()
        return self._fixed_steps

    @torch.inference_mode()
    def canvas(self, request: Request) -> Canvas:
        """The prompt of a request and its blank; see `prompting.canvas_of`."""
        return canvas_of(self, request)

    def start(self, canvas: Canvas, settings: Settings) -> Decoding:
        """The state before the first denoising step; see `denoising.start`."""
        return self._counted(denoising.start(self, canvas, settings))

    def restored(self, snapshot: Snapshot, request: Request) -> Decoding:
        """The state that a snapshot was taken of; see `snapshots.restored`."""
        return self._counted(snapshots.restored(self, snapshot, request))

    def teller(self) -> Callable[[Decoding, int], CanvasChange]:
        """What tells watchers of a state, given its request's number. It holds no weights."""
        vocabulary, text_tokenizer = self.vocabulary, self.text_tokenizer

        def told(decoding: Decoding, request: int) -> CanvasChange:
            return change_of(decoding, vocabulary=vocabulary, text_tokenizer=text_tokenizer, request=request)

        return told

    def shape_key(self, decoding: Decoding) -> Shape:
        """What the next step's model call looks like. What need not be exact is of one shape with what is
        about as long.
        """
        fixed = None if self.fixed_steps is None else shape_of(self, decoding)
        if fixed is not None:
            return Shape(exact=decoding.shortcuts == Shortcuts(), size=fixed)
        canvas, plain = decoding.canvas, decoding.unconditional
        rows, without = len(canvas.ids) - canvas.prefix, len(plain.ids) if plain and decoding.guides else 0
        if decoding.shortcuts == Shortcuts():
            return Shape(exact=True, size=(rows, canvas.prefix, without, len(canvas.blank)))
        if decoding.prompt is not None and not decoding.refreshes:
            rows = len(canvas.ids) - decoding.prompt.positions
        return Shape(exact=False, size=(rows // ROUGHLY, without // ROUGHLY))

    def alike(self, decodings: Sequence[Decoding]) -> bool:
        """Whether one model call for all yields what one for each yields; see `denoising.alike`."""
        steps = self.fixed_steps
        return denoising.alike(self, decodings) if steps is None else steps.alike(self, decodings)

    def whole(self, value: Yield) -> Yield:
        """A value with its pixels or samples; see `decode`."""
        if isinstance(value, Reply):
            speech = self.decode(value.speech)
            assert isinstance(speech, Speech)
            return replace(value, speech=speech)
        return self.decode(value)

    def guessed(self, decoding: Decoding) -> Image:
        """The picture on a canvas on its way, with the model's guesses at masked places, as tokens."""
        images = self.vocabulary.image
        codes = (token - images.start if token in images else 0 for token in decoding.tokens.tolist())
        tokens = Tokens(ids=tuple(codes), tokenizer=self.tokenizer_name(Modality.IMAGE))
        return Image.from_tokens(tokens)

    @torch.inference_mode()
    def advance(self, decodings: Sequence[Decoding], *, in_a_hurry: bool = False) -> list[Decoding]:
        """One denoising step of each, in one model call; see `denoising.advance`.

        With steps of fixed shape what comes back is on its way, and to be `settled` before it is looked at;
        what was given is settled by then, so that a loop of these is one step ahead and no more. In a hurry
        nothing is prepared that only later steps gain by.
        """
        steps = self.fixed_steps
        if steps is None:
            return denoising.advance(self, decodings)
        return steps.advance(self, decodings, in_a_hurry=in_a_hurry)

    def settled(self, decoding: Decoding) -> Decoding:
        """A state once it is there: itself or, where its step could not tell what commits, what does."""
        return decoding if self.fixed_steps is None else self.fixed_steps.settled(self, decoding)

    def shown(self, decoding: Decoding) -> Decoding:
        """A state as anybody may look at it, in any thread, once it is there."""
        return on_host(self.settled(decoding))

    def value(self, decoding: Decoding) -> Yield:
        """What a finished canvas holds; pictures and speech as tokens, to be decoded when somebody looks or
        listens.

        Raises:
            InputError: it holds none of the modality that was asked for.
        """
        canvas = self.shown(decoding).canvas
        if isinstance(decoding.rule, TypedRule):
            return self._made(canvas.blank.modality, self._until_end(canvas.filled))
        if canvas.task is Task.REPLY:
            text, speech = (
                self._made(kind, canvas.filled.tolist()) for kind in (Modality.TEXT, Modality.SPEECH)
            )
            assert isinstance(text, Text)
            assert isinstance(speech, Speech)
            return Reply(text=text, speech=speech)
        return self._made(canvas.blank.modality, canvas.filled.tolist())

    def spoken(self, decoding: Decoding) -> tuple[list[int], bool]:
        """The speech codes of a canvas on its way, as far as they are decided from the left, and whether
        those are all that its value will have.
        """
        canvas, speech = decoding.canvas, self.vocabulary.speech
        places = decoding.masked.nonzero()
        ids = canvas.filled[: int(places[0]) if len(places) else len(canvas.blank)]
        ended = isinstance(decoding.rule, TypedRule) and bool((ids == self.vocabulary.end).any())
        row = self._until_end(ids) if ended else ids.tolist()
        codes = [token - speech.start for token in row if token in speech]
        return codes, bool(codes) and (ended or decoding.done)

    def _counted(self, decoding: Decoding) -> Decoding:
        return decoding if self.fixed_steps is None else counted(decoding)

    def _made(self, modality: Modality, ids: Sequence[int]) -> Value:
        """A value of the ids that are of its modality: the published decoder sorts them by range."""
        wanted = self.vocabulary.range_of(modality)
        codes = [token - wanted.start for token in ids if token in wanted]
        if modality is Modality.TEXT:
            return Text(self.text_tokenizer.decode(codes))
        if not codes:
            raise InputError(
                f"{self.config.name} ended its {modality} before it began; try another wording or seed"
            )
        if modality is Modality.IMAGE:
            most = self.eyes.config.codes_drawn
            codes = [*codes, *[codes[-1]] * (most - len(codes))][:most]
        tokens = Tokens(ids=tuple(codes), tokenizer=self.tokenizer_name(modality))
        return Image.from_tokens(tokens) if modality is Modality.IMAGE else Speech.from_tokens(tokens)

    def _until_end(self, ids: Int[Tensor, " length"]) -> list[int]:
        row: list[int] = ids.tolist()
        return row[: row.index(self.vocabulary.end)] if self.vocabulary.end in row else row

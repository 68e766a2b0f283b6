"""The parts assembled: a request becomes a canvas, model calls fill it, and the filled blank becomes a value.

`Model` holds weights and no state of any request: a `Decoding` is a value that `advance` replaces. Who calls
it when, and with whom together, is the engine's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core import CanvasChange, Modality, Request, Settings, Task
from omni_agent.core_model.canvas import Canvas, Frames, Span, attention_mask
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.layout import lay_out
from omni_agent.core_model.speech_encoder import SpeechEncoder, SpeechProjection
from omni_agent.core_model.speech_frontend import SpeechFrontend
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.tokenizers.pixels import from_pixels, to_pixels
from omni_agent.core_model.tokenizers.speech import SpeechCodec
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.transformer import Transformer
from omni_agent.core_model.unmasking import candidates, choose, commit_counts, guided
from omni_agent.core_model.vocabulary import Vocabulary
from omni_agent.errors import InputError
from omni_agent.values import Image, Speech, Text, Tokens

__all__ = ["Decoding", "Model"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoding:
    """A canvas on its way: what is decided, and what the next step will do.

    Attributes:
        canvas: the ids so far.
        unconditional: the same blank behind an empty prompt, where guidance is wanted.
        counts: places that each step commits.
        step: denoising steps done.
        temperature: of the draw of tokens.
        order_noise: of the choice of places.
        confidence: the lowest probability among committed tokens; None before the first.
        preview: the blank so far, to be shown.
    """

    canvas: Canvas
    unconditional: Canvas | None
    counts: tuple[int, ...]
    settings: Settings
    temperature: float
    guidance_scale: float
    order_noise: float
    masked: Bool[Tensor, " length"]
    preview: str
    step: int = 0
    confidence: float | None = None

    @property
    def done(self) -> bool:
        """Whether no place is masked any more."""
        return self.step == len(self.counts)

    def change(self, request: int, task: Task) -> CanvasChange:
        """What a watcher is told of this state."""
        return CanvasChange(
            request=request,
            task=task,
            step=self.step,
            num_steps=len(self.counts),
            committed=sum(self.counts[: self.step]),
            length=len(self.canvas.blank),
            preview=self.preview,
        )


class Model(nn.Module):
    """The resident weights. All calls belong in the thread that owns them.

    `fingerprint` names the checkpoint that the weights came from; it is empty for weights made in memory.
    """

    fingerprint: str = ""

    def __init__(self, config: CoreConfig, text_tokenizer: TextTokenizer) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary.of(config)
        self.text_tokenizer = text_tokenizer
        self.transformer = Transformer(config.transformer)
        self.speech_frontend = SpeechFrontend()
        self.speech_encoder = SpeechEncoder(config.speech_encoder)
        self.speech_projection = SpeechProjection(
            config.speech_encoder.hidden_size, config.transformer.hidden_size
        )
        self.image_tokenizer = ImageTokenizer(config.image_tokenizer)
        self.speech_codec = SpeechCodec(config.speech_codec)
        self._names: dict[Modality, str] = {}

    def tokenizer_name(self, modality: Modality) -> str:
        """A hash of the weights behind the codes of pictures or of speech: codes mean something to these
        only.
        """
        if modality not in self._names:
            part: nn.Module = self.image_tokenizer if modality is Modality.IMAGE else self.speech_codec
            digest = hashlib.sha256()
            for name, tensor in sorted(part.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
            self._names[modality] = digest.hexdigest()[:16]
        return self._names[modality]

    # From a request to a canvas

    @torch.inference_mode()
    def canvas(self, request: Request) -> Canvas:
        """The prompt of a request and its blank, all masked.

        Raises:
            InputError: a text without words, or of too many tokens. What can be told without tokenising is
                refused before (`acceptance.py`).
        """
        task = self.config.tasks[request.task]
        pictures = [self.image_codes(value) for value in request.content if isinstance(value, Image)]
        content: list[list[int] | int] = []
        heard: list[Tensor] = []
        units = 0
        for value in request.content:
            if isinstance(value, Text):
                typed = (
                    value
                    if value.lower().split()[:1] == task.opening.split()
                    else f"{task.opening} {value}".strip()
                )
                content.append(self._text_ids(typed))
                units += len(typed)
            elif isinstance(value, Speech):
                heard.append(self.hear(value))
                content.append(len(heard[-1]))
                units += len(heard[-1])
        instruction = self.text_tokenizer.encode(task.instruction) if task.instruction else []
        prompt = lay_out(
            self.vocabulary, pictures=pictures, instruction=instruction, content=content, blank=request.blank
        )
        length = request.settings.length or task.blank_length(units)
        start = len(prompt.ids)
        return Canvas(
            task=request.task,
            ids=torch.tensor(prompt.ids + [self.vocabulary.mask] * length),
            blank=Span(start=start, stop=start + length, modality=request.blank),
            prefix=prompt.pictures if self.config.prompt_attention == "prefix" else 0,
            frames=tuple(
                Frames(start=at, embeddings=rows) for at, rows in zip(prompt.heard_at, heard, strict=True)
            ),
        )

    def _text_ids(self, text: str) -> list[int]:
        ids = self.text_tokenizer.encode(text)
        if not ids:
            raise InputError(f"the text {text!r} holds no words for {self.config.name}; give it at least one")
        most = self.config.max_text_tokens
        if len(ids) > most:
            raise InputError(
                f"a text of {len(ids)} tokens was given; {self.config.name} reads {most} at most: shorten it"
            )
        return ids

    @torch.inference_mode()
    def image_codes(self, picture: Image) -> list[int]:
        """The codes of a picture, its own if this model's tokenizer made them."""
        tokens = picture.tokens
        if tokens is not None and tokens.tokenizer == self.tokenizer_name(Modality.IMAGE):
            return list(tokens.ids)
        pixels = to_pixels(picture.array, self.config.image_tokenizer.image_size)
        codes: list[int] = self.image_tokenizer.encode(pixels)[0].tolist()
        return codes

    @torch.inference_mode()
    def hear(self, speech: Speech) -> Float[Tensor, "t hidden"]:
        """Speech as embeddings for the prompt, one for each 60 ms and each query row."""
        if not speech.is_decoded:
            decoded = self.decode(speech)
            assert isinstance(decoded, Speech)
            speech = decoded
        frames = self.speech_frontend(speech.samples, speech.rate)[None]
        heard: Tensor = self.speech_projection(self.speech_encoder(frames))[0]
        return heard

    # From a canvas to its tokens

    def start(self, canvas: Canvas, settings: Settings) -> Decoding:
        """The state before the first denoising step."""
        task = self.config.tasks[canvas.task]
        length = len(canvas.blank)
        scale = task.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        masked = torch.ones(length, dtype=torch.bool)
        return Decoding(
            canvas=canvas,
            unconditional=self._without_prompt(canvas) if scale > 0 else None,
            counts=tuple(commit_counts(length, settings.num_steps or task.num_steps or length)),
            settings=settings,
            temperature=task.temperature if settings.temperature is None else settings.temperature,
            guidance_scale=scale,
            order_noise=task.order_noise,
            masked=masked,
            preview=self._preview(canvas, masked),
        )

    def _without_prompt(self, canvas: Canvas) -> Canvas:
        """The blank behind an empty user turn, as in training with prompt dropout."""
        start = lay_out(self.vocabulary, blank=canvas.blank.modality).ids
        blank = Span(start=len(start), stop=len(start) + len(canvas.blank), modality=canvas.blank.modality)
        return Canvas(task=canvas.task, ids=torch.cat([torch.tensor(start), canvas.filled]), blank=blank)

    def shape_key(self, decoding: Decoding) -> Hashable:
        """Decodings of equal keys may share a model call."""
        canvas = decoding.canvas
        return (len(canvas.ids), canvas.blank, canvas.prefix, decoding.unconditional is not None)

    @torch.inference_mode()
    def advance(self, decodings: Sequence[Decoding]) -> list[Decoding]:
        """One denoising step of each, in one model call (two where guidance is wanted).

        Args:
            decodings: not done, and all of one `shape_key`.
        """
        logits = self._logits([decoding.canvas for decoding in decodings])
        plain = [decoding.unconditional for decoding in decodings if decoding.unconditional is not None]
        if plain:
            without = self._logits(plain)
            scales = [decoding.guidance_scale for decoding in decodings]
            logits = torch.stack([guided(*rows) for rows in zip(logits, without, scales, strict=True)])
        return [self._commit(decoding, rows) for decoding, rows in zip(decodings, logits, strict=True)]

    def _logits(self, canvases: Sequence[Canvas]) -> Float[Tensor, "batch length columns"]:
        """What each place of the blanks could hold, read one position to the left."""
        blank, prefix = canvases[0].blank, canvases[0].prefix
        embeddings = self.transformer.embed(torch.stack([canvas.ids for canvas in canvases]))
        for row, canvas in enumerate(canvases):
            for heard in canvas.frames:
                embeddings[row, heard.start : heard.start + len(heard.embeddings)] = heard.embeddings
        mask = attention_mask(embeddings.shape[1], prefix, embeddings.device)
        hidden = self.transformer(embeddings, mask)[:, blank.start - 1 : blank.stop - 1]
        # A modality's ids lie side by side, so its part of the head is a view; gathering rows would copy
        # megabytes a call.
        head, ids = self.transformer.lm_head.weight, self.vocabulary.range_of(blank.modality)
        logits = F.linear(hidden, head[ids.start : ids.stop])
        if blank.modality is Modality.IMAGE:
            return logits
        return torch.cat([logits, F.linear(hidden, head[self.vocabulary.end, None])], -1)

    def _commit(self, decoding: Decoding, logits: Float[Tensor, "length columns"]) -> Decoding:
        canvas, settings = decoding.canvas, decoding.settings
        least = self.config.tasks[canvas.task].min_length
        if least and canvas.blank.modality is not Modality.IMAGE:
            logits = logits.clone()
            logits[:least, -1] = -torch.inf
        noise = order = None
        if decoding.temperature > 0 or decoding.order_noise > 0:
            generator = torch.Generator().manual_seed(_mixed(settings.seed, decoding.step))
            noise = _gumbel((len(canvas.blank), logits.shape[1]), generator)
            order = _gumbel((len(canvas.blank),), generator)
        columns, confidence = candidates(
            logits, temperature=decoding.temperature, top_p=settings.top_p, top_k=settings.top_k, noise=noise
        )
        score = confidence
        if order is not None and decoding.order_noise > 0:
            score = confidence.log() + decoding.order_noise * order
        chosen = choose(score, decoding.masked, decoding.counts[decoding.step])
        ids, masked = canvas.filled.clone(), decoding.masked.clone()
        ids[chosen] = self.vocabulary.columns(canvas.blank.modality)[columns[chosen]]
        masked[chosen] = False
        lowest = float(confidence[chosen].min())
        canvas = canvas.with_filled(ids)
        return replace(
            decoding,
            canvas=canvas,
            unconditional=None if decoding.unconditional is None else decoding.unconditional.with_filled(ids),
            masked=masked,
            step=decoding.step + 1,
            confidence=lowest if decoding.confidence is None else min(lowest, decoding.confidence),
            preview=self._preview(canvas, masked),
        )

    # From tokens to a value

    def value(self, decoding: Decoding) -> Text | Image | Speech:
        """What a finished canvas holds; pictures and speech as tokens, to be decoded when somebody looks or
        listens.
        """
        modality = decoding.canvas.blank.modality
        ids = self._until_end(decoding.canvas.filled)
        if modality is Modality.TEXT:
            return Text(self.text_tokenizer.decode(ids))
        codes = tuple(i - self.vocabulary.range_of(modality).start for i in ids)
        if not codes:
            raise InputError(
                f"{self.config.name} ended its {modality} before it began; try another wording or seed"
            )
        tokens = Tokens(ids=codes, tokenizer=self.tokenizer_name(modality))
        return Image.from_tokens(tokens) if modality is Modality.IMAGE else Speech.from_tokens(tokens)

    @torch.inference_mode()
    def decode(self, value: Text | Image | Speech) -> Text | Image | Speech:
        """The value with its pixels or samples; one that has them comes back as it is. Its tokens must be of
        this model's tokenizers.
        """
        if isinstance(value, Text) or value.is_decoded or value.tokens is None:
            return value
        codes = torch.tensor(value.tokens.ids)
        if isinstance(value, Image):
            return Image(from_pixels(self.image_tokenizer.decode(codes[None])), tokens=value.tokens)
        samples = self.speech_codec.decode(codes)
        return Speech(samples, self.config.speech_codec.sample_rate, tokens=value.tokens)

    def _until_end(self, ids: Int[Tensor, " length"]) -> list[int]:
        row: list[int] = ids.tolist()
        return row[: row.index(self.vocabulary.end)] if self.vocabulary.end in row else row

    def _preview(self, canvas: Canvas, masked: Bool[Tensor, " length"]) -> str:
        if canvas.blank.modality is not Modality.TEXT:
            return "".join("░" if hidden else "█" for hidden in masked.tolist())
        words: list[str] = []
        for token, hidden in zip(canvas.filled.tolist(), masked.tolist(), strict=True):
            if not hidden and token == self.vocabulary.end:
                break
            words.append("░" if hidden else self.text_tokenizer.decode([token]))
        return " ".join(words)


def _mixed(seed: int, step: int) -> int:
    """One seed for each pair, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:8], "little") >> 1


def _gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return -(-torch.rand(shape, generator=generator).clamp(1e-20, 1 - 1e-7).log()).log()

"""What the cases of the core compute: transformer, ears, eyes and decoding."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models
from torch import Tensor

from omni_agent.core import Modality, Settings, Task
from omni_agent.core_model.canvas import Canvas, Frames, Span
from omni_agent.core_model.config import (
    CoreConfig,
    ImageTokenizerConfig,
    SpeechEncoderConfig,
    TaskConfig,
    TransformerConfig,
)
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.model import Model
from omni_agent.core_model.parity.case import Arrays, Case, Kind, Parts
from omni_agent.core_model.published_unmasking import PublishedRule
from omni_agent.core_model.schedule import published
from omni_agent.core_model.speech_encoder import SpeechEncoder, SpeechProjection
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.tokenizers.pixels import from_pixels, to_pixels
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.transformer import Transformer
from omni_agent.errors import InputError

__all__ = ["KINDS"]

BEGIN_OF_AUDIO = 151684
# Where speech lies in the prompts of the decoding cases, and where its answer begins in the blank.
HEARD_FROM, SPEECH_FROM = 5, 0.2
TOP_K = 50


def _transformer(case: Case, parts: Parts) -> Transformer:
    config = TransformerConfig(
        vocab_size=case.size("vocab"),
        hidden_size=case.size("hidden"),
        num_layers=case.size("layers"),
        num_heads=case.size("heads"),
        num_key_value_heads=case.size("kv"),
        intermediate_size=case.size("inter"),
    )
    return parts.of(config, lambda: Transformer(config))


def _projection(case: Case, parts: Parts) -> SpeechProjection:
    inner, outer = SpeechEncoderConfig().hidden_size, case.size("hidden")
    return parts.of((inner, outer), lambda: SpeechProjection(inner, outer), "model.audio_projection.")


def _forward(case: Case, parts: Parts) -> Arrays:
    """Logits before any shift, of every so many columns as were kept, and the likeliest column of all."""
    transformer = _transformer(case, parts)
    embeddings = transformer.embed(case.tensor("input_ids"))
    if "frames" in case.arrays:
        heard = _heard(case, parts)
        start = int(case.tensor("audio_start"))
        embeddings[0, start : start + len(heard)] = heard
    logits = transformer.head(transformer(embeddings))
    every = -(-logits.shape[-1] // case.tensor("logits").shape[-1])
    return {"logits": logits[..., ::every].numpy(), "argmax": logits.argmax(-1).numpy()}


def _encode_speech(case: Case, parts: Parts) -> Arrays:
    encoded = _encoded(case, parts)
    return {"encoder_out": encoded.numpy(), "projected": _projection(case, parts)(encoded).numpy()}


def _decode(case: Case, parts: Parts) -> Arrays:
    """The blank after each step, begun from the golden blank before it, by the code that serves requests."""
    rule, block = _rule(case), case.settings.get("block_size", -1)
    prompt = case.tensor("prompt_ids")
    wanted = case.tensor("history")[:, len(prompt) :]
    model = _decoder(case, parts)
    mask = model.vocabulary.mask
    blank = torch.full((wanted.shape[1],), mask)
    if case.settings.get("add_boa_token"):
        blank[int(len(prompt) + SPEECH_FROM * len(blank)) - len(prompt)] = BEGIN_OF_AUDIO
    heard = (Frames(start=HEARD_FROM, embeddings=_heard(case, parts)),) if "frames" in case.arrays else ()
    canvas = _canvas(prompt, blank, heard)
    scale = float(case.settings.get("cfg") or 0)
    plain = None
    if scale:
        plain = _canvas(torch.tensor(case.setting("uncond_ids"), dtype=prompt.dtype), blank)
    decoding = Decoding.begun(
        canvas,
        mask=mask,
        unconditional=plain,
        settings=Settings(block_length=block if block > 0 else None),
        guidance_scale=scale,
        rule=rule,
        steps=published(len(blank), case.setting("steps"), block if block > 0 else None),
    )
    after: list[Tensor] = []
    while not decoding.done:
        [decoding] = model.advance([decoding])
        decoding = model.settled(decoding)
        after.append(decoding.canvas.filled)
        golden = wanted[min(len(after), len(wanted)) - 1]
        decoding = replace(
            decoding,
            canvas=canvas.with_filled(golden),
            unconditional=None if plain is None else plain.with_filled(golden),
            masked=golden == mask,
            left=None,
            late=None,
        )
    unseen = torch.zeros(len(after), len(prompt), dtype=wanted.dtype)
    return {"history": torch.cat([unseen, torch.stack(after)], 1).numpy()}


def _decoder(case: Case, parts: Parts) -> Model:
    """A model of the transformer alone, which reads rows of unequal length as the published code does."""
    mask = case.size("mask")
    end = int(case.setting("config").get("pad", mask + 1))  # decoding one row never reads it
    transformer = _transformer(case, parts)
    names = {mask: "<|mask|>", end: "<|endoftext|>"}
    first, last = min(names), max(names)
    config = CoreConfig(
        name=case.name,
        transformer=transformer.config,
        text_tokens=first,
        special_tokens=tuple(names.get(token, str(token)) for token in range(first, last + 1)),
        template="chat",
        padding="attended",
        tasks={},
    )
    with torch.device("meta"):
        model = Model(config, TextTokenizer(Tokenizer(models.BPE())))
    model.transformer = transformer
    return model.eval()


def _canvas(prompt: Tensor, blank: Tensor, heard: tuple[Frames, ...] = ()) -> Canvas:
    span = Span(start=len(prompt), stop=len(prompt) + len(blank), modality=Modality.SPEECH)
    task = TaskConfig(lengths=(len(blank),))
    ids = torch.cat([prompt, blank])
    return Canvas(task=Task.REPLY, task_config=task, ids=ids, blank=span, frames=heard)


def _rule(case: Case) -> PublishedRule:
    effective = case.settings.get("effective", {})
    rule = PublishedRule(
        algorithm=case.setting("alg"),
        temperature=case.settings.get("temperature", 0.0),
        top_p=effective.get("top_p", case.settings.get("top_p", 1.0)),
        top_k=effective.get("top_k", TOP_K),
        repeat_penalty=case.settings.get("repeat_penalty", 1.0),
        max_position_penalty=case.settings.get("max_position_penalty", 1.0),
    )
    if rule.draws:
        raise InputError(
            f"the case {case.name!r} was decoded by chance ({rule.algorithm}, temperature"
            f" {rule.temperature}); only what is decoded without can be compared step by step"
        )
    return rule


def _encoded(case: Case, parts: Parts) -> Float[Tensor, "t encoder"]:
    config = SpeechEncoderConfig(num_blocks=case.size("blocks"), num_tp_blocks=case.size("tp"))
    ears = parts.of(config, lambda: SpeechEncoder(config), "model.audio_model.model.")
    encoded: Tensor = ears(case.tensor("frames")[None])
    return encoded[0]


def _heard(case: Case, parts: Parts) -> Float[Tensor, "t hidden"]:
    projected: Tensor = _projection(case, parts)(_encoded(case, parts))
    return projected


def _tokenize_images(case: Case, parts: Parts) -> Arrays:
    """Of pictures the latent bits, the codes and how close a bit is to flipping; of codes the pictures."""
    config = ImageTokenizerConfig()
    tokenizer = parts.of(config, lambda: ImageTokenizer(config))
    made: Arrays = {}
    for tag in _tags(case, "image_"):
        pixels = case.tensor(f"image_{tag}")
        latent = tokenizer.latent(pixels)
        made[f"latent_{tag}"] = latent.numpy()
        made[f"min_abs_latent_{tag}"] = latent.abs().min().numpy()
        made[f"codes_{tag}"] = tokenizer.encode(pixels).numpy()
        side = tokenizer.config.pixels_per_code
        grid = (pixels.shape[2] // side, pixels.shape[3] // side)
        for name, codes in (("decoded", f"decode_codes_{tag}"), ("roundtrip", f"codes_{tag}")):
            if f"{name}_{tag}" in case.arrays:
                made[f"{name}_{tag}"] = tokenizer.decode(case.tensor(codes), grid).numpy()
    return made


def _resize_images(case: Case, parts: Parts) -> Arrays:
    made = {
        f"pixels_{tag}": to_pixels(case.arrays[f"rgb_{tag}"], case.tensor(f"pixels_{tag}").shape[-1]).numpy()
        for tag in _tags(case, "rgb_")
    }
    if "decoded" in case.arrays:
        shown = from_pixels(case.tensor("decoded"))
        made["decoded_rgb"] = shown.reshape(case.tensor("decoded_rgb").shape)
    return made


def _tags(case: Case, prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in case.arrays if key.startswith(prefix)]


KINDS = (
    Kind(holds=("input_ids", "logits"), inputs=("input_ids", "frames", "audio_start"), compute=_forward),
    Kind(holds=("frames", "encoder_out"), inputs=("frames",), compute=_encode_speech),
    Kind(holds=("prompt_ids", "history"), inputs=("prompt_ids", "frames"), compute=_decode),
    Kind(holds=("image_*", "latent_*"), inputs=("image_*", "decode_codes_*"), compute=_tokenize_images),
    Kind(holds=("rgb_*", "pixels_*"), inputs=("rgb_*", "decoded"), compute=_resize_images),
)

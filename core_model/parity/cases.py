"""What each kind of golden case computes, from the arrays and the settings that stand beside it.

A kind is told by the arrays that a case holds, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from omni_agent.core_model.config import ImageTokenizerConfig, SpeechEncoderConfig, TransformerConfig
from omni_agent.core_model.parity.named_weights import fill
from omni_agent.core_model.published_unmasking import PublishedRule, commit, schedule
from omni_agent.core_model.speech_encoder import SpeechEncoder, SpeechProjection
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.tokenizers.pixels import from_pixels, to_pixels
from omni_agent.core_model.transformer import Transformer
from omni_agent.core_model.unmasking import guided

__all__ = ["Arrays", "Compute", "Parts", "kind_of"]

Arrays = dict[str, np.ndarray]
Settings = Mapping[str, Any]
M = TypeVar("M", bound=nn.Module)

BEGIN_OF_AUDIO = 151684
# Where speech lies in the prompts of the decoding cases, and where its answer begins in the blank.
HEARD_FROM, SPEECH_FROM = 5, 0.2
TOP_K = 50


class Parts:
    """The parts of the published core with weights made from names, each made once for each size."""

    def __init__(self) -> None:
        self._made: dict[object, nn.Module] = {}

    def transformer(self, sizes: Settings) -> Transformer:
        """Embeddings, layers and head."""
        config = TransformerConfig(
            vocab_size=sizes["vocab"],
            hidden_size=sizes["hidden"],
            num_layers=sizes["layers"],
            num_heads=sizes["heads"],
            num_key_value_heads=sizes["kv"],
            intermediate_size=sizes["inter"],
        )
        return self._part(config, lambda: Transformer(config), "")

    def speech_encoder(self, sizes: Settings) -> SpeechEncoder:
        """The ears at the sizes' depth; their widths are the published ones."""
        config = SpeechEncoderConfig(num_blocks=sizes["blocks"], num_tp_blocks=sizes["tp"])
        return self._part(config, lambda: SpeechEncoder(config), "model.audio_model.model.")

    def projection(self, sizes: Settings) -> SpeechProjection:
        """From the ears to the transformer."""
        inner, outer = SpeechEncoderConfig().hidden_size, sizes["hidden"]
        return self._part((inner, outer), lambda: SpeechProjection(inner, outer), "model.audio_projection.")

    def image_tokenizer(self) -> ImageTokenizer:
        """The image tokenizer at the published size."""
        config = ImageTokenizerConfig()
        return self._part(config, lambda: ImageTokenizer(config), "")

    def _part(self, key: object, make: Callable[[], M], prefix: str) -> M:
        if key not in self._made:
            self._made[key] = make()
            fill(self._made[key], prefix)
        return cast(M, self._made[key])


Compute = Callable[[Arrays, Settings, Parts], Arrays]
"""The arrays that a case computes, by the names of those it is compared with."""


def kind_of(given: Arrays) -> Compute | None:
    """What computes a case of these arrays; None where no kind has them."""
    for wanted, compute in KINDS.items():
        if all(any(key.startswith(each) for key in given) for each in wanted):
            return compute
    return None


def _forward(given: Arrays, settings: Settings, parts: Parts) -> Arrays:
    """Logits before any shift, of every so many columns as were kept, and the likeliest column of all."""
    sizes = settings["config"]
    transformer = parts.transformer(sizes)
    embeddings = transformer.embed(torch.from_numpy(given["input_ids"]))
    if "frames" in given:
        heard = _heard(given, sizes, parts)
        start = int(given["audio_start"])
        embeddings[0, start : start + len(heard)] = heard
    logits = transformer.head(transformer(embeddings))
    every = -(-logits.shape[-1] // given["logits"].shape[-1])
    return {"logits": logits[..., ::every].numpy(), "argmax": logits.argmax(-1).numpy()}


def _encode_speech(given: Arrays, settings: Settings, parts: Parts) -> Arrays:
    sizes = settings["config"]
    encoded = parts.speech_encoder(sizes)(torch.from_numpy(given["frames"])[None])[0]
    return {"encoder_out": encoded.numpy(), "projected": parts.projection(sizes)(encoded).numpy()}


def _decode(given: Arrays, settings: Settings, parts: Parts) -> Arrays:
    """The blank after each step, begun from the golden blank before it."""
    sizes = settings["config"]
    transformer, mask = parts.transformer(sizes), sizes["mask"]
    rule = _rule(settings)
    prompt = torch.from_numpy(given["prompt_ids"])
    wanted = torch.from_numpy(given["history"])[:, len(prompt) :]
    heard = _heard(given, sizes, parts) if "frames" in given else None
    plain = settings.get("uncond_ids")
    scale = float(settings.get("cfg") or 0)
    blank = torch.full((wanted.shape[1],), mask)
    if settings.get("add_boa_token"):
        blank[int(len(prompt) + SPEECH_FROM * len(blank)) - len(prompt)] = BEGIN_OF_AUDIO
    after: list[Tensor] = []
    for index, step in enumerate(schedule(rule, len(blank))):
        if not (blank == mask).any():
            break
        canvas = torch.cat([prompt, blank])
        read = len(prompt) + (blank == mask).nonzero()[:, 0] - 1
        row = transformer.embed(canvas)
        if heard is not None:
            row[HEARD_FROM : HEARD_FROM + len(heard)] = heard
        if scale:
            other = transformer.embed(torch.cat([torch.tensor(plain, dtype=canvas.dtype), blank]))
            logits = guided(*_out_of_line(transformer, row, other, read), scale)
        else:
            logits = transformer.head(transformer(row[None])[0, read])
        after.append(commit(rule, step, blank, logits, mask=mask, first=index == 0))
        blank = wanted[min(index, len(wanted) - 1)]
    unseen = torch.zeros(len(after), len(prompt), dtype=wanted.dtype)
    return {"history": torch.cat([unseen, torch.stack(after)], 1).numpy()}


def _rule(settings: Settings) -> PublishedRule:
    effective = settings.get("effective", {})
    block = settings.get("block_size", -1)
    return PublishedRule(
        algorithm=settings["alg"],
        num_steps=settings["steps"],
        block_length=block if block > 0 else None,
        temperature=settings.get("temperature", 0.0),
        top_p=effective.get("top_p", settings.get("top_p", 1.0)),
        top_k=effective.get("top_k", TOP_K),
        repeat_penalty=settings.get("repeat_penalty", 1.0),
        max_position_penalty=settings.get("max_position_penalty", 1.0),
    )


def _out_of_line(
    transformer: Transformer,
    row: Float[Tensor, "n hidden"],
    other: Float[Tensor, "m hidden"],
    read: Int[Tensor, " masked"],
) -> tuple[Float[Tensor, "masked vocab"], Float[Tensor, "masked vocab"]]:
    """Logits with and without the prompt as published: the shorter row padded behind with zeros that are
    attended to, and both read at the same positions.
    """
    length = max(len(row), len(other))
    both = torch.stack([nn.functional.pad(each, (0, 0, 0, length - len(each))) for each in (row, other)])
    conditional, unconditional = transformer.head(transformer(both)[:, read])
    return conditional, unconditional


def _heard(given: Arrays, sizes: Settings, parts: Parts) -> Float[Tensor, "t hidden"]:
    encoded = parts.speech_encoder(sizes)(torch.from_numpy(given["frames"])[None])[0]
    projected: Tensor = parts.projection(sizes)(encoded)
    return projected


def _tokenize_images(given: Arrays, settings: Settings, parts: Parts) -> Arrays:
    """Of pictures the latent bits, the codes and how close a bit is to flipping; of codes the pictures."""
    tokenizer = parts.image_tokenizer()
    made: Arrays = {}
    for tag in _tags(given, "image_"):
        pixels = torch.from_numpy(given[f"image_{tag}"])
        latent = tokenizer.latent(pixels)
        made[f"latent_{tag}"] = latent.numpy()
        made[f"min_abs_latent_{tag}"] = latent.abs().min().numpy()
        made[f"codes_{tag}"] = tokenizer.encode(pixels).numpy()
        side = tokenizer.config.pixels_per_code
        grid = (pixels.shape[2] // side, pixels.shape[3] // side)
        for name, codes in (("decoded", f"decode_codes_{tag}"), ("roundtrip", f"codes_{tag}")):
            if f"{name}_{tag}" in given:
                made[f"{name}_{tag}"] = tokenizer.decode(torch.from_numpy(given[codes]), grid).numpy()
    return made


def _resize_images(given: Arrays, settings: Settings, parts: Parts) -> Arrays:
    made = {
        f"pixels_{tag}": to_pixels(given[f"rgb_{tag}"], given[f"pixels_{tag}"].shape[-1]).numpy()
        for tag in _tags(given, "rgb_")
    }
    if "decoded" in given:
        shown = from_pixels(torch.from_numpy(given["decoded"]))
        made["decoded_rgb"] = shown.reshape(given["decoded_rgb"].shape)
    return made


def _tags(given: Arrays, prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in given if key.startswith(prefix)]


# By the beginnings of the names of arrays that a kind must have.
KINDS: dict[tuple[str, ...], Compute] = {
    ("input_ids", "logits"): _forward,
    ("frames", "encoder_out"): _encode_speech,
    ("prompt_ids", "history"): _decode,
    ("image_", "latent_"): _tokenize_images,
    ("rgb_", "pixels_"): _resize_images,
}

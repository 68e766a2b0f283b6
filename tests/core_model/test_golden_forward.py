"""The parts of the core give the outputs of the published code on weights made from names."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from omni_agent.core_model.config import ImageTokenizerConfig, SpeechEncoderConfig, TransformerConfig
from omni_agent.core_model.speech_encoder import SpeechEncoder, SpeechProjection
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.transformer import Transformer
from tests.core_model.golden import FOLDER, arrays, cases, fill

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def transformer() -> Transformer:
    sizes = cases()["config"]
    model = Transformer(
        TransformerConfig(
            vocab_size=sizes["vocab"],
            hidden_size=sizes["hidden"],
            num_layers=sizes["layers"],
            num_heads=sizes["heads"],
            num_key_value_heads=sizes["kv"],
            intermediate_size=sizes["inter"],
        )
    )
    fill(model)
    return model


@pytest.fixture(scope="module")
def ears() -> tuple[SpeechEncoder, SpeechProjection]:
    sizes = cases()["config"]
    encoder = SpeechEncoder(SpeechEncoderConfig(num_blocks=sizes["blocks"], num_tp_blocks=sizes["tp"]))
    projection = SpeechProjection(512, sizes["hidden"])
    fill(encoder, "model.audio_model.model.")
    fill(projection, "model.audio_projection.")
    return encoder, projection


@torch.inference_mode()
def test_the_transformer_gives_the_published_logits(transformer: Transformer) -> None:
    golden = arrays("core/forward_text")
    logits = transformer.head(transformer(transformer.embed(torch.from_numpy(golden["input_ids"]))))
    np.testing.assert_allclose(logits[..., ::16].numpy(), golden["logits"], atol=TOLERANCE, rtol=0)
    np.testing.assert_array_equal(logits.argmax(-1).numpy(), golden["argmax"])


@torch.inference_mode()
def test_the_speech_encoder_gives_the_published_states(ears: tuple[SpeechEncoder, SpeechProjection]) -> None:
    golden = arrays("core/audio_encoder")
    encoder, projection = ears
    encoded = encoder(torch.from_numpy(golden["frames"])[None])
    np.testing.assert_allclose(encoded[0].numpy(), golden["encoder_out"], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(projection(encoded)[0].numpy(), golden["projected"], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_a_padded_row_of_speech_gives_what_it_gives_alone(
    ears: tuple[SpeechEncoder, SpeechProjection],
) -> None:
    encoder, _ = ears
    frames = torch.from_numpy(arrays("core/audio_encoder")["frames"])[None]
    padded = torch.cat([frames, torch.randn(1, 7, frames.shape[2])], 1)
    alone, together = encoder(frames), encoder(padded, torch.tensor([frames.shape[1]]))
    torch.testing.assert_close(together[:, : alone.shape[1]], alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_speech_in_the_prompt_gives_the_published_logits(
    transformer: Transformer, ears: tuple[SpeechEncoder, SpeechProjection]
) -> None:
    golden = arrays("core/forward_audio")
    encoder, projection = ears
    embedded = transformer.embed(torch.from_numpy(golden["input_ids"]))
    frames = torch.from_numpy(golden["frames"])
    heard = projection(encoder(frames[None]))[0]
    start = int(golden["audio_start"])
    embedded[0, start : start + len(heard)] = heard
    logits = transformer.head(transformer(embedded))
    np.testing.assert_allclose(logits[..., ::16].numpy(), golden["logits"], atol=TOLERANCE, rtol=0)


@pytest.fixture(scope="module")
def magvit() -> ImageTokenizer:
    model = ImageTokenizer(ImageTokenizerConfig())
    fill(model)
    return model


def test_the_image_tokenizer_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        ours = {name: list(p.shape) for name, p in ImageTokenizer(ImageTokenizerConfig()).named_parameters()}
    published = json.loads((FOLDER / "core" / "magvit_state_dict.json").read_text())
    assert ours == {name: shape for name, shape in published.items() if not name.startswith("quantize.")}


@pytest.mark.parametrize("tag", ["64", "96", "64x96"])
@torch.inference_mode()
def test_the_image_tokenizer_gives_the_published_codes_and_pixels(magvit: ImageTokenizer, tag: str) -> None:
    golden = arrays("core/magvit")
    image = torch.from_numpy(golden[f"image_{tag}"])
    np.testing.assert_allclose(magvit.latent(image).numpy(), golden[f"latent_{tag}"], atol=TOLERANCE, rtol=0)
    np.testing.assert_array_equal(magvit.encode(image).numpy(), golden[f"codes_{tag}"])
    grid = (image.shape[2] // 16, image.shape[3] // 16)
    decoded = magvit.decode(torch.from_numpy(golden[f"decode_codes_{tag}"]), grid)
    np.testing.assert_allclose(decoded.numpy(), golden[f"decoded_{tag}"], atol=TOLERANCE, rtol=0)
    if tag == "64":
        back = magvit.decode(torch.from_numpy(golden["codes_64"]))
        np.testing.assert_allclose(back.numpy(), golden["roundtrip_64"], atol=TOLERANCE, rtol=0)

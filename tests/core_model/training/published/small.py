"""A small core in the published layout and samples of every published kind, as a user would have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omni_agent.core_model import checkpoints
from omni_agent.core_model.tokenizers.glm4_voice.codec import Glm4VoiceCodec
from omni_agent.core_model.training.published import TrainingConfig
from omni_agent.values import Image, Speech
from tests.core_model.published_core import IMAGES, published_model

RATE = 16_000
SYSTEMS = {
    "draw": "Please generate an image based on the input audio.",
    "reply": "Please response the input audio.",
    "look": "Please response the input audio based on the given image.",
}


def small_core(folder: Path, **sizes: Any) -> Path:
    """A checkpoint of every part, its voice too, whose pictures have 16 codes drawn and 64 seen, and whose
    speech codes are sounds that there are. `sizes` are the transformer's.
    """
    images = IMAGES.model_copy(update={"image_size": 8, "seen_size": 16})
    plain = published_model().config.transformer
    transformer = plain.model_copy(update={"rope_theta": 1e4, **sizes})
    model = published_model(voice=True, image_tokenizer=images, transformer=transformer)
    assert isinstance(model.speech_codec, Glm4VoiceCodec)
    tokenizer = model.speech_codec.tokenizer
    with torch.no_grad():
        heard = tokenizer.hidden(*tokenizer.features([sound(number).samples for number in range(4)]))
        tokenizer.codebook.weight.copy_(heard.flatten(0, 1)[: len(tokenizer.codebook.weight)])
    checkpoints.save(model, folder)
    return folder


def sound(number: int, seconds: float = 0.8) -> Speech:
    """A melody of its own."""
    rng = np.random.default_rng(number)
    tones = np.repeat(rng.uniform(100, 3000, 8), int(seconds * RATE / 8))
    samples = 0.5 * np.sin(2 * np.pi * np.cumsum(tones) / RATE) + rng.normal(0, 0.05, len(tones))
    return Speech(samples.clip(-1, 1).astype(np.float32), RATE)


def picture(number: int, side: int = 16) -> Image:
    """Coloured noise of its own."""
    return Image(np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8))


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def samples(folder: Path) -> dict[str, dict[str, Any]]:
    """One sample of each row of the published table, by its kind; their files are written to the folder."""
    for number in range(6):
        sound(number).save(folder / f"{number}.wav")
        picture(number).save(folder / f"{number}.png")

    def sample(question: str, answer: str, system: str = "", **files: list[str]) -> dict[str, Any]:
        said = [message("system", system)] if system else []
        return {"messages": [*said, message("user", question), message("assistant", answer)], **files}

    return {
        "recognition": sample(
            "Convert the speech to text.\n<|audio|>", "two cats on the grass", audios=["0.wav"]
        ),
        "speaking": sample("Convert the text to speech.\na dog", "<|audio|>", audios=["1.wav"]),
        "text to image": sample(
            "Generate an image based on the provided text description.\na cat", "<|image|>", images=["0.png"]
        ),
        "picture question": sample("What is this?\n<|image|>", "A dog.", images=["1.png"]),
        "caption": sample("Describe the image.\n<|image|>", "two dogs and a cat", images=["2.png"]),
        "speech to image": sample(
            "<|audio|>", "<|image|>", SYSTEMS["draw"], audios=["2.wav"], images=["3.png"]
        ),
        "spoken answer": sample(
            "<|audio|>", "it's a cat.\n<|audio|>", SYSTEMS["reply"], audios=["3.wav", "4.wav"]
        ),
        "spoken picture question": sample(
            "<|audio|>\n<|image|>",
            "A cat on it.\n<|audio|>",
            SYSTEMS["look"],
            audios=["5.wav", "0.wav"],
            images=["4.png"],
        ),
    }


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def config(model: Path, out: Path, *files: Path, steps: int, **changes: Any) -> TrainingConfig:
    """A run of one stage over files, all of them alike."""
    return TrainingConfig.model_validate(
        {
            "model": str(model),
            "out": out,
            "batch": {"length": 512, "rows": 4, "rows_at_once": 4},
            "stages": [
                {
                    "name": "all",
                    "steps": steps,
                    "learning_rate": 2e-3,
                    "data": [{"file": file} for file in files],
                }
            ],
            **changes,
        }
    )

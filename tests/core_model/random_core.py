"""A whole model with random weights, small enough for a test, and its calls held and watched.

The model is the real one at a tiny size: what it says is noise, how it is run is not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from omni_agent.core import Modality, Request, Settings, Task
from omni_agent.core_model.config import (
    SPECIAL_TOKENS,
    CoreConfig,
    ImageTokenizerConfig,
    SpeechEncoderConfig,
    TableCodecConfig,
    TaskConfig,
    TransformerConfig,
)
from omni_agent.core_model.engine import Engine
from omni_agent.core_model.model import Decoding, Model
from omni_agent.core_model.tokenizers.text import fit
from omni_agent.values import Image, Speech, Text

WORDS = (
    "what",
    "is",
    "this",
    "a",
    "dog",
    "on",
    "the",
    "grass",
    "how",
    "many",
    "apples",
    "are",
    "there",
    "draw",
)
SPELT = ("dog", "is", "the")
STEPS = 8


def random_model(seed: int = 0, **changes: Any) -> Model:
    """A model of every part, its weights drawn with `seed`; `changes` go to its `CoreConfig`."""
    words = fit(WORDS)
    codec = TableCodecConfig(num_codes=16)
    images = ImageTokenizerConfig(
        bits=4,
        patch_size=2,
        channels=(8, 16),
        decoder_channels=(8, 16),
        encoder_blocks=(1, 1),
        decoder_blocks=(1, 1),
        num_groups=4,
        image_size=16,
    )
    config = CoreConfig(
        **{
            "name": "random",
            "transformer": TransformerConfig(
                vocab_size=len(words) + len(SPECIAL_TOKENS) + codec.num_codes + images.num_codes,
                hidden_size=32,
                num_layers=2,
                num_heads=2,
                num_key_value_heads=2,
                intermediate_size=64,
                rope_theta=1e4,
            ),
            "speech_encoder": SpeechEncoderConfig(
                hidden_size=16,
                num_heads=2,
                feed_forward_size=32,
                num_blocks=2,
                num_tp_blocks=1,
                ctc_size=len(SPELT) + 1,
                ctc_tokens=tuple(token for word in SPELT for token in words.encode(word)),
            ),
            "image_tokenizer": images,
            "speech_codec": codec,
            "text_tokens": len(words),
            "prompt_attention": "prefix",
            "max_speech_seconds": 5.0,
            "tasks": {
                Task.TRANSCRIBE: TaskConfig(lengths=(STEPS, 100), length_per_unit=0.1),
                Task.SPEAK: TaskConfig(instruction="a", lengths=(STEPS, 100), length_per_unit=0.2),
                Task.ANSWER: TaskConfig(lengths=(STEPS,)),
                Task.DESCRIBE: TaskConfig(instruction="what is this", lengths=(STEPS,)),
                Task.DRAW: TaskConfig(lengths=(16,), num_steps=STEPS, guidance_scale=1.0, order_noise=0.5),
            },
            **changes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model(config, words)
        for table in model.speech_codec.buffers():
            table.normal_(std=0.1)
    return model.eval().requires_grad_(False)


def sound(seconds: float = 0.5, rate: int = 16_000) -> Speech:
    """A tone with a little noise."""
    times = np.arange(max(1, int(seconds * rate))) / rate
    noise = np.random.default_rng(0).normal(0, 0.01, len(times))
    return Speech((0.5 * np.sin(2 * np.pi * 300 * times) + noise).astype(np.float32), rate)


def picture(seed: int = 0, side: int = 24) -> Image:
    """Coloured noise."""
    return Image(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def ask(text: str = "what is this", *, seed: int = 0, **settings: Any) -> Request:
    """A question in writing. Its seed tells it from others in `Calls.made`."""
    return Request(
        task=Task.ANSWER,
        content=(Text(text),),
        blank=Modality.TEXT,
        settings=Settings(seed=seed, **settings),
    )


def one_of_each(seed: int = 0, temperature: float = 0.0) -> list[Request]:
    """A request of each task, and of each kind of content."""
    settings = Settings(seed=seed, temperature=temperature)
    asked: list[tuple[Task, tuple[Text | Image | Speech, ...], Modality]] = [
        (Task.TRANSCRIBE, (sound(),), Modality.TEXT),
        (Task.SPEAK, (Text("a dog on the grass"),), Modality.SPEECH),
        (Task.ANSWER, (Text("how many apples are there"),), Modality.TEXT),
        (Task.ANSWER, (picture(1), Text("what is this")), Modality.TEXT),
        (Task.ANSWER, (picture(2), sound(0.8)), Modality.TEXT),
        (Task.DESCRIBE, (picture(3),), Modality.TEXT),
        (Task.DRAW, (Text("draw a dog"),), Modality.IMAGE),
        (Task.DRAW, (sound(0.3),), Modality.IMAGE),
    ]
    return [
        Request(task=task, content=content, blank=blank, settings=settings) for task, content, blank in asked
    ]


@contextmanager
def running(model: Model, **options: Any) -> Iterator[Engine]:
    """An engine that is closed in the end."""
    engine = Engine(model, **options)
    try:
        yield engine
    finally:
        engine.close()


def decoded(model: Model, request: Request) -> Decoding:
    """The last state of a request when nothing else runs, without any engine."""
    decoding = model.start(model.canvas(request), request.settings)
    while not decoding.done:
        [decoding] = model.advance([decoding])
    return decoding


class Calls:
    """A model's calls, each as the seeds of those in it: real calls, which a test may hold or break.

    Attributes:
        made: the seeds in each call that was begun, in order.
        failing: calls with one of these seeds in them raise.
    """

    def __init__(self, model: Model) -> None:
        self.made: list[tuple[int, ...]] = []
        self.failing: set[int] = set()
        self._advance = model.advance
        self._news = threading.Condition()
        self._held = False
        self._let = 0
        model.advance = self.advance  # type: ignore[method-assign]

    def of(self, seed: int) -> int:
        """How many calls had this seed in them."""
        return sum(seed in seeds for seeds in self.made)

    def hold(self) -> None:
        """From now on every call waits at its beginning until it is let go."""
        with self._news:
            self._held, self._let = True, len(self.made)

    def until(self, seed: int, count: int = 1) -> None:
        """Let calls go until the `count`th one of `seed` is held at its beginning."""
        with self._news:
            while True:
                assert self._news.wait_for(lambda: len(self.made) > self._let, timeout=20), "no call begins"
                if self.of(seed) >= count:
                    return
                self._let += 1
                self._news.notify_all()

    def release(self) -> None:
        """Hold no longer."""
        with self._news:
            self._held = False
            self._news.notify_all()

    def advance(self, decodings: Sequence[Decoding], *, in_a_hurry: bool = False) -> list[Decoding]:
        """The model call itself."""
        seeds = tuple(decoding.settings.seed for decoding in decodings)
        with self._news:
            self.made.append(seeds)
            number = len(self.made)
            self._news.notify_all()
            let = self._news.wait_for(lambda: not self._held or self._let >= number, timeout=20)
            assert let, "the test let no call go"
        if self.failing.intersection(seeds):
            raise ArithmeticError(f"the call with {seeds} broke")
        return self._advance(decodings, in_a_hurry=in_a_hurry)

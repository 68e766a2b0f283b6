"""omni-tiny's sizes, tasks and text tokenizer."""

from __future__ import annotations

from omni_agent.core import Task
from omni_agent.core_model.config import (
    SPECIAL_TOKENS,
    CoreConfig,
    FastConfig,
    TableCodecConfig,
    TaskConfig,
    TransformerConfig,
)
from omni_agent.core_model.tokenizers.text import TextTokenizer, fit
from omni_agent.core_model.training.image_tokenizer import SMALL
from omni_agent.core_model.training.speech_encoder import TINY_SPEECH_ENCODER
from omni_agent.core_model.world import load_world, sums

__all__ = ["INSTRUCTIONS", "TINY_SPEECH_CODEC", "said_words", "tiny_config", "tiny_tokenizer"]

_WORDS = FastConfig(threshold=0.9)
"""What is said in words: places a core is this sure of commit at once (`benchmarks/fast_cost.py`)."""

INSTRUCTIONS = ("write", "say", "describe the picture")
"""What stands in front of speech that is to be written and of text that is to be said."""


TINY_SPEECH_CODEC = TableCodecConfig(context_size=320)


def said_words() -> list[str]:
    """Every word that is said in the world, in alphabetical order: what the speech encoder can spell."""
    world = load_world()
    words = set(world.numbers) | {"draw", "yes", "no", "the", "describe", "picture"}
    words |= {word for thing in world.objects for word in (thing.name, thing.plural, thing.article)}
    words |= {word for background in world.backgrounds for word in background.phrase.split()}
    words |= {word for each in sums() for word in each.text.split()}
    words |= set("what is this how many are there where on left right and a an".split())
    return sorted(words)


def tiny_tokenizer() -> TextTokenizer:
    """Byte-level BPE in which every word of the world is one token."""
    return fit({*said_words(), *" ".join(INSTRUCTIONS).split()})


def tiny_config(tokenizer: TextTokenizer, *, max_speech_codes: int = 128) -> CoreConfig:
    """The whole of omni-tiny, with its text tokenizer."""
    text_tokens, codec = len(tokenizer), TINY_SPEECH_CODEC
    words = [token for word in said_words() for token in tokenizer.encode(word)]
    ears = TINY_SPEECH_ENCODER.model_copy(update={"ctc_size": len(words) + 1, "ctc_tokens": tuple(words)})
    return CoreConfig(
        name="omni-tiny",
        transformer=TransformerConfig(
            vocab_size=text_tokens + len(SPECIAL_TOKENS) + codec.num_codes + SMALL.num_codes,
            hidden_size=256,
            num_layers=6,
            num_heads=4,
            num_key_value_heads=2,
            intermediate_size=640,
            rope_theta=1e4,
        ),
        speech_encoder=ears,
        image_tokenizer=SMALL,
        speech_codec=codec,
        text_tokens=text_tokens,
        prompt_attention="prefix",
        max_speech_seconds=10.0,
        max_text_tokens=16,
        tasks={
            Task.TRANSCRIBE: TaskConfig(instruction="write", lengths=(12,), fast=_WORDS),
            Task.SPEAK: TaskConfig(
                instruction="say",
                lengths=tuple(range(24, max_speech_codes + 1, 8)),
                min_length=1,
                length_offset=22,
                length_per_unit=1.5,
                num_steps=32,
                fast=FastConfig(num_steps=12, threshold=0.9),
            ),
            Task.ANSWER: TaskConfig(heard="words", lengths=(10,), min_length=1, fast=_WORDS),
            Task.DESCRIBE: TaskConfig(
                instruction="describe the picture", lengths=(10,), min_length=1, fast=_WORDS
            ),
            Task.DRAW: TaskConfig(
                opening="draw",
                heard="words",
                lengths=(64,),
                num_steps=32,
                temperature=0.3,
                guidance_scale=1.5,
                order_noise=0.5,
                fast=FastConfig(num_steps=12, prompt_cache=False, early_end=False),
            ),
        },
    )

"""Sizes and settings of a core, as they stand in a checkpoint's `config.json`.

Everything a model is built from is here and frozen; nothing here builds anything. The published sizes are in
`tests/golden`; omni-tiny's are in its checkpoint.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from omni_agent.core import Task
from omni_agent.errors import InputError

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|mask|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_audio|>",
    "<|end_of_audio|>",
    "<|context_of_audio|>",
)
"""The special tokens of a small core, in the order of their ids after the text's."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TransformerConfig(_Frozen):
    """The bidirectional Qwen2-layout transformer (published: `modeling_dream.py`)."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    intermediate_size: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6


class SpeechEncoderConfig(_Frozen):
    """The SANM speech encoder and its projection into the prompt (published: SenseVoice small)."""

    input_size: int = 560
    hidden_size: int = 512
    num_heads: int = 4
    feed_forward_size: int = 2048
    num_blocks: int = 50
    num_tp_blocks: int = 20
    kernel_size: int = 11
    query_rows: tuple[int, ...] = Field(
        default=(0, 1, 2, 15),
        description="rows of `embed` put in front of the frames: language, event, emotion, style",
    )
    num_queries: int = 16


class ImageTokenizerConfig(_Frozen):
    """The lookup-free-quantised image tokenizer (published: MAGVIT-v2, 13 bits, 16 pixels a code)."""

    bits: int = 13
    patch_size: int = 1
    channels: tuple[int, ...] = Field(
        default=(128, 256, 256, 512, 512), description="encoder widths, finest first"
    )
    decoder_channels: tuple[int, ...] = Field(
        default=(128, 128, 256, 256, 512), description="the same of the decoder"
    )
    encoder_blocks: tuple[int, ...] = (4, 3, 4, 3, 4)
    decoder_blocks: tuple[int, ...] = (4, 4, 3, 4, 3)
    num_groups: int = 32
    image_size: int = Field(default=256, description="side of a picture the core draws, in pixels")

    @property
    def num_codes(self) -> int:
        """Size of the codebook: two to the power of the number of bits."""
        return int(2**self.bits)

    @property
    def pixels_per_code(self) -> int:
        """Side of the square of pixels that one code stands for."""
        return int(self.patch_size * 2 ** (len(self.channels) - 1))


class SpeechCodecConfig(_Frozen):
    """The table codec of omni-tiny: one code for each piece of log-mel spectrogram."""

    num_codes: int = 512
    codes_per_second: float = 25.0
    sample_rate: int = 16_000


class TaskConfig(_Frozen):
    """How one task is asked and decoded."""

    instruction: str = ""
    opening: str = Field(
        default="", description="a word that a typed prompt begins with, put there where it is missing"
    )
    lengths: tuple[int, ...] = Field(description="bucket lengths of the blank, in tokens, ascending")
    length_offset: float = Field(default=0.0, description="tokens that an input of no length needs")
    length_per_unit: float = Field(
        default=0.0,
        description="tokens more for each character of the text or 60 ms frame of the speech in the prompt",
    )
    min_length: int = Field(
        default=0, description="places of the blank, from its start, that cannot be the end"
    )
    num_steps: int | None = Field(
        default=None, description="denoising steps; None: one for each token of the blank"
    )
    temperature: float = 0.0
    guidance_scale: float = 0.0
    order_noise: float = Field(
        default=0.0, description="Gumbel noise added to log confidence when places are chosen"
    )

    def blank_length(self, units: int) -> int:
        """The bucket for an input of so many units (adaptive length assignment, arXiv 2603.06577).

        Raises:
            InputError: the largest bucket is too small.
        """
        needed = self.length_offset + self.length_per_unit * units
        for length in self.lengths:
            if length >= needed:
                return length
        most = int((self.lengths[-1] - self.length_offset) / self.length_per_unit)
        raise InputError(
            f"the input is {units} units long (characters of text, or 60 ms frames of speech); this"
            f" model takes {most} at most for one blank: give it in parts"
        )


class CoreConfig(_Frozen):
    """A whole core: the transformer, its ears and eyes, and how each task is asked."""

    name: str
    transformer: TransformerConfig
    speech_encoder: SpeechEncoderConfig
    image_tokenizer: ImageTokenizerConfig
    speech_codec: SpeechCodecConfig
    text_tokens: int = Field(description="size of the text part of the vocabulary")
    prompt_attention: Literal["full", "prefix"] = "full"
    max_speech_seconds: float = 30.0
    max_text_tokens: int = 128
    tasks: dict[Task, TaskConfig]

    @model_validator(mode="after")
    def _vocabulary_fits(self) -> CoreConfig:
        wanted = (
            self.text_tokens
            + len(SPECIAL_TOKENS)
            + self.speech_codec.num_codes
            + self.image_tokenizer.num_codes
        )
        if self.transformer.vocab_size != wanted:
            raise ValueError(
                f"transformer.vocab_size is {self.transformer.vocab_size}; the parts add up to {wanted}"
            )
        return self

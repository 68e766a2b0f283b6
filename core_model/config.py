"""Sizes and settings of a core, as they stand in a checkpoint's `config.json`.

Everything a model is built from is here and frozen; nothing here builds anything. The published sizes are in
`tests/golden`; omni-tiny's are in its checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from omni_agent.core import Algorithm, Modality, Padding, Task
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


Size = Annotated[int, Field(ge=1, le=10_000_000)]
Count = Annotated[int, Field(ge=1, le=1000)]
"""Of layers, heads and the like: more is a damaged file, and would take hours to build."""


class TransformerConfig(_Frozen):
    """The bidirectional Qwen2-layout transformer (published: `modeling_dream.py`)."""

    vocab_size: Size
    hidden_size: Size
    num_layers: Count
    num_heads: Count
    num_key_value_heads: Count
    intermediate_size: Size
    rms_norm_eps: float = Field(default=1e-6, gt=0, allow_inf_nan=False)
    rope_theta: float = Field(default=1e6, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _heads_fit(self) -> TransformerConfig:
        if self.hidden_size % (2 * self.num_heads) or self.num_heads % self.num_key_value_heads:
            raise ValueError(
                f"a hidden_size of {self.hidden_size}, {self.num_heads} heads and {self.num_key_value_heads}"
                " key/value heads do not divide each other"
            )
        return self


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
    ctc_size: int = Field(default=0, description="outputs of the recognition head")
    ctc_tokens: tuple[int, ...] = Field(
        default=(),
        description="the text token that each output of the head stands for, but for the first, which stands"
        " for none; a frame then enters the prompt as what it spells. Without them the head is kept unread",
    )

    @model_validator(mode="after")
    def _tokens_fit(self) -> SpeechEncoderConfig:
        if self.ctc_tokens and len(self.ctc_tokens) != self.ctc_size - 1:
            raise ValueError(
                f"{len(self.ctc_tokens)} ctc_tokens for {self.ctc_size} outputs; wanted one less than outputs"
            )
        return self


class ImageTokenizerConfig(_Frozen):
    """The lookup-free-quantised image tokenizer (published: MAGVIT-v2, 13 bits, 16 pixels a code)."""

    bits: int = Field(default=13, ge=1, le=20)
    patch_size: Count = 1
    channels: tuple[Size, ...] = Field(
        default=(128, 256, 256, 512, 512), min_length=1, description="encoder widths, finest first"
    )
    decoder_channels: tuple[Size, ...] = Field(
        default=(128, 128, 256, 256, 512), min_length=1, description="the same of the decoder"
    )
    encoder_blocks: tuple[Count, ...] = (4, 3, 4, 3, 4)
    decoder_blocks: tuple[Count, ...] = (4, 4, 3, 4, 3)
    num_groups: Count = 32
    image_size: Size = Field(default=256, description="side of a picture the core draws, in pixels")
    seen_size: Size | None = Field(
        default=None, description="side of a picture the core looks at, in pixels; None: as those it draws"
    )

    @model_validator(mode="after")
    def _levels_fit(self) -> ImageTokenizerConfig:
        levels = {len(self.channels), len(self.encoder_blocks)}
        if len({*levels, len(self.decoder_channels), len(self.decoder_blocks)}) > 1:
            raise ValueError("channels and blocks of encoder and decoder are not for as many levels")
        if any(width % self.num_groups for width in (*self.channels, *self.decoder_channels)):
            raise ValueError(f"channels are not multiples of num_groups, {self.num_groups}")
        sizes = (self.image_size, self.seen_size or self.image_size)
        if any(size % self.pixels_per_code for size in sizes):
            raise ValueError(f"pictures' sides are not multiples of {self.pixels_per_code} pixels")
        return self

    @property
    def num_codes(self) -> int:
        """Size of the codebook: two to the power of the number of bits."""
        return int(2**self.bits)

    @property
    def pixels_per_code(self) -> int:
        """Side of the square of pixels that one code stands for."""
        return int(self.patch_size * 2 ** (len(self.channels) - 1))

    @property
    def codes_drawn(self) -> int:
        """Codes of a picture the core draws."""
        return (self.image_size // self.pixels_per_code) ** 2

    @property
    def codes_seen(self) -> int:
        """Codes of a picture the core looks at."""
        return ((self.seen_size or self.image_size) // self.pixels_per_code) ** 2


class TableCodecConfig(_Frozen):
    """The table codec of omni-tiny: one code for each piece of log-mel spectrogram."""

    kind: Literal["table"] = "table"
    num_codes: int = 512
    codes_per_second: float = 25.0
    sample_rate: int = 16_000
    context_size: int = Field(
        default=0,
        ge=0,
        description="channels of the network that tells how a code sounds between others; 0: none",
    )


class SpeechTokenizerConfig(_Frozen):
    """The Whisper encoder with a codebook that makes codes of sound (published: GLM-4-Voice)."""

    mels: Size = 128
    hidden_size: Size = 1280
    num_heads: Count = 20
    feed_forward_size: Size = 5120
    num_layers: Count = 16
    positions: Size = 1500
    block_length: Count = Field(default=200, description="positions that see each other, at 50 a second")
    pool: Count = 4
    num_codes: Size = 16_384


class FlowConfig(_Frozen):
    """The flow-matching decoder that makes a mel spectrogram of codes (published: GLM-4-Voice)."""

    num_codes: Size = 16_384
    token_size: Size = 512
    hidden_size: Size = 512
    num_heads: Count = 8
    feed_forward_size: Size = 2048
    num_layers: Count = 6
    block_length: Count = Field(default=10, description="codes that see each other")
    speaker_size: Size = 192
    channels: Size = 256
    unet_heads: Count = 8
    unet_head_size: Count = 64
    blocks_per_stage: Count = 4
    middle_stages: Count = 12


class VocoderConfig(_Frozen):
    """The vocoder that makes sound of a mel spectrogram (published: HiFT)."""

    channels: Size = 512
    pitch_channels: Size = 512


class Glm4VoiceConfig(_Frozen):
    """The published speech codec: a tokenizer, a flow-matching decoder and a vocoder."""

    kind: Literal["glm-4-voice"] = "glm-4-voice"
    num_codes: Size = 16_384
    codes_per_second: float = 12.5
    has_parts: bool = Field(
        default=True, description="False where there are codes and nothing to hear them by"
    )
    tokenizer: SpeechTokenizerConfig = SpeechTokenizerConfig()
    flow: FlowConfig = FlowConfig()
    vocoder: VocoderConfig = VocoderConfig()
    num_steps: int = Field(default=10, ge=1, description="steps from noise to a spectrogram")
    guidance_scale: float = Field(default=0.7, ge=0, description="how much the codes are stressed")
    speaker: tuple[float, ...] | None = Field(
        default=None, description="vector of the voice; None: zeros, the published one"
    )

    @model_validator(mode="after")
    def _speaker_fits(self) -> Glm4VoiceConfig:
        if self.speaker is not None and len(self.speaker) != self.flow.speaker_size:
            raise ValueError(f"the speaker has {len(self.speaker)} numbers; wanted {self.flow.speaker_size}")
        return self


class FastConfig(_Frozen):
    """What mode "fast" leaves out in one task; see `omni_agent.Settings`."""

    num_steps: int | None = Field(default=None, ge=1, description="None: as in mode exact")
    prompt_cache: bool = True
    threshold: float = Field(default=1.0, gt=0, le=1)
    early_end: bool = True
    guidance_until: float = Field(default=1.0, ge=0, le=1)


class TaskConfig(_Frozen):
    """How one task is asked and decoded."""

    system: str = Field(default="", description="the system line of a chat; none where empty")
    instruction: str = ""
    opening: str = Field(
        default="", description="a word that a typed prompt begins with, put there where it is missing"
    )
    heard: Literal["frames", "words"] = Field(
        default="frames",
        description="how speech enters the prompt: a row for each frame, or the words that the speech encoder"
        " spells, as if they were typed; frames where it spells none, or more than a prompt reads",
    )
    lengths: tuple[int, ...] = Field(
        min_length=1, description="bucket lengths of the blank, in tokens, ascending"
    )
    max_length: int | None = Field(
        default=None, description="longest blank that may be asked for; None: the last bucket"
    )
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
    temperature: float = Field(default=0.0, ge=0)
    guidance_scale: float = Field(default=0.0, ge=0)
    order_noise: float = Field(
        default=0.0, description="Gumbel noise added to log confidence when places are chosen"
    )
    algorithm: Algorithm | None = Field(
        default=None, description="the published unmasking rule; None: the typed reading, by confidence"
    )
    repeat_penalty: float = Field(default=1.0, gt=0)
    max_position_penalty: float = Field(default=1.0, gt=0)
    fast: FastConfig = FastConfig()
    speech_from: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the blank at which speech begins, its opening token put there",
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
    """A whole core: the transformer, its ears and eyes, and how each task is asked.

    A core without `speech_encoder` hears nothing, one without `image_tokenizer` sees and draws nothing, and
    one without `speech_codec` says nothing.
    """

    name: str
    transformer: TransformerConfig
    speech_encoder: SpeechEncoderConfig | None = None
    image_tokenizer: ImageTokenizerConfig | None = None
    speech_codec: TableCodecConfig | Glm4VoiceConfig | None = None
    text_tokens: int = Field(description="size of the text part of the vocabulary")
    special_tokens: tuple[str, ...] = Field(
        default=SPECIAL_TOKENS, description="the tokens behind the text's, in the order of their ids"
    )
    template: Literal["compact", "chat"] = Field(
        default="compact", description="how a prompt is laid out (`layout.py`); the published one is chat"
    )
    prompt_attention: Literal["full", "prefix"] = "full"
    padding: Padding = Field(
        default="masked",
        description="rows of unequal length in one model call: masked, or attended to as published",
    )
    max_speech_seconds: float = 30.0
    max_text_tokens: int = 128
    tasks: dict[str, TaskConfig] = Field(
        description="by the task, or by the task and what is given: 'draw', 'draw from speech'"
    )

    def task(self, task: Task, given: Iterable[Modality]) -> TaskConfig | None:
        """How the task is done from values of these modalities; None where it is not."""
        kinds = ", ".join(sorted(set(given)))
        return self.tasks.get(f"{task} from {kinds}") or self.tasks.get(task)

    def has(self, kinds: Iterable[Modality]) -> bool:
        """Whether the core has the parts for values of these modalities."""
        parts = {Modality.IMAGE: self.image_tokenizer, Modality.SPEECH: self.speech_encoder}
        return all(parts.get(kind, True) is not None for kind in kinds)

    @field_validator("tasks")
    @classmethod
    def _tasks_are_known(cls, tasks: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        for key in tasks:
            task, _, given = key.partition(" from ")
            kinds = given.split(", ")
            whole = key in list(Task)
            if not whole and (task not in list(Task) or kinds != sorted(set(kinds) & set(Modality))):
                raise ValueError(
                    f"{key!r} is no task; wanted one of {', '.join(Task)}, and behind it what is given, such"
                    " as 'draw from speech' or 'answer from image, speech'"
                )
        return tasks

    @model_validator(mode="after")
    def _parts_fit(self) -> CoreConfig:
        if self.padding == "attended" and self.prompt_attention == "prefix":
            raise ValueError("padding attended is for prompt_attention full: a prefix is a mask of its own")
        codes = 0 if self.speech_codec is None else self.speech_codec.num_codes
        codes += 0 if self.image_tokenizer is None else self.image_tokenizer.num_codes
        wanted = self.text_tokens + len(self.special_tokens) + codes
        if self.transformer.vocab_size < wanted:
            raise ValueError(
                f"transformer.vocab_size is {self.transformer.vocab_size}; the parts add up to {wanted}"
            )
        spelt = () if self.speech_encoder is None else self.speech_encoder.ctc_tokens
        if strange := [token for token in spelt if not 0 <= token < self.text_tokens]:
            raise ValueError(
                f"the speech encoder's ctc_tokens name {strange[0]}; wanted tokens of text, 0 to"
                f" {self.text_tokens - 1}"
            )
        return self

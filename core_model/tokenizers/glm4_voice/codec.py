"""The published speech codec whole: sound to codes, 12.5 a second, and codes to sound at 22,050 Hz."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor, nn

from omni_agent.core import VoiceSettings
from omni_agent.core_model.config import Glm4VoiceConfig
from omni_agent.core_model.resampling import resampled
from omni_agent.core_model.tokenizers.glm4_voice.flow import FlowDecoder, frames_of
from omni_agent.core_model.tokenizers.glm4_voice.speech_tokenizer import RATE as HEARD_RATE
from omni_agent.core_model.tokenizers.glm4_voice.speech_tokenizer import SpeechTokenizer
from omni_agent.core_model.tokenizers.glm4_voice.streaming import CodeStream, Noise, SpokenAs
from omni_agent.core_model.tokenizers.glm4_voice.vocoder import MELS, RATE, Vocoder
from omni_agent.errors import InputError

__all__ = ["Glm4VoiceCodec"]

# Longer speech is decoded piece by piece: the U-Net looks at all frames at once.
MOST_CODES = 375


class Glm4VoiceCodec(nn.Module):
    """Speech tokenizer, flow-matching decoder and vocoder (`THUDM/glm-4-voice-tokenizer` and `-decoder`)."""

    def __init__(self, config: Glm4VoiceConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = SpeechTokenizer(config.tokenizer)
        self.flow = FlowDecoder(config.flow)
        self.vocoder = Vocoder(config.vocoder)
        self._voice = VoiceSettings()

    @property
    def sample_rate(self) -> int:
        """Of the sound it makes, in Hz."""
        return RATE

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.tokenizer.codebook.weight.device

    def spoken_as(self, voice: VoiceSettings | None = None) -> SpokenAs:
        """How sound is made: as `voice` says, where that says nothing as `speak_as` did, else as the
        checkpoint says.

        Raises:
            InputError: a speaker of another size.
        """
        voice = (voice or VoiceSettings()).over(self._voice)
        config, size = self.config, self.config.flow.speaker_size
        numbers = config.speaker if voice.speaker is None else voice.speaker
        vector = torch.zeros(1, size, device=self.device)  # the published speaker
        if numbers is not None:
            if len(numbers) != size:
                raise InputError(f"the speaker has {len(numbers)} numbers; wanted {size}")
            vector[0] = torch.tensor(numbers)
        scale = config.guidance_scale if voice.guidance_scale is None else voice.guidance_scale
        return SpokenAs(speaker=vector, num_steps=voice.num_steps or config.num_steps, guidance_scale=scale)

    def check_voice(self, voice: VoiceSettings) -> None:
        """Raises InputError for a speaker of another size."""
        self.spoken_as(voice)

    def speak_as(self, voice: VoiceSettings) -> None:
        """Make all sound like that, from now on; see `SpeechCodec.speak_as`."""
        self.check_voice(voice)
        self._voice = voice

    @torch.inference_mode()
    def encode(self, samples: Float32[np.ndarray, " n"], rate: int) -> Int[Tensor, " codes"]:
        """Codes of a mono sound, 12.5 a second, in pieces of 30 seconds.

        Raises:
            InputError: no samples, or an impossible rate.
        """
        if samples.ndim != 1 or samples.size == 0:
            raise InputError(
                f"given samples of shape {samples.shape}; wanted one channel of at least one sample"
            )
        return torch.tensor(self.tokenizer.encode(resampled(samples, rate, HEARD_RATE)))

    @torch.inference_mode()
    def decode(
        self, codes: Int[Tensor, " codes"] | Sequence[int], *, seed: int = 0
    ) -> Float32[np.ndarray, " n"]:
        """The sound of codes, 80 ms each; equal codes and seeds give equal sounds.

        Up to 30 seconds are made in one piece, as published; more as a stream makes them.

        Raises:
            InputError: no codes, or one that there is not.
        """
        row = self.checked(codes)
        if not row:
            raise InputError("no speech codes were given; wanted at least one")
        if len(row) > MOST_CODES:
            return self.stream(seed=seed).push(row, last=True)
        noise, frames, voice = Noise(seed), frames_of(len(row)), self.spoken_as()
        nothing = torch.zeros(1, 0, dtype=torch.long, device=self.device)
        mel = self.flow(
            torch.tensor([row], device=self.device),
            noise.of_frames(0, frames).to(self.device),
            speaker=voice.speaker,
            prompt_codes=nothing,
            prompt_mel=torch.zeros(1, 0, MELS, device=self.device),
            num_steps=voice.num_steps,
            guidance_scale=voice.guidance_scale,
        )
        phase, source_noise = noise.phase().to(self.device), noise.of_source(0, frames).to(self.device)
        sound, _ = self.vocoder(mel, phase, source_noise)
        made: Float32[np.ndarray, " n"] = sound[0].cpu().numpy()
        return made

    def stream(self, *, voice: VoiceSettings | None = None, seed: int = 0) -> CodeStream:
        """The same, code by code: sound comes once ten codes are there and ten more.

        Raises:
            InputError: a speaker of another size.
        """
        return CodeStream(self, self.spoken_as(voice), seed=seed)

    def checked(self, codes: Int[Tensor, " codes"] | Sequence[int]) -> list[int]:
        """The codes as a list.

        Raises:
            InputError: one that there is not.
        """
        row: list[int] = torch.as_tensor(codes, dtype=torch.long).flatten().tolist()
        if row and (min(row) < 0 or max(row) >= self.config.flow.num_codes):
            raise InputError(
                f"given speech codes from {min(row)} to {max(row)};"
                f" wanted 0 to {self.config.flow.num_codes - 1}"
            )
        return row

"""Sound while its codes are still being decided.

Two stages, each with a little to come before anything is final:

- *Spectrogram.* Every hop of codes, the U-Net runs over a window that reaches back some seconds and ahead a
  few codes. What two windows both have is cross-faded. The window starts on an even frame: the U-Net halves
  the rate, and from an odd one every pair of frames would be another (measured: four times the difference).
- *Sound.* The vocoder's receptive field is short, so with enough frames on both sides its output is that of
  the whole; the phase of the source is carried on.

All chance is keyed by position, so that hops change none of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from omni_agent.core_model.seeds import seed_of
from omni_agent.core_model.tokenizers.code_window import CodeWindow
from omni_agent.core_model.tokenizers.glm4_voice.vocoder import HARMONICS, HOP, MELS, RATE
from omni_agent.errors import InputError

if TYPE_CHECKING:
    from omni_agent.core_model.tokenizers.glm4_voice.codec import Glm4VoiceCodec

__all__ = ["CodeStream", "Noise", "SpokenAs"]

# 128 codes are 882 frames, the fewest that are a whole, even number of them.
ALIGNED_CODES, ALIGNED_FRAMES = 128, 882
HOP_CODES, FIRST_HOP_CODES = 25, 10
AHEAD_CODES = 10
BACK_FRAMES = 220
CONTEXT_CODES = 250  # what the token encoder is given to look back on, at least
FADED_FRAMES = 24
PITCH_FRAMES, FILTER_FRAMES = 5, 20  # receptive fields, to each side
BLOCK = 64  # frames whose noise is drawn together


@dataclass(frozen=True, kw_only=True, eq=False)
class SpokenAs:
    """How the flow decoder makes a spectrogram: for whom, in how many steps, how much led by the codes."""

    speaker: Float[Tensor, "1 size"]
    num_steps: int
    guidance_scale: float


class CodeStream:
    """One speech, code by code. What it holds does not grow."""

    def __init__(self, codec: Glm4VoiceCodec, voice: SpokenAs, *, seed: int = 0) -> None:
        self._codec, self._voice, self._noise = codec, voice, Noise(seed)
        self._window = CodeWindow(codec.checked, ahead=AHEAD_CODES)
        self._tail: Tensor | None = None  # frames the last window had ahead, to be faded out
        self._sound = _SoundStream(codec, self._noise)

    @torch.inference_mode()
    def push(self, codes: Sequence[int], *, last: bool = False) -> Float32[np.ndarray, " n"]:
        """Take codes that go on from those before, and give the sound that no later code can change.

        Args:
            codes: the next ones; may be none.
            last: no more will come, so that the rest of the sound is due.

        Raises:
            InputError: a code that there is not, which changes nothing; or codes after the last.
        """
        self._window.add(codes, last=last)
        made = [self._sound.push(mel, last=ends) for mel, ends in self._hops()]
        return np.concatenate(made) if made else np.zeros(0, np.float32)

    @torch.inference_mode()
    def frames(self, codes: Sequence[int]) -> Float[Tensor, "1 80 frames"]:
        """The spectrogram that a new stream makes of these codes, hop by hop, to be looked at.

        Raises:
            InputError: no codes, or one that there is not.
        """
        if not codes:
            raise InputError("no speech codes were given; wanted at least one")
        self._window.add(codes, last=True)
        return torch.cat([mel for mel, _ in self._hops()], -1)

    def _hops(self) -> Iterator[tuple[Float[Tensor, "1 80 _"], bool]]:
        """The frames that are due, a hop at a time, and whether they are the last."""
        window = self._window
        while (stop := window.due(HOP_CODES if window.done else FIRST_HOP_CODES)) is not None:
            ends = window.ends_at(stop)
            mel = self._frames(stop, last=ends)
            window.made(stop, keep=max(stop - CONTEXT_CODES, 0) // ALIGNED_CODES * ALIGNED_CODES)
            yield mel, ends

    def _frames(self, stop: int, *, last: bool) -> Float[Tensor, "1 80 frames"]:
        """The frames of the codes from those done up to `stop`."""
        flow, device = self._codec.flow, self._codec.device
        known = self._window.known(stop)
        origin = _frame_of(self._window.first)
        start, end = _frame_of(self._window.done), _frame_of(stop)
        window = max(start - BACK_FRAMES, origin) // 2 * 2
        mu = flow.conditions(torch.tensor([known], device=device))[..., window - origin :]
        noise = self._noise.of_frames(window, window + mu.shape[-1]).to(mu)
        mel = flow.flow(
            noise,
            mu,
            flow.speaker(self._voice.speaker),
            torch.zeros_like(mu),
            num_steps=self._voice.num_steps,
            guidance_scale=self._voice.guidance_scale,
        )[..., start - window :]
        if self._tail is not None:
            faded = min(FADED_FRAMES, self._tail.shape[-1], mel.shape[-1])
            weight = torch.linspace(0, 1, faded + 2, device=device)[1:-1]
            mel[..., :faded] = weight * mel[..., :faded] + (1 - weight) * self._tail[..., :faded]
        self._tail = mel[..., end - start :]
        return mel if last else mel[..., : end - start]


class _SoundStream:
    """Frames in, samples out."""

    def __init__(self, codec: Glm4VoiceCodec, noise: Noise) -> None:
        self._codec, self._noise = codec, noise
        device = codec.device
        self._mel = torch.zeros(1, MELS, 0, device=device)
        self._first = 0  # which frame `_mel` begins with
        self._source = torch.zeros(1, 1, 0, device=device)  # of the frames from `_first` on
        self._phase = noise.phase().to(device)
        self._said = 0  # frames whose samples were given

    def push(self, mel: Float[Tensor, "1 80 frames"], *, last: bool) -> Float32[np.ndarray, " n"]:
        """The samples that no later frame can change; with `last`, all that are left."""
        self._mel = torch.cat([self._mel, mel], -1)
        count = self._first + self._mel.shape[-1]
        self._excite(count if last else count - PITCH_FRAMES)
        excited = self._first + self._source.shape[-1] // HOP
        stop = excited if last else excited - FILTER_FRAMES
        if stop <= self._said:
            return np.zeros(0, np.float32)
        window = self._mel[..., : excited - self._first]
        sound = self._codec.vocoder.filtered(window, self._source)[0]
        said = sound[(self._said - self._first) * HOP : (stop - self._first) * HOP]
        self._said = stop
        first = max(self._said - FILTER_FRAMES - PITCH_FRAMES, 0)
        self._mel = self._mel[..., first - self._first :]
        self._source = self._source[..., (first - self._first) * HOP :]
        self._first = first
        return said.cpu().numpy()

    def _excite(self, stop: int) -> None:
        """Make the source up to a frame, and carry its phase on."""
        start = self._first + self._source.shape[-1] // HOP
        if stop <= start:
            return
        vocoder = self._codec.vocoder
        pitch = vocoder.pitch(self._mel)[:, start - self._first : stop - self._first]
        noise = self._noise.of_source(start, stop).to(pitch)
        self._source = torch.cat([self._source, vocoder.source(pitch, self._phase, noise)], -1)
        multiples = torch.arange(1, HARMONICS + 1, device=pitch.device)[None, :, None]
        turns = pitch.double().sum() * HOP * multiples / RATE
        self._phase = (self._phase + 2 * math.pi * (turns % 1)) % (2 * math.pi)


def _frame_of(code: int) -> int:
    """The frame that a code begins with."""
    return code * ALIGNED_FRAMES // ALIGNED_CODES


class Noise:
    """All chance of a speech, keyed by frame: the same for a frame whatever is asked for around it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of_frames(self, start: int, stop: int) -> Float[Tensor, "1 80 frames"]:
        """What the flow starts from."""
        return self._of("mel", start, stop, MELS)

    def of_source(self, start: int, stop: int) -> Float[Tensor, "1 9 samples"]:
        """What the vocoder mixes into its source."""
        frames = self._of("source", start, stop, HARMONICS * HOP)
        return frames.reshape(1, HARMONICS, HOP, -1).transpose(2, 3).flatten(2)

    def phase(self) -> Float[Tensor, "1 9 1"]:
        """What the harmonics start with, in radians, in float64; the first one with 0."""
        generator = torch.Generator().manual_seed(seed_of(self._seed, "phase"))
        phase = (torch.rand(1, HARMONICS, 1, generator=generator, dtype=torch.float64) * 2 - 1) * math.pi
        phase[:, 0] = 0
        return phase

    def _of(self, what: str, start: int, stop: int, rows: int) -> Float[Tensor, "1 rows frames"]:
        first, past = start // BLOCK, -(-stop // BLOCK)
        blocks = []
        for block in range(first, past):
            generator = torch.Generator().manual_seed(seed_of(self._seed, what, block))
            blocks.append(torch.randn(rows, BLOCK, generator=generator))
        return torch.cat(blocks, 1)[None, :, start - first * BLOCK : stop - first * BLOCK]

"""Sound to what the speech encoder reads: stacked log-mel frames, one every 60 ms, as the published model has
them.

SenseVoice's front end (FunASR, `funasr/frontends/wav_frontend.py`): Kaldi filter banks at 16 kHz, 80 mels of
25 ms every 10 ms, seven joined every sixth, then an optional shift and scale. Dither is left off, so equal
sounds give equal frames. Nothing here is learnt.
"""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import soxr
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from omni_agent.errors import InputError

__all__ = ["FRAME_SIZE", "RATE", "SpeechFrontend", "at_rate", "frame_count", "log_mel", "stacked"]

RATE = 16_000
MELS = 80
STACK = 7
STEP = 6
FRAME_SIZE = MELS * STACK
_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms
_SHORTEST = 257  # a shorter window has too few frequencies for 80 mels


class SpeechFrontend(nn.Module):
    """Samples to frames, with the shift and scale (each of size 560) of the model that reads them. It
    computes on the CPU, wherever these are.
    """

    shift: Float[Tensor, " 560"]
    scale: Float[Tensor, " 560"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(FRAME_SIZE))
        self.register_buffer("scale", torch.ones(FRAME_SIZE))

    @torch.no_grad()
    def forward(self, samples: Float32[np.ndarray, " n"], rate: int) -> Float[Tensor, "t 560"]:
        """Mono samples in [-1, 1] to ceil(T / 6) frames, T the whole 25 ms windows every 10 ms.

        Raises InputError for no samples or a rate that is not positive.
        """
        mels = log_mel(at_rate(samples, rate))
        return (torch.from_numpy(stacked(mels)) + self.shift.float().cpu()) * self.scale.float().cpu()


def at_rate(samples: Float32[np.ndarray, " n"], rate: int, wanted: int = RATE) -> Float32[np.ndarray, " m"]:
    """Mono samples resampled from `rate` to `wanted` Hz (16 kHz unless told)."""
    if samples.ndim != 1 or samples.size == 0:
        raise InputError(
            f"given samples of shape {samples.shape}; wanted one channel with at least one sample"
        )
    if rate <= 0:
        raise InputError(f"given a rate of {rate} Hz; wanted a positive one, such as {RATE}")
    if not np.isfinite(samples).all():
        raise InputError(
            "given samples that are not all finite; wanted numbers in [-1, 1]: is the file damaged?"
        )
    if rate == wanted:
        return np.asarray(samples, dtype=np.float32)
    # a few samples at a high rate may leave none: keep the last one, so that any sound has a frame
    resampled = soxr.resample(np.asarray(samples, dtype=np.float32), rate, wanted).astype(np.float32)
    return resampled if resampled.size else np.asarray(samples[-1:], dtype=np.float32)


def frame_count(samples: int) -> int:
    """Rows that `stacked` makes of so many samples at 16 kHz."""
    return -(-(1 + max(samples - _WINDOW, 0) // _HOP) // STEP)


def log_mel(samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "frames 80"]:
    """Natural log of the energy in 80 mel bands, of samples at 16 kHz; shorter than 25 ms makes one frame."""
    if samples.size == 0:
        raise InputError("given no samples; wanted at least one")
    samples = np.pad(samples, (0, max(_SHORTEST - samples.size, 0)))
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hamming"
    options.frame_opts.frame_length_ms = min(_WINDOW, samples.size) * 1000 / RATE
    options.mel_opts.num_bins = MELS
    options.energy_floor = 0.0
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(RATE, np.asarray(samples, dtype=np.float32) * 32768)
    bank.input_finished()
    return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])


def stacked(mels: Float32[np.ndarray, "frames 80"]) -> Float32[np.ndarray, "t 560"]:
    """Join seven frames every sixth: the first one is repeated before the start, the last one after the
    end."""
    rows = -(-len(mels) // STEP)
    places = np.arange(rows)[:, None] * STEP + np.arange(STACK) - (STACK - 1) // 2
    joined: Float32[np.ndarray, "t 7 80"] = mels[np.clip(places, 0, len(mels) - 1)]
    return joined.reshape(rows, FRAME_SIZE)

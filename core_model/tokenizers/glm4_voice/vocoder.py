"""Mel spectrogram to sound at 22,050 Hz: HiFT, a neural source filter with an inverse Fourier transform.

Names are those of `hift.pt` (`cosyvoice/hifigan/generator.py` of GLM-4-Voice). Chance is given: the phases
the harmonics start with, and the noise.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.config import VocoderConfig

__all__ = ["HOP", "MELS", "RATE", "Vocoder"]

RATE = 22_050
HOP = 256
MELS = 80
HARMONICS = 9
AMPLITUDE, NOISE = 0.1, 0.003
VOICED_ABOVE = 10.0
FFT, FFT_HOP = 16, 4
BINS = FFT // 2 + 1
STRIDES, KERNEL = (8, 8), 16
KERNELS, SOURCE_KERNELS, DILATIONS = (3, 7, 11), (7, 11), (1, 3, 5)
LIMIT, LOUDEST = 0.99, 100.0


class Vocoder(nn.Module):
    """A pitch predictor, a source of sines and noise at that pitch, and a filter that makes speech of it."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        width = config.channels
        self.m_source = _Source()
        self.conv_pre = _NormedConv(MELS, width, 7)
        self.ups = nn.ModuleList(
            _NormedUp(width >> i, width >> (i + 1), stride) for i, stride in enumerate(STRIDES)
        )
        self.source_downs = nn.ModuleList(
            [
                nn.Conv1d(2 * BINS, width >> 1, 2 * STRIDES[1], STRIDES[1], padding=STRIDES[1] // 2),
                nn.Conv1d(2 * BINS, width >> 2, 1),
            ]
        )
        self.source_resblocks = nn.ModuleList(
            _Residual(width >> (i + 1), kernel) for i, kernel in enumerate(SOURCE_KERNELS)
        )
        self.resblocks = nn.ModuleList(
            _Residual(width >> (i + 1), kernel) for i in range(len(STRIDES)) for kernel in KERNELS
        )
        self.conv_post = _NormedConv(width >> len(STRIDES), 2 * BINS, 7)
        self.f0_predictor = _Pitch(config.pitch_channels)

    def forward(
        self,
        mel: Float[Tensor, "1 80 frames"],
        phase: Float[Tensor, "1 9 1"],
        noise: Float[Tensor, "1 9 samples"],
        cached_source: Float[Tensor, "1 1 cached"] | None = None,
    ) -> tuple[Float[Tensor, "1 samples"], Float[Tensor, "1 1 samples"]]:
        """Sound of a spectrogram, 256 samples a frame, and the source it was made from.

        Args:
            mel: natural logarithms, as the flow decoder gives them.
            phase: what each harmonic starts with, in radians; the first one's is 0.
            noise: standard normal.
            cached_source: put over the beginning of the source, so that sound made in pieces goes on.
        """
        source = self.source(self.pitch(mel), phase, noise)
        if cached_source is not None:
            source = torch.cat([cached_source, source[..., cached_source.shape[-1] :]], -1)
        return self.filtered(mel, source), source

    def pitch(self, mel: Float[Tensor, "1 80 frames"]) -> Float[Tensor, "1 frames"]:
        """The fundamental frequency of each frame in Hz.

        Found in float64: the phase sums it over all samples, so what float32 rounds one way in a piece and
        another way in the whole would grow from piece to piece.
        """
        weights = {name: each.double() for name, each in self.f0_predictor.named_parameters()}
        found: Tensor = torch.func.functional_call(self.f0_predictor, weights, (mel.double(),))
        return found.to(mel.dtype)

    def source(
        self,
        pitch: Float[Tensor, "1 frames"],
        phase: Float[Tensor, "1 9 1"],
        noise: Float[Tensor, "1 9 samples"],
    ) -> Float[Tensor, "1 1 samples"]:
        """Sines at the pitch and its multiples, and noise, mixed into one excitation."""
        mixed: Tensor = self.m_source(pitch, phase, noise)
        return mixed

    def filtered(
        self, mel: Float[Tensor, "1 80 frames"], source: Float[Tensor, "1 1 samples"]
    ) -> Float[Tensor, "1 samples"]:
        """The source, made into speech by the spectrogram."""
        spectrum = self.source_spectrum(source)
        x = self.conv_pre(mel)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            if i == len(self.ups) - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[i](self.source_downs[i](spectrum))
            first, *others = self.resblocks[i * len(KERNELS) : (i + 1) * len(KERNELS)]
            mixed = first(x)
            for block in others:  # summed as they come: the widest of all tensors, not three of them at once
                mixed += block(x)
            x = mixed.div_(len(KERNELS))
        x = self.conv_post(F.leaky_relu(x, 0.01))
        size, angle = x[:, :BINS].exp().clamp(max=LOUDEST), x[:, BINS:].sin()
        made = torch.istft(torch.polar(size, angle), FFT, FFT_HOP, window=_window(x), length=source.shape[-1])
        return made.clamp(-LIMIT, LIMIT)

    def source_spectrum(self, source: Float[Tensor, "1 1 samples"]) -> Float[Tensor, "1 18 t"]:
        """Real and imaginary parts of the source's short-time Fourier transform."""
        spectrum = torch.stft(source[:, 0], FFT, FFT_HOP, window=_window(source), return_complex=True)
        return torch.cat([spectrum.real, spectrum.imag], 1)


class _Source(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l_linear = nn.Linear(HARMONICS, 1)

    def forward(self, pitch: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        rows = self.harmonics(pitch, phase, noise)
        mixed: Tensor = self.l_linear(rows.transpose(1, 2)).tanh().transpose(1, 2)
        return mixed

    def harmonics(self, pitch: Tensor, phase: Tensor, noise: Tensor) -> Float[Tensor, "1 9 samples"]:
        """Each harmonic with its noise, which is all there is where nothing is voiced."""
        per_sample = pitch.repeat_interleave(HOP, 1)[:, None]
        voiced = (per_sample > VOICED_ABOVE).to(pitch.dtype)
        loud = voiced * NOISE + (1 - voiced) * AMPLITUDE / 3
        return self._sines(per_sample, phase) * voiced + noise * loud

    @staticmethod
    def _sines(per_sample: Tensor, phase: Tensor) -> Tensor:
        """Sines at the multiples of a frequency that changes, their phases summed in float64: in float32 a
        sum over ten seconds has steps of two thousandths of a turn.
        """
        multiples = torch.arange(1, HARMONICS + 1, device=per_sample.device)[None, :, None]
        turns = (per_sample.double() * multiples / RATE).cumsum(-1) % 1
        return (AMPLITUDE * (2 * math.pi * turns + phase.double()).sin()).to(per_sample.dtype)


class _Pitch(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [_NormedConv(MELS if i == 0 else width, width, 3), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 1)

    def forward(self, mel: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.condnet(mel).transpose(1, 2))[..., 0].abs()
        return found


class _Residual(nn.Module):
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_NormedConv(width, width, kernel, dilation) for dilation in DILATIONS)
        self.convs2 = nn.ModuleList(_NormedConv(width, width, kernel) for _ in DILATIONS)
        self.activations1 = nn.ModuleList(_Snake(width) for _ in DILATIONS)
        self.activations2 = nn.ModuleList(_Snake(width) for _ in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        for first, second, conv1, conv2 in zip(
            self.activations1, self.activations2, self.convs1, self.convs2, strict=True
        ):
            x = x + conv2(second(conv1(first(x))))
        return x


class _Normed(nn.Module):
    """Weights stored as their lengths and directions, over all but the first axis."""

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(shape[0], 1, 1))
        self.weight_v = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))

    @property
    def weight(self) -> Tensor:
        """The weights themselves."""
        return torch._weight_norm(self.weight_v, self.weight_g, 0)


class _NormedConv(_Normed):
    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__((outputs, inputs, kernel), outputs)
        self.dilation, self.padding = dilation, dilation * (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, padding=self.padding, dilation=self.dilation)


class _NormedUp(_Normed):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__((inputs, outputs, KERNEL), outputs)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        padding = (KERNEL - self.stride) // 2
        return F.conv_transpose1d(x, self.weight, self.bias, stride=self.stride, padding=padding)


class _Snake(nn.Module):
    """x + sin(a x)^2 / a, with a of its own for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + (x * alpha).sin().square() / (alpha + 1e-9)


def _window(like: Tensor) -> Tensor:
    return torch.hann_window(FFT, dtype=like.dtype, device=like.device)

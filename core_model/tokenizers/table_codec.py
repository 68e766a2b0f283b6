"""Speech as tokens for omni-tiny: a table of 512 pieces of sound, 40 ms each, in the one voice that it speaks
with.

A code names the table's nearest piece of log-mel spectrogram; to decode, the pieces' spectra are laid side by
side, smoothed where they join, changed by what lies around them (`in_context.py`), and Griffin-Lim finds a
waveform with that spectrogram. Other voices are
encoded too, but come back as the table's voice. The published speech tokenizer and its flow-matching decoder
are something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from omni_agent.core import VoiceSettings
from omni_agent.core_model.config import TableCodecConfig
from omni_agent.core_model.speech_frontend import at_rate
from omni_agent.core_model.tokenizers.griffin_lim import BINS, griffin_lim, transformed
from omni_agent.core_model.tokenizers.in_context import InContext, on_cpu
from omni_agent.core_model.tokenizers.table_stream import FRAMES, ITERATIONS, PIECE, TableStream, faded
from omni_agent.errors import InputError

__all__ = ["TableCodec", "fit_speech_codec", "log_spectra", "mel_filters"]

RATE = 16_000
_BANDS = 80
_SIZE = 64  # principal components of a piece's 320 numbers
# 57 dB below the peak that sounds are brought to; quieter is silence, and its details would only cost codes
_FLOOR = math.log(1e-2)
_PEAK = 0.8


class TableCodec(nn.Module):
    """Encodes sound to codes and decodes codes to sound, on the CPU, wherever its tables are. These come from
    `fit_speech_codec` or a checkpoint.
    """

    mean: Float[Tensor, " 320"]
    components: Float[Tensor, "64 320"]
    codebook: Float[Tensor, "codes 64"]
    spectra: Float[Tensor, "codes 4 257"]

    def __init__(self, config: TableCodecConfig) -> None:
        super().__init__()
        if config.sample_rate != RATE or config.codes_per_second != RATE / PIECE:
            raise InputError(
                f"given a speech codec of {config.sample_rate} Hz and {config.codes_per_second} codes "
                f"a second; wanted {RATE} Hz and {RATE / PIECE:g}, the only ones there are"
            )
        self.config = config
        self.register_buffer("mean", torch.zeros(_BANDS * FRAMES))
        self.register_buffer("components", torch.zeros(_SIZE, _BANDS * FRAMES))
        self.register_buffer("codebook", torch.zeros(config.num_codes, _SIZE))
        self.register_buffer("spectra", torch.zeros(config.num_codes, FRAMES, BINS))
        self.in_context: InContext | None = None
        if config.context_size:
            self.in_context = InContext(config.num_codes, config.context_size, FRAMES * BINS)

    @property
    def sample_rate(self) -> int:
        """Of the sound it makes, in Hz."""
        return RATE

    @torch.no_grad()
    def encode(self, samples: Float32[np.ndarray, " n"], rate: int) -> Int[Tensor, " codes"]:
        """Codes of a mono sound, 25 a second; the last one's piece is filled up with silence.

        Loudness is lost: sounds are brought to one peak. Raises InputError for no samples.
        """
        mean, components = self.mean.float().cpu(), self.components.float().cpu()
        vectors = (_pieces(at_rate(samples, rate)) - mean) @ components.T
        return nearest(vectors, self.codebook.float().cpu())

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, " codes"] | Sequence[int]) -> Float32[np.ndarray, " n"]:
        """A sound at 16 kHz, 40 ms a code, peak 0.8, fading in and out. Equal codes give equal sounds.

        No codes give 40 ms of silence, since a blank may be left empty. Raises InputError for a code outside
        the table.
        """
        row = self.checked(codes)
        if not row:
            return np.zeros(PIECE, dtype=np.float32)
        phase = torch.rand(BINS, FRAMES * len(row) + 1, generator=torch.Generator().manual_seed(0)).T
        spectrum = self.log_spectrum(row).exp()
        made = griffin_lim(spectrum, phase=phase * 2 * math.pi, iterations=ITERATIONS).numpy()
        sound = faded(made, first=True, last=True)
        peak = max(float(np.abs(sound).max()), 1e-6)
        return np.asarray(sound * (_PEAK / peak), dtype=np.float32)

    def stream(self, *, voice: VoiceSettings | None = None) -> TableStream:
        """The same, code by code: sound comes once five codes are there and three more."""
        self.check_voice(voice or VoiceSettings())
        return TableStream(self)

    def check_voice(self, voice: VoiceSettings) -> None:
        """Raises InputError for any setting: the table has one voice, and no decoder with steps."""
        if given := [name for name, value in vars(voice).items() if value is not None]:
            raise InputError(
                f"the voice was given {', '.join(given)}; this core's is a table of one speaker's sounds,"
                " which has none of these: leave them out"
            )

    def speak_as(self, voice: VoiceSettings) -> None:
        """There is one way only; see `check_voice`."""
        self.check_voice(voice)

    def checked(self, codes: Int[Tensor, " codes"] | Sequence[int]) -> list[int]:
        """The codes as a list. Raises InputError for one outside the table."""
        row: list[int] = torch.as_tensor(codes, dtype=torch.long).flatten().tolist()
        if row and (min(row) < 0 or max(row) >= self.config.num_codes):
            raise InputError(
                f"given speech codes from {min(row)} to {max(row)}; wanted 0 to {self.config.num_codes - 1}"
            )
        return row

    def log_spectrum(self, codes: Sequence[int]) -> Float[Tensor, "frames 257"]:
        """The spectra of one code or more, as they sound beside each other, on the CPU."""
        row = torch.as_tensor(codes)
        joined = self.joined(row)
        if self.in_context is None:
            return joined
        added: Tensor = torch.func.functional_call(self.in_context, on_cpu(self.in_context), row[None])
        return joined + added.reshape(joined.shape)

    def joined(self, codes: Int[Tensor, " n"]) -> Float[Tensor, "frames 257"]:
        """The pieces' spectra side by side, smoothed where they join, on the CPU."""
        return _smoothed(self.spectra.float().cpu()[codes].flatten(0, 1))


def fit_speech_codec(
    sounds: Callable[[], Iterable[Float32[np.ndarray, " n"]]],
    config: TableCodecConfig,
    *,
    rounds: int = 40,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> TableCodec:
    """A codec for the voice of these sounds (16 kHz; `sounds` is called twice and gives the same both times).

    Every word to be spoken must be in them: a word never seen costs two points of word error.
    """
    rng = torch.Generator().manual_seed(seed)
    vectors = torch.cat([_pieces(sound) for sound in sounds()])
    mean = vectors.mean(0)
    _, components = torch.linalg.eigh((vectors - mean).T @ (vectors - mean) / len(vectors))
    codec = TableCodec(config)
    # stored weights are float16: round here, so that codes do not depend on where the tables were loaded from
    codec.mean.copy_(mean.half())
    codec.components.copy_(components.flip(1)[:, :_SIZE].T.half())
    reduced = (vectors - codec.mean) @ codec.components.T
    kept = (
        1
        - (vectors - codec.mean - reduced @ codec.components).square().sum() / (vectors - mean).square().sum()
    )
    report(f"{len(vectors)} pieces; {_SIZE} components keep {kept:.1%}")
    codec.codebook.copy_(_k_means(reduced, config.num_codes, rounds, rng, report).half())
    sums, counts = torch.zeros_like(codec.spectra), torch.zeros(config.num_codes)
    for sound in sounds():
        codes = codec.encode(sound, RATE)
        sums.index_add_(0, codes, log_spectra(sound).reshape(-1, FRAMES, BINS))
        counts.index_add_(0, codes, torch.ones(len(codes)))
    codec.spectra.copy_((sums / counts.clamp(min=1)[:, None, None]).half())
    return codec


def nearest(
    vectors: Float[Tensor, "n size"], codebook: Float[Tensor, "codes size"], *, at_once: int = 8192
) -> Int[Tensor, " n"]:
    """The index of the codebook's nearest row for each vector, the first among equals."""
    half_norm = codebook.square().sum(1) / 2
    return torch.cat([(half_norm - part @ codebook.T).argmin(1) for part in torch.split(vectors, at_once)])


def log_spectra(samples: Float32[np.ndarray, " n"]) -> Float[Tensor, "frames 257"]:
    """Of a sound at 16 kHz, brought to one peak and filled up to whole pieces, every 10 ms."""
    return _spectrum(_levelled(samples)).clamp(min=math.exp(_FLOOR)).log()


def _levelled(samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " m"]:
    """At one peak, and filled up to whole pieces."""
    peak = max(float(np.abs(samples).max()), 1e-4)
    return np.pad(samples * np.float32(_PEAK / peak), (0, -len(samples) % PIECE))


def _spectrum(samples: Float32[np.ndarray, " n"]) -> Float[Tensor, "frames 257"]:
    return transformed(torch.from_numpy(samples)).abs()[:-1]


def _pieces(samples: Float32[np.ndarray, " n"]) -> Float[Tensor, "pieces 320"]:
    """Log-mel magnitudes of each whole 40 ms."""
    mels = _spectrum(_levelled(samples)) @ mel_filters()
    return mels.clamp(min=math.exp(_FLOOR)).log().reshape(-1, FRAMES * _BANDS)


def mel_filters() -> Float[Tensor, "257 80"]:
    """Triangles of weight one in all, evenly spaced on the mel scale from 0 to 8 kHz."""
    edges = 700 * (10 ** (torch.linspace(0, 2595 * math.log10(1 + RATE / 2 / 700), _BANDS + 2) / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, BINS)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    # the lowest triangles are narrower than a bin and may miss every one: they take the nearest bin
    empty = filters.sum(0) == 0
    filters[(bins - edges[1:-1]).abs().argmin(0)[empty], torch.where(empty)[0]] = 1.0
    return filters / filters.sum(0)


def _smoothed(frames: Float[Tensor, "frames bins"]) -> Float[Tensor, "frames bins"]:
    """The last frame of each piece and the first of the next are averaged with their neighbours, 1-2-1."""
    smooth = frames.clone()
    joins = torch.arange(FRAMES, len(frames), FRAMES)
    for places in (joins - 1, joins):
        smooth[places] = (frames[places - 1] + 2 * frames[places] + frames[places + 1]) / 4
    return smooth


def _k_means(
    vectors: Float[Tensor, "n size"],
    count: int,
    rounds: int,
    rng: torch.Generator,
    report: Callable[[str], None],
) -> Float[Tensor, "count size"]:
    """Lloyd's algorithm from random vectors; a centre that lost all its vectors starts again at a random
    one."""
    order = torch.randperm(len(vectors), generator=rng)
    if len(vectors) < count:
        raise InputError(f"given {len(vectors)} pieces of sound for {count} codes; wanted more sound")
    centres = vectors[order[:count]].clone()
    for index in range(rounds):
        chosen = vectors[order[:150_000]] if index < rounds - 3 else vectors
        codes = nearest(chosen, centres)
        sums = torch.zeros_like(centres).index_add_(0, codes, chosen)
        counts = torch.bincount(codes, minlength=count)
        centres = sums / counts.clamp(min=1)[:, None]
        lost = counts == 0
        centres[lost] = vectors[torch.randint(len(vectors), (int(lost.sum()),), generator=rng)]
        if index % 10 == 9:
            error = (chosen - centres[codes]).square().sum() / (chosen - chosen.mean(0)).square().sum()
            report(f"round {index + 1}: {error:.1%} of the variance is lost")
    return centres

"""Teach the speech encoder to hear the world's words, before the core learns to read what it hears.

Connectionist temporal classification (Graves et al. 2006) with whole words as targets: 60 ms frames are too
few for letters, and the world has only some 200 words. Choices are made on sentences of training voices kept
aside; the held-out voices only measure.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16, Int, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from omni_agent.core_model.checkpoints.weights import read_weights
from omni_agent.core_model.config import SpeechEncoderConfig
from omni_agent.core_model.evaluation.scores import word_errors
from omni_agent.core_model.speech_encoder import SpeechEncoder, spelled
from omni_agent.core_model.speech_frontend import FRAME_SIZE, MELS, STACK, STEP, log_mel
from omni_agent.core_model.training.augment import augmented, mel_augmented
from omni_agent.core_model.training.averaging import follow
from omni_agent.core_model.training.speech_corpus import Utterances
from omni_agent.core_model.training.states import State, chance_of, replace_weights

__all__ = [
    "TINY_SPEECH_ENCODER",
    "Listener",
    "Spectrograms",
    "SpeechEncoderRun",
    "listened",
    "load_listener",
    "spectrograms",
    "train_speech_encoder",
]

TINY_SPEECH_ENCODER = SpeechEncoderConfig(
    hidden_size=192, num_heads=4, feed_forward_size=768, num_blocks=5, num_tp_blocks=1
)


@dataclass(frozen=True, kw_only=True)
class Spectrograms:
    """Log-mel spectrograms end to end, 10 ms a row; the i-th lies at starts[i]:starts[i + 1] and says
    texts[i]."""

    mels: Float16[np.ndarray, "rows 80"]
    starts: Int64[np.ndarray, " count+1"]
    texts: tuple[str, ...]
    voices: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def batch(self, indices: Sequence[int]) -> tuple[Float[Tensor, "batch t 80"], Int[Tensor, " batch"]]:
        """The spectrograms padded with their last row, and their true lengths."""
        pieces = [self.mels[self.starts[i] : self.starts[i + 1]] for i in indices]
        lengths = [len(piece) for piece in pieces]
        padded = [np.pad(piece, ((0, max(lengths) - len(piece)), (0, 0)), mode="edge") for piece in pieces]
        return torch.from_numpy(np.stack(padded).astype(np.float32)), torch.tensor(lengths)


def spectrograms(
    utterances: Utterances, indices: Sequence[int], *, copies: int, seed: int = 0, clean: bool = False
) -> Spectrograms:
    """Spectrograms of these utterances, `copies` damaged ones of each (or one as it is, when `clean`),
    shuffled."""
    order = [(turn, index) for turn in range(1 if clean else copies) for index in indices]
    pieces = []
    for turn, index in order:
        rng = np.random.default_rng((seed, turn, index))
        sound = utterances.sound(index)
        pieces.append(log_mel(sound if clean else augmented(sound, rng)).astype(np.float16))
    lines = [utterances.lines[index] for _, index in order]
    return Spectrograms(
        mels=np.concatenate(pieces),
        starts=np.cumsum([0, *map(len, pieces)]).astype(np.int64),
        texts=tuple(line.text for line in lines),
        voices=tuple(line.voice for line in lines),
    )


class Listener(nn.Module):
    """The speech encoder with what normalises its frames, and the words that its recognition head spells."""

    shift: Float[Tensor, " 560"]
    scale: Float[Tensor, " 560"]

    def __init__(self, config: SpeechEncoderConfig, words: Sequence[str]) -> None:
        super().__init__()
        self.words = tuple(words)
        self.encoder = SpeechEncoder(config.model_copy(update={"ctc_size": len(words) + 1}))
        self.num_queries = len(config.query_rows)
        self.register_buffer("shift", torch.zeros(FRAME_SIZE))
        self.register_buffer("scale", torch.ones(FRAME_SIZE))

    def forward(
        self, mels: Float[Tensor, "batch rows 80"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch t words"], Int[Tensor, " batch"]]:
        """Log probabilities of the words at each 60 ms frame, and how many frames each utterance has."""
        hidden, counts = self.hidden(mels, lengths)
        assert self.encoder.ctc is not None
        words = self.encoder.ctc(hidden[:, self.num_queries :])
        return words.float().log_softmax(-1), counts - self.num_queries

    def hidden(
        self, mels: Float[Tensor, "batch rows 80"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch n hidden"], Int[Tensor, " batch"]]:
        """The encoder's states, query rows in front, and how many each utterance has."""
        frames, frame_lengths = _stacked(mels, lengths)
        states = self.encoder((frames + self.shift) * self.scale, frame_lengths)
        return states, frame_lengths + self.num_queries

    def fit_normalisation(self, sample: Spectrograms) -> None:
        """Set shift and scale so that the frames of this sample have mean 0 and spread 1 in every
        dimension."""
        mels = sample.mels[:: max(len(sample.mels) // 200_000, 1)].astype(np.float32)
        self.shift.copy_(torch.from_numpy(-mels.mean(0)).repeat(STACK))
        self.scale.copy_(torch.from_numpy(1 / mels.std(0)).repeat(STACK))

    def targets(self, texts: Sequence[str]) -> tuple[Int[Tensor, " words"], Int[Tensor, " batch"]]:
        """The words of all texts in one row, and how many each has."""
        place = {word: index for index, word in enumerate(self.words, start=1)}
        ids = [[place[word] for word in text.split()] for text in texts]
        return torch.tensor([i for row in ids for i in row]), torch.tensor([len(row) for row in ids])

    def heard(
        self, log_probabilities: Float[Tensor, "batch t words"], lengths: Int[Tensor, " batch"]
    ) -> list[str]:
        """The likeliest words, repeats merged and blanks left out."""
        rows = zip(log_probabilities, lengths.tolist(), strict=True)
        return [" ".join(self.words[each - 1] for each in spelled(row[:length])) for row, length in rows]


@torch.no_grad()
def listened(listener: Listener, spoken: Spectrograms, *, batch: int = 50) -> list[tuple[str, str]]:
    """What was said and what the listener heard, for each utterance."""
    listener.eval()
    pairs = []
    for start in range(0, len(spoken), batch):
        chosen = range(start, min(start + batch, len(spoken)))
        heard = listener.heard(*listener(*spoken.batch(chosen)))
        pairs += [(spoken.texts[i], text) for i, text in zip(chosen, heard, strict=True)]
    return pairs


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderRun:
    """How long and with what the encoder is trained. The defaults are omni-tiny's."""

    config: SpeechEncoderConfig = TINY_SPEECH_ENCODER
    steps: int = 6_000
    batch: int = 48
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    copies: int = 1
    kept_aside: int = 300
    save_every: float = 300.0  # seconds
    seed: int = 0


def train_speech_encoder(
    corpus: Path,
    folder: Path,
    run: SpeechEncoderRun = SpeechEncoderRun(),
    *,
    words: Sequence[str],
    start_from: Path | None = None,
    held_out: dict[str, Path] | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Train on the corpus in a folder and write to another: the encoder and the front end's numbers.

    Goes on where an interrupted run left its state there. Weights written are a running average. `words` are
    what it learns to spell, all of the corpus among them; `start_from` is a folder with what an earlier
    training wrote for the same words; `held_out` names corpora that are measured at every save and never used
    otherwise.

    Raises:
        InputError: there is no corpus, or the state that is there cannot be gone on from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    utterances = Utterances.open(corpus)
    taught = len(utterances) - run.kept_aside
    spoken = _cached(corpus / f"spectrograms-{run.copies}", utterances, taught, run)
    aside = spectrograms(utterances, range(taught, len(utterances)), copies=1, clean=True)
    measured = {name: Utterances.open(path) for name, path in (held_out or {}).items()}
    others = {
        name: spectrograms(other, range(len(other)), copies=1, clean=True) for name, other in measured.items()
    }

    torch.manual_seed(run.seed)
    if start_from is None:
        listener = Listener(run.config, words)
        listener.fit_normalisation(spoken)
    else:
        listener = load_listener(start_from, words, run.config)
    average = copy.deepcopy(listener).eval()
    matrices = [p for p in listener.parameters() if p.ndim > 1]
    vectors = [p for p in listener.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": run.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=run.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, run.steps))
    state = State(
        folder / "speech_encoder.state",
        {"listener": listener, "average": average, "optimiser": optimiser},
        seconds=run.save_every,
    )
    step = state.restore().get("step", 0)
    if step:
        schedule.last_epoch = step
        report(f"going on from step {step}")

    rng = torch.Generator()
    batches = _batches(spoken, run.batch, run.seed, step)
    began = time.monotonic()
    losses: list[float] = []
    if step >= run.steps and state.is_newer_than(folder / "speech_frontend.safetensors"):
        _write(folder, average)
    while step < run.steps:
        listener.train()
        chosen = next(batches)
        mels, lengths = spoken.batch(chosen)
        rng.manual_seed(chance_of(run.seed, step))
        # torch's fused attention takes a third of a step at these short lengths on a CPU; plain products take
        # a tenth
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            log_probabilities, frames = listener(mel_augmented(mels, lengths, rng), lengths)
        targets, target_lengths = listener.targets([spoken.texts[i] for i in chosen])
        loss = functional.ctc_loss(
            log_probabilities.transpose(0, 1),
            targets,
            frames,
            target_lengths,
            reduction="mean",
            zero_infinity=True,
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(listener.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        follow(average.parameters(), listener.parameters(), step=step, decay=0.998)
        losses.append(loss.item())
        step += 1
        if step % 100 == 0:
            seconds = time.monotonic() - began
            report(f"step {step} of {run.steps}, loss {np.mean(losses[-100:]):.3f}, {seconds:.0f} s")
        if step == run.steps or state.due:
            # the state first: where a run starts from what it writes, it must not start from that again
            state.keep(step=step)
            _write(folder, average)
            errors = {name: _word_error(listened(average, each)) for name, each in others.items()}
            errors = {"training voices": _word_error(listened(average, aside)), **errors}
            report("word errors: " + ", ".join(f"{name} {rate:.1%}" for name, rate in errors.items()))


def _word_error(pairs: Sequence[tuple[str, str]]) -> float:
    return word_errors([said for said, _ in pairs], [heard for _, heard in pairs]).value


def load_listener(
    folder: Path, words: Sequence[str], config: SpeechEncoderConfig = TINY_SPEECH_ENCODER
) -> Listener:
    """What `train_speech_encoder` wrote to a folder for these words."""
    listener = Listener(config, words)
    wanted = listener.encoder.state_dict()
    encoder = read_weights(folder / "speech_encoder.safetensors", wanted, "a speech encoder's weights")
    scales = {"shift": listener.shift, "scale": listener.scale}
    listener.load_state_dict(
        {f"encoder.{name}": value for name, value in encoder.items()}
        | read_weights(folder / "speech_frontend.safetensors", scales, "what scales its frames")
    )
    return listener.eval()


def _write(folder: Path, listener: Listener) -> None:
    """Two files, which the core takes."""
    parts: dict[str, dict[str, Tensor]] = {
        "speech_encoder": listener.encoder.state_dict(),
        "speech_frontend": {"shift": listener.shift, "scale": listener.scale},
    }
    for name, tensors in parts.items():
        replace_weights(folder / f"{name}.safetensors", tensors)


def _cached(folder: Path, utterances: Utterances, taught: int, run: SpeechEncoderRun) -> Spectrograms:
    """The damaged copies of the first `taught` utterances, made once: a minute for every 10,000."""
    if not (folder / "starts.npy").exists():
        made = spectrograms(utterances, range(taught), copies=run.copies, seed=run.seed)
        folder.mkdir(exist_ok=True)
        np.save(folder / "mels.npy", made.mels)
        np.save(folder / "starts.new.npy", made.starts)
        (folder / "starts.new.npy").replace(folder / "starts.npy")  # last: it marks the folder finished
    lines = [utterances.lines[i] for _ in range(run.copies) for i in range(taught)]
    return Spectrograms(
        mels=np.load(folder / "mels.npy", mmap_mode="r"),
        starts=np.load(folder / "starts.npy"),
        texts=tuple(line.text for line in lines),
        voices=tuple(line.voice for line in lines),
    )


def _batches(spoken: Spectrograms, size: int, seed: int, first: int) -> Iterator[list[int]]:
    """Endless batches of utterances of similar length, so that little is padding, from the `first` one on.
    Those of an epoch follow from the seed and its number.
    """
    lengths = np.diff(spoken.starts)
    skipped = first
    for epoch in count():
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(spoken))
        pools = [order[i : i + 40 * size] for i in range(0, len(order), 40 * size)]
        batches = []
        for pool in pools:
            ranked = pool[np.argsort(lengths[pool])]
            batches += [ranked[i : i + size].tolist() for i in range(0, len(ranked), size)]
        for index in rng.permutation(len(batches))[skipped:]:
            yield batches[index]
        skipped = max(skipped - len(batches), 0)


def _rate(step: int, steps: int) -> float:
    warm_up = 300
    return min(step / warm_up, 1.0) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))


def _stacked(
    mels: Float[Tensor, "batch rows 80"], lengths: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch t 560"], Int[Tensor, " batch"]]:
    """The front end's stacking for a padded batch: each utterance gets the frames that it gets alone."""
    rows = (lengths + STEP - 1) // STEP
    t = int(rows.max())
    places = torch.arange(t, device=mels.device)[:, None] * STEP
    places = places + torch.arange(STACK, device=mels.device) - (STACK - 1) // 2
    places = places.flatten()[None].clamp(min=0).minimum(lengths[:, None] - 1)
    taken = mels.gather(1, places[..., None].expand(-1, -1, MELS))
    return taken.reshape(len(mels), t, STACK * MELS), rows

"""Teach the speech codec how a code sounds between others; the table and its codes stay as they are.

Nothing else that was trained on the codes has to learn anew. Some codes are not quite those of the sound, as
those that a core says are not either.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from omni_agent.core_model.tokenizers.in_context import InContext
from omni_agent.core_model.tokenizers.table_codec import RATE, TableCodec, log_spectra, mel_filters
from omni_agent.core_model.tokenizers.table_stream import FRAMES
from omni_agent.core_model.training.averaging import follow
from omni_agent.core_model.training.speech_corpus import Utterances
from omni_agent.core_model.training.states import State, chance_of

__all__ = ["InContextRun", "train_in_context"]

_WRONG = 0.06
"""The share of codes that are replaced by one of the `_LIKE` that are most like them."""

_LIKE = 5


@dataclass(frozen=True, kw_only=True)
class InContextRun:
    """One training run; the rate falls in a line over its last two fifths."""

    steps: int = 6_000
    batch: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    save_every: float = 120.0  # seconds
    seed: int = 0


def train_in_context(
    codec: TableCodec,
    utterances: Utterances,
    state_file: Path,
    run: InContextRun = InContextRun(),
    *,
    report: Callable[[str], None] = print,
) -> None:
    """Train what a codec, whose configuration has a context, adds to its table's spectra, in place.

    Args:
        codec: its table is fitted.
        utterances: of the speaking voice.
        state_file: of a run that was cut off, where it goes on from, and which it leaves.
        run: how long and how fast.
        report: told of the progress.

    Raises:
        InputError: the state that is there cannot be gone on from.
    """
    torch.manual_seed(run.seed)
    learner = InContext(codec.config.num_codes, codec.config.context_size, codec.spectra[0].numel())
    average = copy.deepcopy(learner)
    optimiser = torch.optim.AdamW(
        learner.parameters(), lr=run.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    state = State(
        state_file, {"learner": learner, "average": average, "optimiser": optimiser}, seconds=run.save_every
    )
    step = state.restore().get("step", 0)
    if step:
        report(f"going on from step {step}")
    like = torch.cdist(codec.codebook, codec.codebook).topk(_LIKE + 1, largest=False).indices[:, 1:]
    mels = mel_filters()
    losses: list[float] = []
    while step < run.steps:
        for group in optimiser.param_groups:
            group["lr"] = run.learning_rate * _rate(step, run)
        rng = np.random.default_rng(chance_of(run.seed, step))
        chosen = [utterances.sound(int(index)) for index in rng.integers(len(utterances), size=run.batch)]
        spectra = [log_spectra(sound) for sound in chosen]
        codes = [_nearly(codec.encode(sound, RATE), like, rng) for sound in chosen]
        errors = []
        for said, wanted in zip(codes, spectra, strict=True):
            # one by one: padding would be codes beyond the end, where nothing lies
            given = codec.joined(said) + learner(said[None]).reshape(len(said) * FRAMES, -1)
            errors.append(_error(given, wanted, mels))
        loss = torch.cat(errors).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        follow(average.parameters(), learner.parameters(), step=step, decay=0.995)
        losses.append(loss.item())
        step += 1
        if step % 200 == 0:
            report(f"step {step} of {run.steps}, loss {np.mean(losses[-200:]):.3f}")
        if step == run.steps or state.due:
            state.keep(step=step)
    codec.in_context = average


def _rate(step: int, run: InContextRun) -> float:
    return min(1.0, (step + 1) / run.warmup_steps, (run.steps - step) / (0.4 * run.steps))


def _nearly(
    codes: Int[Tensor, " n"], like: Int[Tensor, "codes like"], rng: np.random.Generator
) -> Int[Tensor, " n"]:
    wrong = torch.from_numpy(rng.random(len(codes)) < _WRONG)
    other = like[codes, torch.from_numpy(rng.integers(_LIKE, size=len(codes)))]
    return torch.where(wrong, other, codes)


def _error(
    given: Float[Tensor, "frames 257"], wanted: Float[Tensor, "frames 257"], mels: Float[Tensor, "257 80"]
) -> Float[Tensor, " frames"]:
    """Of each frame, in nepers: of its bins, and of its bands as one hears them."""
    bands = ((given.exp() @ mels).log() - (wanted.exp() @ mels).log()).abs().mean(1)
    return (given - wanted).abs().mean(1) + bands

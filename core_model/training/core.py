"""Training of the small core: one transformer learns to see, hear, answer, speak and draw, all at once.

Pictures and sound come as pools (`pools.py`); the tokenizers and the speech encoder are trained before and
stay as they are. A run that was cut off goes on from its last state, and where it lasts a number of steps it
ends with the weights of one that was left alone: what a step sees and what chance it has follow from the seed
and the step. The learning rate warms up, stays, and decays only at the end of a run that is to ship; the
weights from before the decay are kept to go on from.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from omni_agent.core import Modality
from omni_agent.core_model.checkpoints.weights import read_weights
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.speech_encoder import RecognitionHead
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.training.averaging import follow
from omni_agent.core_model.training.learner import Learner
from omni_agent.core_model.training.masking import PADDING
from omni_agent.core_model.training.mixture import Sources
from omni_agent.core_model.training.samples import KINDS, Batch, Layout, pack
from omni_agent.core_model.training.states import State, chance_of, replace_weights
from omni_agent.core_model.training.untold import untold_words
from omni_agent.core_model.world import Split
from omni_agent.core_model.world.splits import CHOOSING

__all__ = ["CoreTraining", "train_core"]


@dataclass(frozen=True, kw_only=True)
class CoreTraining:
    """How long and how fast. Shares are of samples, not of tokens.

    With `steps` the run ends at that step, counted over all its parts, and decays over the last
    `decay_steps`; else it lasts `minutes` and decays over the last `decay_minutes`.
    """

    minutes: float = 60.0
    decay_minutes: float = 0.0
    steps: int | None = None
    decay_steps: int = 0
    save_seconds: float = 240.0
    rows: int = 32
    length: int = 160
    padding: float = PADDING
    """Of its share, what the padding of a blank is masked at; 1 masks it like anything else."""
    device: str = "cpu"
    workers: int = 1
    """Processes that make batches: one suffices on a CPU, a GPU wants a dozen."""
    learning_rate: float = 5e-4
    muon_learning_rate: float = 0.004
    warmup_steps: int = 150
    compiled: bool = False
    """Compile the layers first: a minute's wait and a C++ compiler, then a third less time a step."""
    seed: int = 0
    splits: tuple[Split, ...] = CHOOSING
    """What the pools show."""
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "look": 0.50,
            "look at crowds": 0.22,
            "look at strangers": 0.16,
            "look at nothing": 0.06,
            "sum": 0.02,
            "draw": 0.95,
            "speak": 0.10,
            "transcribe": 0.16,
            "transcribe jumbled": 0.05,
            "look and listen": 0.16,
            "listen": 0.02,
        }
    )


# Pictures and speech have losses far above those of text, and would drown it.
LOSS_WEIGHTS = {
    Modality.TEXT: 2.0,
    Modality.SPEECH: 1.0,
    Modality.IMAGE: 1.0,
    "objects": 1.0,
    "likes": 1.0,
    "centres": 1.0,
    "numbers": 1.0,
    "presence": 1.0,
    "named": 1.0,
    "phones": 0.5,
    "orders": 0.2,
}


class _Stream(IterableDataset[Batch]):
    """The batches from a step on. Each is made of the seed and its step alone; several workers take turns,
    in the order in which the loader asks them.
    """

    def __init__(self, sources: Sources, training: CoreTraining, first: int) -> None:
        self.sources, self.training, self.first = sources, training, first

    def __iter__(self) -> Iterator[Batch]:
        vocabulary = self.sources.layout.vocabulary
        worker = get_worker_info()
        own, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in count(self.first + own, workers):
            rng = np.random.default_rng((self.training.seed, step))
            units = self.sources.units(rng)
            yield pack(
                units,
                vocabulary,
                rng,
                rows=self.training.rows,
                length=self.training.length,
                padding=self.training.padding,
            )


def _ends_with_its_run(_worker: int) -> None:
    """Has a worker end when its run is gone. torch's own watch ends the worker's loop then, but not the
    worker, where it waits for room in a pipe to hand its batches over.
    """
    run = multiprocessing.parent_process()
    assert run is not None

    def watch() -> None:
        run.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def optimisers(learner: Learner, training: CoreTraining) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the rest."""
    inner = [p for name, p in learner.transformer.named_parameters() if ".layers." in name and p.ndim == 2]
    known = {id(p) for p in inner}
    rest = [p for p in learner.parameters() if id(p) not in known]
    return [
        torch.optim.Muon(inner, lr=training.muon_learning_rate, momentum=0.95, weight_decay=0.01, ns_steps=5),
        torch.optim.AdamW(rest, lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def train_core(
    folder: Path,
    config: CoreConfig,
    tokenizer: TextTokenizer,
    training: CoreTraining,
    *,
    start_from: Path | None = None,
    report: Callable[[str], None] = print,
) -> Learner:
    """Train for some minutes or steps and leave in `folder` the averaged weights as a checkpoint has them
    (`core.safetensors`) and to start another run from (`core_learner.safetensors`, and `core_constant` from
    before the decay), and a state to go on from. `report` gets lines of JSON: mean losses every 100 steps,
    and what one look gets right.

    Raises:
        FileNotFoundError: there are no pools in the folder.
        InputError: they show what is in none of the training's splits, or the state that is there cannot be
            gone on from.
        CheckpointError: `start_from` does not hold a learner's weights; every one that is missing, unexpected
            or of another shape is listed.
    """
    torch.manual_seed(training.seed)
    layout = Layout(config, tokenizer)
    sources = Sources(folder, layout, training.shares, training.length, training.splits)
    sources.check_splits()
    untold = [
        [token for word in words for token in layout.text(word)] for words in untold_words(training.splits)
    ]
    head = _recognition_head(folder, config)
    learner, average = (Learner(config, head, untold).to(training.device) for _ in range(2))
    if start_from is not None:
        learner.load_state_dict(read_weights(start_from, learner.state_dict(), "a learner's weights"))
    average.load_state_dict(learner.state_dict())
    if training.compiled:
        for layer in learner.transformer.model.layers:
            layer.compile(dynamic=False)
    tools = optimisers(learner, training)
    rates = [tool.param_groups[0]["lr"] for tool in tools]
    state = State(
        folder / "core_state.pt",
        {"learner": learner, "average": average, **dict(zip(("muon", "adamw"), tools, strict=True))},
        seconds=training.save_seconds,
    )
    kept = state.restore()
    first = kept.get("step", 0)
    # minutes begin anew in each part of a run, and so does their decay
    decaying = (
        bool(kept.get("decaying", False))
        and training.steps is not None
        and training.steps - first < training.decay_steps
    )
    if first and start_from is not None:
        report(f"going on at step {first} of the state in {folder}; {start_from} is not taken")
    stream = DataLoader(
        _Stream(sources, training, first),
        batch_size=None,
        num_workers=training.workers,
        prefetch_factor=6,
        worker_init_fn=_ends_with_its_run,
    )
    begun = time.monotonic()
    sums_of: dict[str, list[Tensor]] = defaultdict(list)
    step = first
    for step, batch in enumerate(stream, start=first):
        minutes = (time.monotonic() - begun) / 60
        left, decay_over = (
            (training.minutes - minutes, training.decay_minutes)
            if training.steps is None
            else (training.steps - step, training.decay_steps)
        )
        if left <= 0:
            break
        if left < decay_over and not decaying:
            decaying = True
            replace_weights(folder / "core_constant.safetensors", _half(average.state_dict()))
        decay = min(1.0, left / decay_over) if decay_over else 1.0
        for tool, rate in zip(tools, rates, strict=True):
            tool.param_groups[0]["lr"] = (
                rate * min(1.0, (step + 1) / training.warmup_steps) * max(decay, 0.01)
            )
        torch.manual_seed(chance_of(training.seed, step))
        losses = learner(batch)
        total = torch.stack([LOSS_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        for tool in tools:
            tool.zero_grad()
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        for tool in tools:
            tool.step()
        follow(average.parameters(), learner.parameters(), step=step, decay=0.998)
        for name, loss in losses.items():
            sums_of[name].append(loss.detach())
        if step % 100 == 99:
            line = {"step": step + 1, "minutes": round(minutes, 1)}
            report(json.dumps(line | {n: round(torch.stack(v).mean().item(), 3) for n, v in sums_of.items()}))
            sums_of.clear()
        if state.due:
            _keep(folder, average, state, step=step + 1, decaying=decaying)
            report(json.dumps(single_look(average, sources)))
    _keep(folder, average, state, step=step, decaying=decaying)
    report(json.dumps(single_look(average, sources)))
    return average


def _recognition_head(folder: Path, config: CoreConfig) -> RecognitionHead:
    """That of the trained speech encoder; of one that is not there, as random, nothing is asked."""
    ears = config.speech_encoder
    assert ears is not None
    head = RecognitionHead(ears.hidden_size, ears.ctc_size)
    file = folder / "speech_encoder.safetensors"
    if file.exists():
        weights = load_file(file)
        head.load_state_dict({name: weights[f"ctc.{name}"] for name in head.state_dict()})
    return head


def _keep(folder: Path, average: Learner, state: State, **facts: int) -> None:
    """What a run goes on from, then the weights for use."""
    state.keep(**facts)
    for name, weights in {"core": average.weights(), "core_learner": _half(average.state_dict())}.items():
        replace_weights(folder / f"{name}.safetensors", weights)


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half().contiguous() for name, value in state.items()}


@torch.inference_mode()
def single_look(learner: Learner, sources: Sources, seed: int = 1) -> dict[str, float]:
    """For each task, how many masked places a single look at fully masked blanks gets right.

    Text counts whole answers. A lower bound of what decoding reaches; for watching a run.
    """
    right: dict[str, float] = {}
    vocabulary = learner.vocabulary
    learner.eval()
    for name in sources.shares:
        rng = np.random.default_rng(seed)
        batch = pack(sources.units(rng, name), vocabulary, rng, rows=24, length=sources.room, full=True)
        hidden, head = learner.hidden(batch)
        labels = torch.from_numpy(batch.labels)
        row, column = (labels >= 0).nonzero(as_tuple=True)
        modality = KINDS[int(batch.kinds[row[0], column[0]])]
        columns = learner.columns[modality]
        best = (hidden[row, column - 1] @ head[columns].T).argmax(-1)
        hit = columns[best.cpu()] == labels[row, column]
        if modality is Modality.TEXT:
            keys = (batch.group * 10 + batch.part)[row.numpy(), column.numpy()] + row.numpy() * 1_000_000
            whole = [bool(hit[torch.from_numpy(keys == key)].all()) for key in np.unique(keys)]
            right[name] = round(float(np.mean(whole)), 3)
        else:
            right[name] = round(hit[labels[row, column] != vocabulary.end].float().mean().item(), 3)
    learner.train()
    return right

"""Training of the small core: one transformer learns to see, hear, answer, speak and draw, all at once.

Pictures and sound come as pools (`pools.py`); the tokenizers and the speech encoder are trained before and
stay as they are. A run that was cut off goes on from its last state. The learning rate warms up, stays, and
decays only in the last minutes of a run that is to ship; the weights from before the decay are kept to go on
from.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from omni_agent.core import Modality
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.speech_encoder import SpeechProjection
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.training.mixture import Sources
from omni_agent.core_model.training.samples import IGNORED, KINDS, Batch, Layout, pack
from omni_agent.core_model.training.voices import PHONES
from omni_agent.core_model.transformer import Transformer, plain_attention
from omni_agent.core_model.vocabulary import Vocabulary
from omni_agent.core_model.world.crowds import MOST

__all__ = ["CoreTraining", "Learner", "train_core"]


@dataclass(frozen=True, kw_only=True)
class CoreTraining:
    """How long and how fast. Shares are of samples, not of tokens."""

    minutes: float
    decay_minutes: float = 0.0
    rows: int = 32
    length: int = 160
    learning_rate: float = 1.5e-3
    muon_learning_rate: float = 0.015
    warmup_steps: int = 150
    compiled: bool = False
    """Compile the layers first: a minute's wait and a C++ compiler, then a third less time a step."""
    seed: int = 0
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "look": 0.30,
            "look at crowds": 0.14,
            "sum": 0.04,
            "draw": 0.40,
            "speak": 0.14,
            "transcribe": 0.12,
            "look and listen": 0.14,
            "listen": 0.04,
            "draw what is said": 0.04,
        }
    )


class Learner(nn.Module):
    """The weights that training changes. Image codes are built from their bits plus a table of their own, so
    that what is learnt of one code serves its neighbours; `weights` folds the two into plain tables.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.config, self.vocabulary = config, Vocabulary.of(config)
        hidden = config.transformer.hidden_size
        self.transformer = Transformer(config.transformer, plain_attention)
        self.projection = SpeechProjection(config.speech_encoder.hidden_size, hidden)
        bits = config.image_tokenizer.bits
        self.bits_in = nn.Parameter(torch.randn(bits, hidden) * 0.02)
        self.bits_out = nn.Parameter(torch.randn(bits, hidden) * 0.02)
        self.clues = _Clues(hidden)
        codes = torch.arange(2**bits)[:, None]
        self.register_buffer(
            "code_bits", ((codes >> torch.arange(bits - 1, -1, -1)) & 1).float() * 2 - 1, persistent=False
        )
        # Decoding reads a blank's own columns only (the typed reading), so only these are trained.
        self.columns = {modality: self.vocabulary.columns(modality) for modality in KINDS}
        column_of = torch.zeros(len(self.vocabulary), dtype=torch.long)
        for columns in self.columns.values():
            column_of[columns[columns != self.vocabulary.end]] = torch.arange(
                int((columns != self.vocabulary.end).sum())
            )
        self.column_of = column_of
        for name, parameter in self.transformer.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    parameter.data /= (2 * config.transformer.num_layers) ** 0.5

    code_bits: Tensor

    def _table(self, own: Tensor, bits: Tensor) -> Tensor:
        first = self.vocabulary.image.start
        return torch.cat([own[:first], own[first:] + self.code_bits @ bits])

    def tables(self) -> tuple[Tensor, Tensor]:
        """Embeddings and head as they are used."""
        return (
            self._table(self.transformer.model.embed_tokens.weight, self.bits_in),
            self._table(self.transformer.lm_head.weight, self.bits_out),
        )

    def weights(self) -> dict[str, Tensor]:
        """The weights as a model loads them, without what serves training only."""
        embeddings, head = self.tables()
        state = {f"transformer.{name}": value for name, value in self.transformer.state_dict().items()}
        state |= {f"speech_projection.{name}": value for name, value in self.projection.state_dict().items()}
        state["transformer.model.embed_tokens.weight"], state["transformer.lm_head.weight"] = embeddings, head
        return {name: value.detach().contiguous().clone() for name, value in state.items()}

    def hidden(self, batch: Batch) -> tuple[Float[Tensor, "rows n hidden"], Float[Tensor, "vocab hidden"]]:
        """The transformer's output for packed rows, and the head to read it with."""
        states, _, (_, head) = self._states(batch)
        return states[-1], head

    def _states(self, batch: Batch) -> tuple[list[Tensor], Tensor | None, tuple[Tensor, Tensor]]:
        """All hidden states of packed rows, the heard frames as they entered, embeddings and head."""
        ids, group, part = (torch.from_numpy(a) for a in (batch.ids, batch.group, batch.part))
        embeddings, head = self.tables()
        x = F.embedding(ids, embeddings)
        embedded = None
        if len(batch.heard):
            heard, where = torch.from_numpy(batch.heard).float(), torch.from_numpy(batch.heard_at)
            embedded = self.projection(F.pad(heard, (0, 0, 0, -len(heard) % 128)))[: len(heard)].to(x.dtype)
            x = x.flatten(0, 1).index_copy(0, where, embedded).view(x.shape)
        same = group[:, :, None] == group[:, None, :]
        visible = same & ((part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :]))
        states = self.transformer.hidden_states(x, visible[:, None], torch.from_numpy(batch.positions))
        return states, embedded, (embeddings, head)

    def _text_column(self, tokens: Int64[np.ndarray, " n"]) -> Int64[Tensor, " n"]:
        """Where tokens of text, or the end token, stand among the columns of text; IGNORED stays."""
        ids = torch.from_numpy(tokens)
        last = len(self.columns[Modality.TEXT]) - 1
        columns = torch.where(ids == self.vocabulary.end, last, self.column_of[ids.clamp(min=0)])
        return torch.where(ids == IGNORED, IGNORED, columns)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean cross-entropies over the masked places of each modality, and of each clue."""
        labels = torch.from_numpy(batch.labels).flatten()
        masked = (labels >= 0).nonzero()[:, 0]
        kinds = torch.from_numpy(batch.kinds).flatten()[masked]
        losses: dict[str, Tensor] = {}
        with torch.autocast("cpu", torch.bfloat16):
            states, embedded, (embeddings, head) = self._states(batch)
            hidden = states[-1].flatten(0, 1)
            for index, modality in enumerate(KINDS):
                at, real = _rounded_up(masked[kinds == index])
                if not len(at):
                    continue
                columns = self.columns[modality]
                ended = labels[at] == self.vocabulary.end
                wanted = torch.where(ended, len(columns) - 1, self.column_of[labels[at]])
                logits = F.linear(hidden[at - 1], head[columns])
                errors = F.cross_entropy(logits.float(), wanted, reduction="none")
                # Padding is easy and most of a short answer's blank.
                weights = torch.where(ended, 0.15, 1.0) * real
                losses[modality] = (errors * weights).sum() / weights.sum()
            words = embeddings[self.columns[Modality.TEXT]]
            losses |= self.clues(batch, states, embedded, words, self._text_column)
        return losses


class _Clues(nn.Module):
    """What layers inside are asked besides, in training only: steps on the way that the answers alone teach
    far more slowly.

    The word at each heard frame and the object at each place of a picture are read by the words' own
    embeddings, so that a name in a question and what is seen or heard meet in one space; where the objects'
    centres are tells them apart. A layer later the picture is asked how many there are, and the name in the
    question whether it met its like; one more, and it is asked how many of them.
    """

    ORDERS_AFTER, PHONES_AFTER, OBJECTS_AFTER, NUMBERS_AFTER, PRESENCE_AFTER, NAMED_AFTER = 2, 3, 3, 4, 4, 5

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.objects, self.words = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.phones = nn.Linear(hidden, len(PHONES))
        self.centres, self.presence = nn.Linear(hidden, 2), nn.Linear(hidden, 2)
        self.numbers, self.named = nn.Linear(hidden, MOST + 1), nn.Linear(hidden, MOST + 1)
        self.orders = nn.Linear(hidden, 20)

    def forward(
        self,
        batch: Batch,
        states: list[Tensor],
        embedded: Tensor | None,
        words: Float[Tensor, "words hidden"],
        text_column: Callable[[Int64[np.ndarray, " n"]], Int64[Tensor, " n"]],
    ) -> dict[str, Tensor]:
        """Mean cross-entropies of what the batch asks."""
        centres, numbers, named, phones = (
            torch.from_numpy(each).flatten()
            for each in (batch.centres, batch.numbers, batch.named, batch.phones)
        )
        flat = [state.flatten(0, 1) for state in states]
        seen = flat[self.OBJECTS_AFTER - 1]
        losses = {
            "objects": _clue(seen, text_column(batch.objects.flatten()), lambda x: self.objects(x) @ words.T),
            "centres": _clue(seen, centres, self.centres),
            "numbers": _clue(flat[self.NUMBERS_AFTER - 1], numbers, self.numbers),
            "presence": _clue(flat[self.PRESENCE_AFTER - 1], named.clamp(max=1), self.presence),
            "named": _clue(flat[self.NAMED_AFTER - 1], named, self.named),
            "phones": _clue(flat[self.PHONES_AFTER - 1], phones, self.phones),
        }
        if embedded is not None:
            at = torch.from_numpy(batch.heard_at)
            ordered = flat[self.ORDERS_AFTER - 1][at]
            losses["words"] = _clue(embedded, text_column(batch.words), lambda x: self.words(x) @ words.T)
            losses["orders"] = _clue(ordered, torch.from_numpy(batch.orders), self.orders)
        return {name: loss for name, loss in losses.items() if loss is not None}


def _clue(states: Tensor, wanted: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor | None:
    """The mean cross-entropy where something is wanted; None where nothing is."""
    at, real = _rounded_up((wanted >= 0).nonzero()[:, 0])
    if not len(at):
        return None
    x = states[at].float()
    logits = read(F.rms_norm(x, x.shape[-1:]))
    errors = F.cross_entropy(logits.float(), wanted[at], reduction="none")
    return (errors * real).sum() / real.sum()


def _rounded_up(at: Int64[Tensor, " places"], step: int = 128) -> tuple[Tensor, Tensor]:
    """The places and 1.0 for each, filled up to a round number with repeats that count 0.0.

    Every new matrix shape costs a CPU kernel and memory that is never given back; round shapes come again.
    """
    extra = -len(at) % step
    real = torch.cat([torch.ones(len(at)), torch.zeros(extra)])
    return torch.cat([at, at[:1].expand(extra)]), real


# Pictures and speech have losses far above those of text, and would drown it.
LOSS_WEIGHTS = {
    Modality.TEXT: 2.0,
    Modality.SPEECH: 1.0,
    Modality.IMAGE: 1.0,
    "objects": 1.0,
    "centres": 0.5,
    "numbers": 1.0,
    "presence": 1.0,
    "named": 1.0,
    "phones": 0.5,
    "words": 0.2,
    "orders": 0.2,
}


class _Stream(IterableDataset[Batch]):
    def __init__(self, sources: Sources, training: CoreTraining, seed: int) -> None:
        self.sources, self.training, self.seed = sources, training, seed

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        units, vocabulary = self.sources.units(rng), self.sources.layout.vocabulary
        while True:
            yield pack(units, vocabulary, rng, rows=self.training.rows, length=self.training.length)


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
    """Train for some minutes and leave `core.safetensors` (averaged weights) and a state to go on from in
    `folder`. `report` gets lines of JSON: mean losses every 100 steps, and what one look gets right.
    """
    torch.manual_seed(training.seed)
    layout = Layout(config, tokenizer)
    sources = Sources(folder, layout, training.shares, training.length)
    learner, average = Learner(config), Learner(config)
    if start_from is not None:
        learner.load_state_dict(load_file(start_from))
    average.load_state_dict(learner.state_dict())
    if training.compiled:
        for layer in learner.transformer.model.layers:
            layer.compile(dynamic=False)
    tools = optimisers(learner, training)
    rates = [tool.param_groups[0]["lr"] for tool in tools]
    first, state_file = 0, folder / "core_state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        learner.load_state_dict(state["learner"])
        average.load_state_dict(state["average"])
        for tool, saved_tool in zip(tools, state["tools"], strict=True):
            tool.load_state_dict(saved_tool)
        first = state["step"]
    stream = DataLoader(
        _Stream(sources, training, training.seed + first), batch_size=None, num_workers=1, prefetch_factor=6
    )
    begun = saved = time.monotonic()
    sums_of: dict[str, list[float]] = defaultdict(list)
    constant_kept = False
    for step, batch in enumerate(stream, start=first):
        minutes = (time.monotonic() - begun) / 60
        if minutes >= training.minutes:
            break
        left = training.minutes - minutes
        if left < training.decay_minutes and not constant_kept:
            constant_kept = True
            save_file(_half(average.state_dict()), folder / "core_constant.safetensors")
        decay = min(1.0, left / training.decay_minutes) if training.decay_minutes else 1.0
        for tool, rate in zip(tools, rates, strict=True):
            tool.param_groups[0]["lr"] = (
                rate * min(1.0, (step - first + 1) / training.warmup_steps) * max(decay, 0.01)
            )
        losses = learner(batch)
        total = torch.stack([LOSS_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        for tool in tools:
            tool.zero_grad()
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        for tool in tools:
            tool.step()
        keep = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(learner.parameters()), 1 - keep)
        for name, loss in losses.items():
            sums_of[name].append(loss.item())
        if step % 100 == 99:
            line = {"step": step + 1, "minutes": round(minutes, 1)}
            report(json.dumps(line | {n: round(float(np.mean(v)), 3) for n, v in sums_of.items()}))
            sums_of.clear()
        if time.monotonic() - saved > 240:
            saved = time.monotonic()
            _keep(folder, learner, average, tools, step + 1)
            report(json.dumps(single_look(average, sources)))
    _keep(folder, learner, average, tools, step)
    report(json.dumps(single_look(average, sources)))
    return average


def _keep(
    folder: Path, learner: Learner, average: Learner, tools: Sequence[torch.optim.Optimizer], step: int
) -> None:
    new = folder / "core_state.new"
    state = {"learner": learner.state_dict(), "average": average.state_dict(), "step": step}
    torch.save(state | {"tools": [tool.state_dict() for tool in tools]}, new)
    new.replace(folder / "core_state.pt")
    save_file(average.weights(), folder / "core.new.safetensors")
    (folder / "core.new.safetensors").replace(folder / "core.safetensors")


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
        hit = columns[(hidden[row, column - 1] @ head[columns].T).argmax(-1)] == labels[row, column]
        if modality is Modality.TEXT:
            keys = (batch.group * 10 + batch.part)[row.numpy(), column.numpy()] + row.numpy() * 1_000_000
            whole = [bool(hit[torch.from_numpy(keys == key)].all()) for key in np.unique(keys)]
            right[name] = round(float(np.mean(whole)), 3)
        else:
            right[name] = round(hit[labels[row, column] != vocabulary.end].float().mean().item(), 3)
    learner.train()
    return right

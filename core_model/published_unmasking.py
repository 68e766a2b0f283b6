"""The published unmasking rules, step for step (`generation_utils.py` of Omni-Diffusion and Dream).

Every column of the vocabulary is read at every masked place of every block, confidence is taken after
truncation and penalties, and equals fall as `torch.topk` lets them. The arithmetic is written down in
`tests/golden/core/README.md`. The reading of typed blanks is `unmasking.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from omni_agent.core import ALGORITHMS, Algorithm
from omni_agent.errors import InputError

__all__ = ["BlockStep", "Committed", "PublishedRule", "commit", "schedule"]

# The position penalty begins behind so many masked places.
UNPENALISED = 100
EPSILON = 1e-10
# How far a sum of probabilities may be from top_p for rounding to decide, with much to spare.
NEXT_TO = 1e-4


@dataclass(frozen=True, kw_only=True)
class PublishedRule:
    """How a blank is filled, in the published names' sense.

    Attributes:
        algorithm: how sure a place is: the candidate's probability (`maskgit_plus`), its lead over the second
            (`topk_margin`), the negative entropy (`entropy`, and `entropy-penalty`, which also weakens what
            stands in the blank already); `origin` takes places by chance, of whatever block, and is done
            when the first block is.
        num_steps: denoising steps for the whole blank; no more than it has places.
        block_length: places that are denoised before the next ones; None takes the blank as one block.
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        top_p: the share of probability that is kept, in (0, 1]; the first token above it stays.
        top_k: tokens kept after that; 0 keeps all.
        repeat_penalty: weakens every token that stands in the blank already; `entropy-penalty` only.
        max_position_penalty: weakens all tokens of late masked places: evenly more from the 101st, by
            nothing, to behind the last, by this.
    """

    algorithm: Algorithm = "entropy"
    num_steps: int = 64
    block_length: int | None = None
    temperature: float = 0.0
    top_p: float = 0.9
    top_k: int = 50
    repeat_penalty: float = 1.0
    max_position_penalty: float = 1.0

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return self.algorithm == "origin" or self.temperature > 0

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise InputError(f"the algorithm was {self.algorithm!r}; wanted one of {', '.join(ALGORITHMS)}")
        for name, least in (("num_steps", 1), ("block_length", 1), ("top_k", 0), ("temperature", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} was {value}; wanted {least} or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p was {self.top_p}; wanted a share above 0, at most 1")
        for name in ("repeat_penalty", "max_position_penalty"):
            if getattr(self, name) <= 0:
                raise InputError(
                    f"{name} was {getattr(self, name)}; wanted a number above 0 (1 changes nothing)"
                )


@dataclass(frozen=True, kw_only=True)
class BlockStep:
    """One denoising step: the block's places, counted from the blank's start, and the share of those still
    masked that commit; all of them in a block's last step.
    """

    start: int
    stop: int
    share: float
    last: bool

    def count(self, masked: int) -> int:
        """How many of so many masked places of the block commit, in float32 as published: at least one, which
        is one of a later block where this one has none.
        """
        if self.last:
            return masked
        return max(1, int(np.float32(masked) * np.float32(self.share)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Committed:
    """What a denoising step decided.

    Attributes:
        places: counted from the blank's start.
        tokens: their ids; the mask token's, where that is what the model would have there.
        sure: the probability of each, after truncation and penalties.
    """

    places: Int[Tensor, " count"]
    tokens: Int[Tensor, " count"]
    sure: Float[Tensor, " count"]

    def put_into(self, blank: Int[Tensor, " length"]) -> Int[Tensor, " length"]:
        """The blank with what was decided in its places."""
        return blank.index_copy(0, self.places, self.tokens)


def schedule(rule: PublishedRule, length: int) -> list[BlockStep]:
    """The steps for a blank of `length` places, at least 1.

    As published, a block whose share of the steps is below one gets none, and stays masked.
    """
    block_length = min(rule.block_length or length, length)
    num_steps = min(rule.num_steps, length)
    steps: list[BlockStep] = []
    for start in range(0, length, block_length):
        stop = min(start + block_length, length)
        count = int(np.float32(stop - start) / np.float32(length) * np.float32(num_steps))
        times = torch.linspace(1, 1e-3, count + 1)
        shares = (1 - times[1:] / times[:-1]).tolist()
        steps += [
            BlockStep(start=start, stop=stop, share=share, last=index == count - 1)
            for index, share in enumerate(shares)
        ]
    return steps


def commit(
    rule: PublishedRule,
    step: BlockStep,
    blank: Int[Tensor, " length"],
    logits: Float[Tensor, "masked vocab"],
    *,
    mask: int,
    first: bool,
    generator: torch.Generator | None = None,
) -> Committed:
    """What one denoising step puts into the blank.

    Args:
        rule: how.
        step: of `schedule`.
        blank: ids, with `mask` at masked places, of which there is one at least.
        logits: one row for every masked place of the blank, in order, of this block or not.
        mask: the mask token's id.
        first: whether this is the first step of all: tokens that were there before it are not penalised.
        generator: source of chance for a rule that draws, on the device of the logits.

    Raises:
        ValueError: the rule draws, and there is nothing to draw from.
    """
    if rule.draws and generator is None:
        raise ValueError(f"{rule.algorithm} at temperature {rule.temperature} wants a generator to draw with")
    places = (blank == mask).nonzero()[:, 0]
    if rule.algorithm == "origin":
        chance = torch.rand(places.shape, generator=generator, device=logits.device)
        chosen = ((chance < step.share) | step.last).nonzero()[:, 0]
        # Only what is taken is looked at: the position penalty counts these places.
        places, logits = places[chosen], logits[chosen]
    if rule.temperature > 0:
        logits = logits / rule.temperature
    logits = _kept(logits, rule.top_p, rule.top_k)
    if rule.algorithm == "entropy-penalty" and not first:
        logits = _without_repeats(logits, blank, rule.repeat_penalty, mask)
    logits = _penalised_by_position(logits, rule.max_position_penalty)
    probabilities = logits.softmax(-1)
    if rule.temperature > 0:
        tokens = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        sure = probabilities.gather(-1, tokens[:, None])[:, 0]
    else:
        sure, tokens = probabilities.max(-1)
    if rule.algorithm != "origin":
        inside = (places >= step.start) & (places < step.stop)
        confidence = _confidence(rule.algorithm, probabilities, sure).masked_fill(~inside, -torch.inf)
        chosen = confidence.topk(step.count(int(inside.sum()))).indices
        places, tokens, sure = places[chosen], tokens[chosen], sure[chosen]
    return Committed(places=places, tokens=tokens.to(blank.dtype), sure=sure)


def _kept(logits: Float[Tensor, "m vocab"], top_p: float, top_k: int) -> Float[Tensor, "m vocab"]:
    """The rest at the lowest number there is: no probability is left, and penalties apply as to any."""
    if logits.dtype is not torch.float32 or top_p == 1 or not 0 < top_k < logits.shape[-1]:
        return _kept_by_sorting(logits, top_p, top_k)
    # Who is kept is among the top_k, so nothing has to be sorted: at the published vocabulary, on a CPU, that
    # takes 27 times as long.
    highest = logits.topk(top_k + 1).values
    best = highest[:, :1]  # taken away first: sums of large numbers round coarsely
    shares = (highest - best - (logits - best).logsumexp(-1, keepdim=True)).exp().cumsum(-1)
    count = 1 + (shares[:, :-1] <= top_p).sum(-1, keepdim=True).clamp(max=top_k - 1)
    last, next_one = highest.gather(-1, count - 1), highest.gather(-1, count)
    kept = logits.masked_fill(logits < last, torch.finfo(logits.dtype).min)
    # Where equals lie on both sides of the border, or rounding says on which side of top_p a sum is, sorting
    # decides.
    unsure = (last == next_one)[:, 0] | ~((shares - top_p).abs() >= NEXT_TO).all(-1)  # also what is no number
    if unsure.any():
        kept[unsure] = _kept_by_sorting(logits[unsure], top_p, top_k)
    return kept


def _kept_by_sorting(logits: Float[Tensor, "m vocab"], top_p: float, top_k: int) -> Float[Tensor, "m vocab"]:
    """As the published code does it."""
    lowest = torch.finfo(logits.dtype).min
    if top_p < 1:
        ordered, where = logits.sort(dim=-1, descending=True)
        beyond = ordered.softmax(-1).cumsum(-1) > top_p
        beyond = torch.cat([torch.zeros_like(beyond[:, :1]), beyond[:, :-1]], -1)
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, where, beyond), lowest)
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], lowest)
    return logits


def _without_repeats(
    logits: Float[Tensor, "m vocab"], blank: Int[Tensor, " length"], penalty: float, mask: int
) -> Float[Tensor, "m vocab"]:
    """Every token of the blank weakened, except the mask and, as published, the token 0."""
    there = torch.unique(blank)
    there = there[(there != 0) & (there != mask)]
    return logits.index_copy(-1, there, _weakened(logits[:, there], penalty))


def _penalised_by_position(logits: Float[Tensor, "m vocab"], most: float) -> Float[Tensor, "m vocab"]:
    beyond = len(logits) - UNPENALISED
    if most == 1 or beyond <= 0:
        return logits
    penalties = torch.arange(beyond, dtype=torch.float64) / beyond * (most - 1) + 1
    late = _weakened(logits[UNPENALISED:], penalties[:, None].to(logits))
    return torch.cat([logits[:UNPENALISED], late])


def _weakened(logits: Float[Tensor, "m n"], by: float | Float[Tensor, "m 1"]) -> Float[Tensor, "m n"]:
    return torch.where(logits < 0, logits * by, logits / by)


def _confidence(
    algorithm: Algorithm, probabilities: Float[Tensor, "m vocab"], sure: Float[Tensor, " m"]
) -> Float[Tensor, " m"]:
    match algorithm:
        case "topk_margin":
            first, second = probabilities.topk(2).values.unbind(-1)
            return first - second
        case "entropy" | "entropy-penalty":
            if probabilities.dtype is torch.float16:
                probabilities = probabilities.float()  # float16 has no number as small as the epsilon
            return (probabilities * (probabilities + EPSILON).log()).sum(-1)
        case _:
            return sure

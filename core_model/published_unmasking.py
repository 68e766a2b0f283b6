"""The published unmasking rules, step for step (`generation_utils.py` of Omni-Diffusion and Dream).

Every column of the vocabulary is read at every masked place of every block, confidence is taken after
truncation and penalties, and equals fall as `torch.topk` lets them. The arithmetic is written down in
`tests/golden/core/README.md`. The reading of typed blanks is `unmasking.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from omni_agent.core import ALGORITHMS, Algorithm
from omni_agent.core_model.candidates import Candidates, kept
from omni_agent.core_model.noise import gumbel, uniform
from omni_agent.core_model.schedule import BlockStep, Reading
from omni_agent.errors import InputError

__all__ = [
    "UNPENALISED",
    "PublishedRule",
    "candidates",
    "committing",
    "late_weakened",
    "reading",
    "taken",
    "weakened",
]

# The position penalty begins behind so many masked places.
UNPENALISED = 100
EPSILON = 1e-10


@dataclass(frozen=True, kw_only=True)
class PublishedRule:
    """How a blank is filled, in the published names' sense.

    Attributes:
        algorithm: how sure a place is: the candidate's probability (`maskgit_plus`), its lead over the second
            (`topk_margin`), the negative entropy (`entropy`, and `entropy-penalty`, which also weakens what
            stands in the blank already); `origin` takes places by chance, of whatever block, and is done
            when the first block is.
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        top_p: the share of probability that is kept, in (0, 1]; the first token above it stays.
        top_k: tokens kept after that; 0 keeps all.
        repeat_penalty: weakens every token that stands in the blank already; `entropy-penalty` only.
        max_position_penalty: weakens all tokens of late masked places: evenly more from the 101st, by
            nothing, to behind the last, by this.
    """

    algorithm: Algorithm = "entropy"
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
        for name in ("top_k", "temperature"):
            if (value := getattr(self, name)) < 0:
                raise InputError(f"{name} was {value}; wanted 0 or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p was {self.top_p}; wanted a share above 0, at most 1")
        for name in ("repeat_penalty", "max_position_penalty"):
            if getattr(self, name) <= 0:
                raise InputError(
                    f"{name} was {getattr(self, name)}; wanted a number above 0 (1 changes nothing)"
                )


def reading(
    rule: PublishedRule,
    step: BlockStep,
    blank: Int[Tensor, " length"],
    *,
    mask: int,
    key: int | None = None,
) -> Reading:
    """Which places a step looks at: the masked ones of its block; of any, where the block has none left.

    `origin` takes places by chance, of whatever block, and only what is taken is looked at.

    Args:
        rule: how the blank is filled.
        step: of `schedule`.
        blank: ids, with `mask` at masked places, of which there is one at least.
        mask: the mask token's id.
        key: seed of this step, for a rule that draws.

    Raises:
        ValueError: the rule draws, and there is no key to draw with.
    """
    if rule.draws and key is None:
        raise ValueError(f"{rule.algorithm} at temperature {rule.temperature} wants a key to draw with")
    places = (blank == mask).nonzero()[:, 0]
    if rule.algorithm != "origin":
        return Reading.of(step, places)
    assert key is not None
    if not step.last:
        places = places[uniform(key, places, _TAKEN) < step.share]
    # the position penalty counts what is taken
    ranks = torch.arange(len(places), device=places.device)
    return Reading(places=places, ranks=ranks, masked=len(places), inside=len(places))


def candidates(
    rule: PublishedRule,
    logits: Float[Tensor, "m vocab"],
    blank: Int[Tensor, " length"],
    read: Reading,
    *,
    mask: int,
    first: bool,
    key: int | None = None,
) -> Candidates:
    """What the places of a reading, or of a part of one, would take, after truncation and penalties.

    Args:
        rule: how the blank is filled.
        logits: one row a place.
        blank: ids before this step.
        read: which places they are.
        mask: the mask token's id, which may be what a place would take.
        first: whether this is the first step of all: tokens that were there before it are not penalised.
        key: seed of this step, for a rule that draws.
    """
    values, columns = kept(logits, rule.top_p, rule.top_k, rule.temperature)
    if rule.algorithm == "entropy-penalty" and not first:
        values = _without_repeats(values, columns, blank, rule.repeat_penalty, mask, logits.shape[-1])
    values = _penalised_by_position(values, read, rule.max_position_penalty)
    return taken(rule, values, columns, read.places, key)


def taken(
    rule: PublishedRule,
    values: Float[Tensor, "m k"],
    columns: Int[Tensor, "m k"],
    places: Int[Tensor, " m"],
    key: int | Int[Tensor, "m 1"] | None,
) -> Candidates:
    """What places take of what is kept, after penalties.

    Args:
        rule: how the blank is filled.
        values: logits that are kept, in float32.
        columns: of which tokens.
        places: counted from the blank's start.
        key: seed of this step, for a rule that draws.
    """
    probabilities = values.softmax(-1)
    if rule.temperature > 0:
        assert key is not None
        drawn = (values + gumbel(key, places[:, None], columns)).argmax(-1, keepdim=True)
    else:
        drawn = probabilities.argmax(-1, keepdim=True)
    sure = probabilities.gather(-1, drawn)[:, 0]
    return Candidates(
        tokens=columns.gather(-1, drawn)[:, 0],
        sure=sure,
        score=_confidence(rule.algorithm, probabilities, sure),
    )


def committing(rule: PublishedRule, step: BlockStep, read: Reading, score: Float[Tensor, " m"]) -> Tensor:
    """Which of the places read commit in a step, as indices into them: the surest of the step's block, and
    equals as `torch.topk` lets them fall among all masked places.
    """
    if rule.algorithm == "origin":
        return torch.arange(len(score), device=score.device)
    everywhere = score.new_full((read.masked,), -torch.inf)
    if read.inside:
        everywhere[read.ranks] = score
    chosen = everywhere.topk(step.count(read.inside)).indices
    return torch.searchsorted(read.ranks, chosen)


_TAKEN = -1
"""Where chance is not about a token."""


def _without_repeats(
    values: Float[Tensor, "m k"],
    columns: Int[Tensor, "m k"],
    blank: Int[Tensor, " length"],
    penalty: float,
    mask: int,
    vocab: int,
) -> Float[Tensor, "m k"]:
    """Every token of the blank weakened, except the mask and, as published, the token 0."""
    there = torch.zeros(vocab, dtype=torch.bool, device=columns.device)
    there[blank] = True
    there[0] = there[mask] = False
    return torch.where(there[columns], weakened(values, penalty), values)


def _penalised_by_position(values: Float[Tensor, "m k"], read: Reading, most: float) -> Float[Tensor, "m k"]:
    beyond = read.masked - UNPENALISED
    if most == 1 or beyond <= 0:
        return values
    return late_weakened(values, read.ranks, beyond, most)


def late_weakened(
    values: Float[Tensor, "m k"], ranks: Int[Tensor, " m"], beyond: int | Int[Tensor, " m"], most: float
) -> Float[Tensor, "m k"]:
    """Late masked places weakened, evenly more up to the factor `most`.

    Args:
        values: a row a place.
        ranks: of each, how many masked places are before it.
        beyond: masked places that are more than go unpenalised, one at least.
        most: the factor behind the last place.
    """
    penalties = 1 + (ranks - UNPENALISED).clamp(min=0).double() / beyond * (most - 1)
    return weakened(values, penalties[:, None].to(values))


def weakened(logits: Float[Tensor, "m n"], by: float | Float[Tensor, "m 1"]) -> Float[Tensor, "m n"]:
    """Less likely by a factor, whatever the sign."""
    return torch.where(logits < 0, logits * by, logits / by)


def _confidence(
    algorithm: Algorithm, probabilities: Float[Tensor, "m k"], sure: Float[Tensor, " m"]
) -> Float[Tensor, " m"]:
    match algorithm:
        case "topk_margin":
            first, second = probabilities.topk(2).values.unbind(-1)
            return first - second
        case "entropy" | "entropy-penalty":
            return (probabilities * (probabilities + EPSILON).log()).sum(-1)
        case _:
            return sure

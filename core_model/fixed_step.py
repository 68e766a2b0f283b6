"""A denoising step of fixed shape: a function of tensors that looks at none of them on the host.

It commits the tokens that `denoising.advance` commits. That one takes what is there and no more, so its
shapes follow from what is masked; here every shape is known before, and what is too much is hidden or not
taken. So on CUDA the step is captured once and played again (`captured.py`), and nothing waits in it.

Two things it cannot decide, as shapes or `torch.topk` would have to follow from what it finds: whom
truncation keeps where equals or rounding decide, and which of equally sure places commit in the published
reading, unless the device is known to take the first of equals. Then it says that it is in *doubt*, and
nothing it left is to be used.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from omni_agent.core_model.attention import KeysValues
from omni_agent.core_model.candidates import Candidates, kept_unless_unsure, tiles
from omni_agent.core_model.fixed_shape import NUMBERS, Blank, FixedShape, Inputs
from omni_agent.core_model.looking import guided_head
from omni_agent.core_model.parts import Parts
from omni_agent.core_model.published_unmasking import (
    UNPENALISED,
    PublishedRule,
    late_weakened,
    taken,
    weakened,
)
from omni_agent.core_model.typed_unmasking import typed

__all__ = ["fixed_step"]


def fixed_step(parts: Parts, inputs: Inputs) -> UInt8[Tensor, "rows bytes"]:
    """The blanks after one step, as `fixed_shape.Blank` reads them."""
    shape, numbers = inputs.shape, {name: inputs.numbers[at, :, None] for at, name in enumerate(NUMBERS)}
    blank = Blank.of(inputs.blank, shape.blank)
    places = torch.arange(shape.blank, device=inputs.numbers.device)
    block = blank.masked & (places >= numbers["start"]) & (places < numbers["stop"])
    # masked places of the block first, all of them ascending: a gather of fixed capacity
    order = (~block).int().sort(dim=-1, stable=True).indices[:, : shape.places]
    valid = block.gather(1, order)
    found, unsure = _candidates(parts, inputs, numbers, blank, order, valid)
    score = found.score.view_as(order).masked_fill(~valid, -torch.inf)
    ranked = score.sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(shape.places, device=order.device).expand_as(order)
    among = torch.zeros_like(order).scatter(1, ranked.indices, ranks)
    chosen = valid & (among < numbers["count"])
    tokens, sure = found.tokens.view_as(order), found.sure.view_as(order)

    data = torch.empty_like(inputs.blank)
    after = Blank.of(data, shape.blank)
    ids = blank.ids.scatter(1, order, torch.where(chosen, tokens, blank.ids.gather(1, order)))
    masked = blank.masked.scatter(1, order, blank.masked.gather(1, order) & ~chosen)
    would = blank.tokens.scatter(1, order, torch.where(valid, tokens, blank.tokens.gather(1, order)))
    after.ids.copy_(ids)
    after.tokens.copy_(torch.where(masked, would, ids))
    after.committed.copy_(torch.where(blank.masked & ~masked, numbers["step"], blank.committed))
    after.sure.copy_(blank.sure.scatter(1, order, torch.where(valid, sure, blank.sure.gather(1, order))))
    after.masked.copy_(masked)
    doubt = (unsure.view_as(valid) & valid).any(-1, keepdim=True)
    if isinstance(shape.rule, PublishedRule):
        doubt |= (chosen & (tokens == parts.vocabulary.mask)).any(-1, keepdim=True)  # it stays masked
        if not inputs.first_of_equals:
            doubt |= _tied(ranked.values, numbers["count"], valid)
    after.doubt.copy_(doubt)
    return data


def _candidates(
    parts: Parts,
    inputs: Inputs,
    numbers: dict[str, Int[Tensor, "rows 1"]],
    blank: Blank,
    order: Int[Tensor, "rows places"],
    valid: Bool[Tensor, "rows places"],
) -> tuple[Candidates, Bool[Tensor, " m"]]:
    """What each place would take, one row of the call after the other, and where that is unsure."""
    shape, rule = inputs.shape, inputs.shape.rule
    hidden = _hidden(parts, inputs, numbers, blank, order, with_prompt=True)
    without = _hidden(parts, inputs, numbers, blank, order, with_prompt=False) if shape.without else None
    places = order.flatten()

    def each(name: str) -> Int[Tensor, " m"]:
        return numbers[name].expand_as(order).flatten()

    keys, order_keys = each("token_key"), each("order_key")
    masked = blank.masked.sum(-1, keepdim=True)
    beyond = (masked - UNPENALISED).clamp(min=1).expand_as(order).flatten()
    ranks = (blank.masked.cumsum(-1) - blank.masked.long()).gather(1, order).flatten()
    repeats = _repeats(parts, shape, blank, numbers["first"])
    row_of = torch.arange(shape.rows, device=order.device)[:, None].expand_as(order).flatten()
    found: list[Candidates] = []
    unsure: list[Tensor] = []
    published = isinstance(rule, PublishedRule)
    columns = parts.config.transformer.vocab_size if published else len(inputs.ids)
    for rows in tiles(len(places), columns):
        its_without = None if without is None else without[rows]
        logits = guided_head(parts, rule, shape.modality, hidden[rows], its_without, shape.guidance_scale)
        if not isinstance(rule, PublishedRule):
            found.append(
                typed(
                    rule,
                    shape.modality,
                    logits,
                    places[rows],
                    inputs.ids,
                    keys[rows, None],
                    order_key=order_keys[rows],
                )
            )
            unsure.append(torch.zeros_like(valid.flatten()[rows]))
            continue
        values, where, doubtful = kept_unless_unsure(logits, rule.top_p, rule.top_k, rule.temperature)
        if repeats is not None:
            again = repeats[row_of[rows, None], where]
            values = torch.where(again, weakened(values, rule.repeat_penalty), values)
        if rule.max_position_penalty != 1:
            values = late_weakened(values, ranks[rows], beyond[rows], rule.max_position_penalty)
        found.append(taken(rule, values, where, places[rows], keys[rows, None]))
        unsure.append(doubtful)
    return Candidates.joined(found), torch.cat(unsure)


def _hidden(
    parts: Parts,
    inputs: Inputs,
    numbers: dict[str, Int[Tensor, "rows 1"]],
    blank: Blank,
    order: Int[Tensor, "rows places"],
    *,
    with_prompt: bool,
) -> Float[Tensor, "m hidden"]:
    """The hidden state that each place is read from: of the position to its left."""
    shape = inputs.shape
    row, length, begin = (
        (inputs.row, numbers["length"], numbers["blank"])
        if with_prompt
        else (inputs.without, numbers["without"], numbers["plain_blank"])
    )
    positions = torch.arange(row.shape[1], device=row.device)
    place = positions - begin
    inside = (place >= 0) & (place < numbers["places"])
    ids = blank.ids.gather(1, place.clamp(0, shape.blank - 1))
    embeddings = torch.where(inside[..., None], parts.transformer.embed(ids), row)
    sees = positions < length
    past: list[KeysValues] = []
    if with_prompt and shape.past:
        before = torch.arange(shape.past, device=row.device) < numbers["past"]
        sees = torch.cat([before, sees], 1)
        past = [KeysValues(*each) for each in zip(inputs.keys, inputs.values, strict=True)]
        positions = positions + numbers["past"]
    else:
        positions = positions.expand_as(place)
    mask = sees[:, None, None, :].expand(-1, 1, row.shape[1], -1)
    states, _ = parts.transformer.behind(past, embeddings, mask, positions)
    left = (begin - 1 + order).clamp(0, row.shape[1] - 1)
    return states.gather(1, left[..., None].expand(-1, -1, states.shape[-1])).flatten(0, 1)


def _repeats(
    parts: Parts, shape: FixedShape, blank: Blank, first: Int[Tensor, "rows 1"]
) -> Bool[Tensor, "rows vocab"] | None:
    """Which tokens stand in each blank already and are penalised for it; see `published_unmasking`."""
    rule = shape.rule
    if not isinstance(rule, PublishedRule) or rule.algorithm != "entropy-penalty":
        return None
    there = blank.masked.new_zeros(shape.rows, parts.config.transformer.vocab_size)
    there = there.scatter(1, blank.ids, torch.ones_like(blank.masked))
    there[:, 0].fill_(False)
    there[:, parts.vocabulary.mask].fill_(False)
    return there & (first == 0)


def _tied(
    ranked: Float[Tensor, "rows places"], count: Int[Tensor, "rows 1"], valid: Bool[Tensor, "rows places"]
) -> Bool[Tensor, "rows 1"]:
    """Whether equals lie on both sides of the border between who commits and who does not."""
    last = ranked.gather(1, (count - 1).clamp(min=0))
    after = ranked.gather(1, count.clamp(max=ranked.shape[1] - 1))
    return ~(last != after) & (count < valid.sum(-1, keepdim=True))

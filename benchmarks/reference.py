"""A decoding loop in the style of the published one, to measure against.

Written from the arithmetic in `tests/golden/core/README.md`, with what that code spends: logits of every
position over the whole vocabulary in every step, a full sort and two softmaxes a masked place, penalties and
commits in Python loops, the canvas of every step kept, one request at a time. The transformer is torch's own
operations on weights as a file has them, in the order in which the published model calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from omni_agent.core_model.config import TransformerConfig

__all__ = ["Loop", "decode", "plain_transformer"]

Forward = Callable[[Tensor], Tensor]
"""Logits (n, vocabulary) of a row of token ids (n), before any shift."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What is decoded, and how: the names are those of the published settings.

    Attributes:
        mask: id of the mask token.
        steps: denoising steps, at most one a place.
        top_p: the share of probability that is kept, and
        top_k: tokens kept after that.
        repeat_penalty: of tokens that stand in the blank.
        max_position_penalty: of the last masked place.
        cfg: guidance; 0 is none.
    """

    mask: int
    steps: int
    top_p: float = 0.9
    top_k: int = 50
    repeat_penalty: float = 1.0
    max_position_penalty: float = 1.0
    cfg: float = 0.0


@torch.no_grad()
def decode(
    loop: Loop, forward: Forward, prompt: Tensor, blank: Tensor, plain: tuple[Forward, Tensor] | None = None
) -> list[Tensor]:
    """The canvas after each step, by the rule `entropy-penalty`.

    Args:
        loop: what is decoded, and how.
        forward: the model.
        prompt: ids before the blank.
        blank: ids of the blank, with the mask token where it is to be filled.
        plain: without the prompt, where there is guidance: the model, and the ids before the blank. Its rows
            are read at their own blank.
    """
    ids = torch.cat([prompt, blank])
    history: list[Tensor] = []
    steps = min(loop.steps, len(blank))
    times = torch.linspace(1, 1e-3, steps + 1)
    for step in range(steps):
        masked = ids == loop.mask
        if not masked.any():
            break
        logits = _shifted(forward(ids))
        if plain is not None and loop.cfg:
            other_forward, other_prompt = plain
            other = _shifted(other_forward(torch.cat([other_prompt, ids[len(prompt) :]])))
            read = other[len(other_prompt) :]
            logits[len(prompt) :] = read + (loop.cfg + 1) * (logits[len(prompt) :] - read)
        rows = _truncated(logits[masked], loop.top_p, loop.top_k)
        if step and loop.repeat_penalty != 1:
            for token in set(history[-1][len(prompt) :].tolist()) - {0, loop.mask}:
                column = rows[:, token]
                rows[:, token] = torch.where(
                    column < 0, column * loop.repeat_penalty, column / loop.repeat_penalty
                )
        beyond = len(rows) - 100
        for index in range(max(beyond, 0)):
            penalty = 1 + index / beyond * (loop.max_position_penalty - 1)
            row = rows[100 + index]
            rows[100 + index] = torch.where(row < 0, row * penalty, row / penalty)
        probabilities = rows.softmax(-1)
        tokens = probabilities.max(-1).indices
        confidence = (probabilities * (probabilities + 1e-10).log()).sum(-1)
        count = len(rows)
        if step < steps - 1:
            share = 1 - times[step + 1] / times[step]
            count = max(1, int(count * share))
        places = masked.nonzero()[:, 0]
        for index in confidence.topk(count).indices.tolist():
            ids[places[index]] = tokens[index]
        history.append(ids.clone())
    return history


def plain_transformer(
    weights: Mapping[str, Tensor], sizes: TransformerConfig
) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Gives logits (n, vocabulary) of embeddings (n, hidden), and of who may look at whom (1, 1, n, n).

    Args:
        weights: by their published names, in float32.
        sizes: what they do not tell.
    """

    def normed(x: Tensor, name: str) -> Tensor:
        share = x.pow(2).mean(-1, keepdim=True)
        return weights[f"{name}.weight"] * (x * torch.rsqrt(share + sizes.rms_norm_eps))

    def product(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def heads(x: Tensor, number: int) -> Tensor:
        return x.view(1, len(x), number, -1).transpose(1, 2)

    def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    def logits(x: Tensor, mask: Tensor | None) -> Tensor:
        size = x.shape[-1] // sizes.num_heads
        rates = 1.0 / sizes.rope_theta ** (torch.arange(0, size, 2, device=x.device).float() / size)
        angles = torch.arange(len(x), device=x.device)[:, None] * rates
        cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
        repeats = sizes.num_heads // sizes.num_key_value_heads
        for layer in range(sizes.num_layers):
            at = f"model.layers.{layer}"
            read = normed(x, f"{at}.input_layernorm")
            q = heads(product(read, f"{at}.self_attn.q_proj"), sizes.num_heads)
            k = heads(product(read, f"{at}.self_attn.k_proj"), sizes.num_key_value_heads)
            v = heads(product(read, f"{at}.self_attn.v_proj"), sizes.num_key_value_heads)
            q, k = rotated(q, cos, sin), rotated(k, cos, sin)
            k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
            mixed = F.scaled_dot_product_attention(q, k, v, mask)
            x = x + product(mixed.transpose(1, 2).flatten(2)[0], f"{at}.self_attn.o_proj")
            read = normed(x, f"{at}.post_attention_layernorm")
            gate = F.silu(product(read, f"{at}.mlp.gate_proj"))
            x = x + product(gate * product(read, f"{at}.mlp.up_proj"), f"{at}.mlp.down_proj")
        return product(normed(x, "model.norm"), "lm_head")

    return logits


def _shifted(logits: Tensor) -> Tensor:
    """Position p is read from the output at p - 1."""
    return torch.cat([logits[:1], logits[:-1]])


def _truncated(rows: Tensor, top_p: float, top_k: int) -> Tensor:
    lowest = torch.finfo(rows.dtype).min
    ordered, where = rows.sort(descending=True)
    beyond = ordered.softmax(-1).cumsum(-1) > top_p
    beyond[:, 1:] = beyond[:, :-1].clone()
    beyond[:, 0] = False
    rows = rows.masked_fill(torch.zeros_like(beyond).scatter(-1, where, beyond), lowest)
    return rows.masked_fill(rows < rows.topk(top_k).values[:, -1:], lowest)

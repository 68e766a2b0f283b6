"""Weights made from their names: synthetic, the same for every implementation that uses the published names.

The recipe is written down in the READMEs of `tests/golden`.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["fill"]

EMBEDDINGS = ("embed_tokens.weight", "embed.weight")
# Of the vocoder: what is divided by must not be near zero, and pitches are to be audible.
ONES = (".weight_g", ".alpha")
PITCH, PITCH_SCALE = "f0_predictor.classifier.weight", 120
# So that distributions are peaked enough to rank.
HEAD, HEAD_SCALE = "lm_head.weight", 4


def fill(module: nn.Module, prefix: str = "") -> None:
    """Give every parameter of a module the weight made from its published name, `prefix` and its own."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(_named_weight(prefix + name, tuple(parameter.shape)))
    module.eval()


def _named_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """One float32 tensor, drawn from the random stream that its name seeds."""
    x = np.random.default_rng(crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith(ONES):
        x = 1 + 0.1 * x
    elif len(shape) == 1:
        x = 1 + 0.1 * x if name.endswith("weight") else 0.05 * x
    elif not name.endswith(EMBEDDINGS):
        x = x / np.sqrt(np.prod(shape[1:]))
    if name == HEAD:
        x = x * HEAD_SCALE
    if name == PITCH:
        x = PITCH_SCALE * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))

"""How a speech code sounds between others: what its neighbours change of the table's spectra.

A code is a piece of one speaker's sound, and its spectra in the table are the mean of all such pieces. Which
codes lie around it tells much of what the mean has lost: where a sound comes from and where it goes.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CONTEXT_CODES", "InContext", "on_cpu"]

_LAYERS = 3
CONTEXT_CODES = _LAYERS
"""So many codes on either side make a difference: each layer looks at its neighbours."""


class InContext(nn.Module):
    """Convolutions over codes, of which each yields what to add to the log spectra of its piece.

    Args:
        codes: how many there are.
        size: of what is known of a code on the way.
        numbers: of the spectra of a piece.
    """

    def __init__(self, codes: int, size: int, numbers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, size)
        self.layers = nn.ModuleList(_Layer(size) for _ in range(_LAYERS))
        self.out = nn.Linear(size, numbers)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, codes: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n numbers"]:
        """What is added. Beyond the ends lies nothing."""
        states = self.embedding(codes)
        for layer in self.layers:
            states = layer(states)
        added: Tensor = self.out(states)
        return added


class _Layer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.neighbours = nn.Conv1d(size, size, 3, padding=1)
        self.out = nn.Linear(size, size)

    def forward(self, states: Float[Tensor, "batch n size"]) -> Float[Tensor, "batch n size"]:
        beside = self.neighbours(self.norm(states).transpose(1, 2)).transpose(1, 2)
        taken: Tensor = states + self.out(functional.gelu(beside))
        return taken


def on_cpu(module: InContext) -> dict[str, Tensor]:
    """Its weights as the CPU reckons with them, wherever they are: themselves, if they are so already."""
    return {name: value.float().cpu() for name, value in module.state_dict().items()}

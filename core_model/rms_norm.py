"""Root mean square normalisation, in few calls of torch's where no gradient is wanted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["RMSNorm"]


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` over the last dimension.

    torch has one kernel for it on a GPU; on a CPU it makes it of six, and keeps a copy of the input's size
    after each. In float32 they are four here, and one copy.
    """

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """The input over its root mean square, times the weight."""
        if not (torch.is_inference_mode_enabled() and x.is_cpu and x.dtype is torch.float32):
            plain: Tensor = super().forward(x)
            return plain
        assert self.eps is not None
        scale = torch.linalg.vecdot(x, x).mul_(1 / x.shape[-1]).add_(self.eps).rsqrt_()
        normed: Tensor = (x * scale[..., None]).mul_(self.weight)
        return normed

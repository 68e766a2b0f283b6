"""Root mean square normalisation, in inference mode on a CPU with fewer passes than torch's."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["RMSNorm"]


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` over the last dimension.

    torch has one kernel for it on a GPU; on a CPU it makes it of six, half of them of the input's size. In
    float32 two of that size are made here, and one of them is gone at once.
    """

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """The input over its root mean square, times the weight."""
        if (
            not torch.is_inference_mode_enabled()
            or x.device.type != "cpu"
            or x.dtype is not torch.float32
            or torch.is_autocast_enabled("cpu")
        ):
            plain: Tensor = super().forward(x)
            return plain
        assert self.eps is not None
        scale = torch.linalg.vecdot(x, x).mul_(1 / x.shape[-1]).add_(self.eps).rsqrt_()
        normed: Tensor = (x * scale[..., None]).mul_(self.weight)
        return normed

"""Root mean square normalisation, in inference mode on a CPU with fewer passes than torch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["RMSNorm", "bound_norm"]


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
        return _normed(x, self.weight, *_eps_and_share(self.eps, x.shape[-1]))


def bound_norm(module: RMSNorm) -> Callable[[Tensor], Tensor]:
    """What a norm whose weight stays as it is does in inference mode, of inputs of its weight's type and on
    its device.
    """
    if not module.weight.is_cpu or module.weight.dtype is not torch.float32:
        return module
    eps, share = _eps_and_share(module.eps, len(module.weight))
    return partial(_normed, weight=module.weight, eps=eps, share=share)


def _normed(x: Tensor, weight: Tensor, eps: Tensor, share: Tensor) -> Tensor:
    scale = torch.addcmul(eps, (x * x).sum(-1, keepdim=True), share).rsqrt_()
    return (x * scale).mul_(weight)


@cache
def _eps_and_share(eps: float | None, size: int) -> tuple[Tensor, Tensor]:
    """What is added to a mean, and what makes one of a sum, as tensors, which each call would else make of
    numbers.
    """
    assert eps is not None
    as_tensor = partial(torch.tensor, dtype=torch.float32, device="cpu")
    return as_tensor(eps), as_tensor(1 / size)

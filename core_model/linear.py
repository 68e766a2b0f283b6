"""Matrix products of float32 on a CPU, by the library that is faster at them.

torch hands them to MKL, which on other makers' processors than its own leaves half of AVX-512 unused: on an
AMD EPYC (Zen 5), one thread, 70 rows of 256 by 640 take 220 microseconds there and 110 by oneDNN, which torch
has too and takes for bfloat16 only; on an Intel Xeon (Sapphire Rapids) 160 and 177, and 16 rows of 256 by 256
take 23 and 42. A small core keeps its matrices in MKL's layout (`bound_linear`). Results differ by rounding,
so which one it is depends on the processor, and on which core it is, and on nothing else. Training, other
types and other devices are torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Linear", "bound_linear", "linear"]

_PACKED_FOR = 64
"""Rows. MKL lays a matrix out otherwise for 1 and for 512: 76 rows of 256 by 512 take 10 and 50 % longer."""


class Linear(nn.Linear):
    """A linear layer, computed by `linear`."""

    def forward(self, x: Float[Tensor, "*batch inner"]) -> Float[Tensor, "*batch outer"]:
        """The product."""
        return linear(x, self.weight, self.bias)


def linear(
    x: Float[Tensor, "*batch inner"],
    weight: Float[Tensor, "outer inner"],
    bias: Float[Tensor, " outer"] | None = None,
) -> Float[Tensor, "*batch outer"]:
    """`x @ weight.T + bias`."""
    if (
        torch.is_inference_mode_enabled()
        and x.dtype is weight.dtype is torch.float32
        and x.device.type == "cpu"
        and x.numel()
        and _by_onednn()
    ):
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


def bound_linear(
    weight: Float[Tensor, "outer inner"], bias: Float[Tensor, " outer"] | None = None, *, packed: bool = False
) -> Callable[[Tensor], Tensor]:
    """`linear` by a weight that stays as it is, of inputs (*batch, inner) of its type and on its device, for
    inference.

    Args:
        weight: whose values are not to change.
        bias: what is added.
        packed: where it is MKL's to multiply, keep a copy in MKL's own layout, which it else makes in each
            call: of 256 by 640 a third of the time of 18 rows, and a tenth of that of 76.
    """
    if weight.dtype is torch.float32 and weight.is_cpu:
        if _by_onednn():
            return partial(linear, weight=weight, bias=bias)
        if packed and _packs():
            return _by_packed(weight, bias)
    return partial(F.linear, weight=weight, bias=bias)


def _by_packed(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    layout, inner = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), _PACKED_FOR), weight.shape[1]
    multiplied = torch.ops.mkl._mkl_linear.default

    def by_packed(x: Tensor) -> Tensor:
        # the last number says that the layout is for so many rows: it is for any (see `_packs`)
        result: Tensor = multiplied(x, layout, weight, bias, x.numel() // inner)
        return result

    return by_packed


@cache
def _packs() -> bool:
    """Whether torch has MKL's packed products, which are its compiler's, and whether what is packed for some
    rows serves any number: MKL's reference promises neither that nor the contrary, CTranslate2 packs for one.
    """
    if not hasattr(torch.ops.mkl, "_mkl_linear"):
        return False
    generator = torch.Generator("cpu").manual_seed(0)
    x, weight = (
        torch.randn(rows, 256, generator=generator, dtype=torch.float32, device="cpu")
        for rows in (4 * _PACKED_FOR, 640)
    )
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        packed = _by_packed(weight, None)
        return all(
            torch.allclose(packed(x[:rows]), F.linear(x[:rows], weight), atol=1e-3)
            for rows in (1, 7, _PACKED_FOR, len(x))
        )


@cache
def _by_onednn() -> bool:
    """Whether this processor has AVX-512 and is not Intel's, and torch the operator: it is one of torch's
    compiler, not of its stable interface.
    """
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and "AVX512" in torch.backends.cpu.get_cpu_capability().upper()
        and not _maker().startswith("Intel")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _maker() -> str:
    """Whose processor it is and which, where torch (2.10 or newer) says so."""
    return str(torch.cpu.get_capabilities()["cpu_name"]) if hasattr(torch.cpu, "get_capabilities") else ""

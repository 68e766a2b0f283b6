"""Chance that is a function of what it is for: of a seed, a place and a token, and of nothing else.

No generator is advanced, so what a request draws depends neither on what else shares its call, nor on which
places and tokens are looked at, nor on the device. The mixing is that of SplitMix64 (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["gumbel", "uniform"]

_PLACE, _TOKEN = -0x61C8864680B583EB, 0x5851F42D4C957F2D
_MIX = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))
"""Odd 64-bit constants, as signed integers: products wrap around, as they are meant to."""


def uniform(
    key: int | Int[Tensor, "*#shape"],
    places: Int[Tensor, "*#shape"],
    tokens: Int[Tensor, "*#shape"] | int = 0,
) -> Float[Tensor, "*shape"]:
    """Numbers evenly spread between 0 and 1, neither of which comes up, in float64.

    Args:
        key: the seed, for one denoising step and one purpose, below 2**63.
        places: what each number is for: the place in the blank,
        tokens: and the token.
    """
    x = places.long() * _PLACE + tokens * _TOKEN + key
    for shift, factor in _MIX:
        x = (x ^ _shifted(x, shift)) * factor
    x = x ^ _shifted(x, 31)
    return (_shifted(x, 11).double() + 0.5) * 2.0**-53


def gumbel(
    key: int | Int[Tensor, "*#shape"],
    places: Int[Tensor, "*#shape"],
    tokens: Int[Tensor, "*#shape"] | int = 0,
) -> Float[Tensor, "*shape"]:
    """Gumbel noise: the largest sum of it and log probabilities is a draw from them; see `uniform`."""
    return -(-uniform(key, places, tokens).log()).log().float()


def _shifted(x: Int[Tensor, "*shape"], by: int) -> Int[Tensor, "*shape"]:
    """To the right with zeros put in: torch's own shift puts the sign in."""
    return (x >> by) & ((1 << (64 - by)) - 1)

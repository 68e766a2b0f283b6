"""Products of float32 as float32: NVIDIA's cards may round what they multiply to ten bits (TF32)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["full_float32"]

# It is a setting of the process, not of a thread: the first who wants it sets it, the last puts it back.
_lock = threading.Lock()
_found: list[tuple[str, str]] = []


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 in matrix products and convolutions, whatever the program around has set, and that again
    behind it, when nobody is in it any more.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    with _lock:
        _found.append((products.fp32_precision, convolutions.fp32_precision))
        products.fp32_precision = convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        with _lock:
            first = _found.pop() if len(_found) == 1 else _found.pop(1)
            if not _found:
                products.fp32_precision, convolutions.fp32_precision = first

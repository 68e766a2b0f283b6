"""What a figure was measured on, as it is printed beside it, and waiting for that."""

from __future__ import annotations

import platform

import torch

__all__ = ["machine_of", "wait_for"]


def machine_of(device: torch.device, threads: int) -> str:
    """The device: a graphics card's name, or the kind of processor and how many threads of it."""
    if device.type == "cpu":
        return f"{platform.machine()}, {threads} threads"
    return str(torch.cuda.get_device_name(device))


def wait_for(device: torch.device) -> None:
    """Return once the device has done all."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

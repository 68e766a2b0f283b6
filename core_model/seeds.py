"""Seeds made of what they are for."""

from __future__ import annotations

import hashlib

__all__ = ["seed_of"]


def seed_of(*parts: object) -> int:
    """One seed for each combination, below 2**63, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

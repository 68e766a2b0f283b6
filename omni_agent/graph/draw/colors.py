"""The states of a run's steps, and the colours they are drawn in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLORS", "PLAIN", "Color"]


@dataclass(frozen=True)
class Color:
    """The inside of a shape and its line, as CSS colours."""

    fill: str
    line: str


PLAIN = Color("#ffffff", "#94a3b8")
COLORS = {
    "running": Color("#fef3c7", "#d97706"),
    "finished": Color("#dcfce7", "#16a34a"),
    "failed": Color("#fee2e2", "#dc2626"),
    "skipped": Color("#f1f5f9", "#cbd5e1"),
    "cancelled": Color("#e2e8f0", "#64748b"),
    "awaited": Color("#ede9fe", "#7c3aed"),
}

"""A sketch as SVG: shapes in layers, types on the lines between them, graphs inside as boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from omni_agent.graph.draw.colors import COLORS, PLAIN
from omni_agent.graph.draw.layers import Block, Layout, Link, laid_out
from omni_agent.graph.draw.sketch import Shape, Sketch

__all__ = ["svg_of"]

FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
NAME, DETAIL, TYPE = 14.0, 11.0, 11.0
"""Sizes of letters, in pixels."""
MARGIN = 24.0
INSET = 20.0
"""Between a box and what is in it."""
PAPER, BOX = "#ffffff", "#f8fafc"
INK, FAINT, LINE = "#0f172a", "#64748b", "#94a3b8"

Point = tuple[float, float]
States = Mapping[tuple[str, ...], str]


def svg_of(sketch: Sketch, states: States) -> str:
    """The sketch as an SVG document.

    Args:
        sketch: what to draw.
        states: of the shapes that have one, by their path.
    """
    picture = _Picture(sketch)
    width, height = picture.width + 2 * MARGIN, picture.height + 2 * MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="{escape(FONT)}" role="img">'
    )
    marks = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto-start-reverse"><path d="M0 0.6 L7.4 4 L0 7.4 z" fill="{color}"/></marker>'
        for name, color in (("arrow", LINE), ("stream", "#2563eb"))
    )
    parts = [
        head,
        f"<title>{escape(sketch.title)}</title>",
        f"<defs>{marks}</defs>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="{PAPER}"/>',
        *picture.drawn(MARGIN, MARGIN, states),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Picture:
    """A sketch with sizes and places; boxes are laid out first, as what is around them needs their size."""

    def __init__(self, sketch: Sketch) -> None:
        self._sketch = sketch
        self._inside = {each.key: _Picture(each.inside) for each in sketch.shapes if each.inside is not None}
        self._sizes = {each.key: self._size(each) for each in sketch.shapes}
        self._links = {
            line: Link(line.source, line.target, line.label, Block(_width(line.label, TYPE) + 6, TYPE + 5))
            for line in sketch.lines
        }
        self._layout: Layout = laid_out(self._sizes, list(self._links.values()))
        self.width, self.height = self._layout.width, self._layout.height

    def drawn(self, left: float, top: float, states: States, paper: str = PAPER) -> Iterator[str]:
        """The elements, in the order in which they cover each other."""
        for line, link in self._links.items():
            way = [(left + x, top + y) for x, y in self._layout.ways[link]]
            yield _way(way, line.kind)
        for (_, label), (x, y) in self._layout.labels.items():
            half = _width(label, TYPE) / 2 + 2
            # the line passes behind its type
            yield (
                f'<rect x="{left + x - half:.1f}" y="{top + y - TYPE / 2 - 2:.1f}" width="{2 * half:.1f}"'
                f' height="{TYPE + 4:.1f}" fill="{paper}"/>'
            )
            yield _text(left + x, top + y + TYPE / 3, label, TYPE, FAINT)
        for shape in self._sketch.shapes:
            x, y = self._layout.places[shape.key]
            size = self._sizes[shape.key]
            corner = (left + x - size.width / 2, top + y - size.height / 2)
            yield from self._shape(shape, corner, size, states)

    def _size(self, shape: Shape) -> Block:
        texts = [_width(shape.label, NAME), *(_width(each, DETAIL) for each in shape.details)]
        head = NAME + 6 + (DETAIL + 4) * len(shape.details)
        inside = self._inside.get(shape.key)
        if inside is not None:
            width = max(inside.width + 2 * INSET, max(texts) + 2 * INSET)
            return Block(width, head + 14 + inside.height + INSET)
        extra = 36 if shape.kind in ("input", "late", "choice") else 28
        return Block(max(*texts, 40) + extra, head + 12)

    def _shape(self, shape: Shape, corner: Point, size: Block, states: States) -> Iterator[str]:
        state = states.get(shape.path, "")
        color = COLORS.get(state, PLAIN)
        (x, y), width, height = corner, size.width, size.height
        inside = self._inside.get(shape.key)
        fill = color.fill if inside is None or state else BOX
        dashed = ' stroke-dasharray="5 4"' if shape.kind == "late" or state == "skipped" else ""
        weight = 2.4 if shape.is_output else 1.4
        style = f'fill="{fill}" stroke="{color.line}" stroke-width="{weight}"{dashed}'
        yield f"<g><title>{escape('/'.join(shape.path))}{f': {state}' if state else ''}</title>"
        if shape.is_many:
            yield (
                f'<rect x="{x + 5:.1f}" y="{y + 5:.1f}" width="{width:.1f}" height="{height:.1f}" rx="7"'
                f" {style}/>"
            )
        if shape.kind == "choice":
            cut = height / 2.6
            points = [
                (x + cut, y), (x + width - cut, y), (x + width, y + height / 2),
                (x + width - cut, y + height), (x + cut, y + height), (x, y + height / 2),
            ]  # fmt: skip
            corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            yield f'<polygon points="{corners}" stroke-linejoin="round" {style}/>'
        else:
            radius = height / 2 if shape.kind in ("input", "late") else 7
            yield (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
                f' rx="{radius:.1f}" {style}/>'
            )
        middle, baseline = x + width / 2, y + 6 + NAME
        ink = FAINT if state == "skipped" else INK
        yield _text(middle, baseline, shape.label, NAME, ink, bold=shape.kind not in ("input", "late"))
        for detail in shape.details:
            baseline += DETAIL + 4
            yield _text(middle, baseline, detail, DETAIL, FAINT)
        if inside is not None:
            top = baseline + 14
            yield from inside.drawn(x + (width - inside.width) / 2, top, states, fill)
        yield "</g>"


def _way(points: Sequence[Point], kind: str) -> str:
    """A smooth line that leaves and arrives upright."""
    (x, y), *rest = points
    path = [f"M{x:.1f} {y:.1f}"]
    for a, b in rest:
        bend = (b - y) / 2
        straight = abs(a - x) < 0.5
        path.append(
            f"L{a:.1f} {b:.1f}"
            if straight
            else f"C{x:.1f} {y + bend:.1f} {a:.1f} {b - bend:.1f} {a:.1f} {b:.1f}"
        )
        x, y = a, b
    color = "#2563eb" if kind == "stream" else LINE
    dashes = ' stroke-dasharray="4 4"' if kind == "condition" else ""
    mark = "stream" if kind == "stream" else "arrow"
    return (
        f'<path d="{" ".join(path)}" fill="none" stroke="{color}" stroke-width="1.4"{dashes}'
        f' marker-end="url(#{mark})"/>'
    )


def _text(x: float, y: float, text: str, size: float, color: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="middle" fill="{color}"{weight}>'
        f"{escape(text)}</text>"
    )


def _width(text: str, size: float) -> float:
    """About as wide as sans-serif letters are; a little more, as fonts differ."""
    narrow, wide = set("iljtfr.,:;|'!()[] "), set("mwMWQOG@")
    units = sum(0.34 if each in narrow else 0.9 if each in wide else 0.6 for each in text)
    return units * size

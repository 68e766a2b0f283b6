"""A sketch as Mermaid text, which many pages and notebooks draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from omni_agent.graph.draw.colors import COLORS
from omni_agent.graph.draw.sketch import Shape, Sketch

__all__ = ["mermaid_of"]

FORMS = {
    "input": ('(["', '"])'),
    "late": ('(["', '"])'),
    "step": ('["', '"]'),
    "choice": ('{{"', '"}}'),
}
ARROWS = {"value": "-->", "stream": "==>", "condition": "-.->"}


def mermaid_of(sketch: Sketch, states: Mapping[tuple[str, ...], str]) -> str:
    """The sketch as a flowchart.

    Args:
        sketch: what to draw.
        states: of the shapes that have one, by their path.
    """
    lines = ["flowchart TD", *_inside(sketch, (), states, "    ")]
    used = sorted({state for state in states.values() if state in COLORS})
    lines += [f"    classDef {state} fill:{COLORS[state].fill},stroke:{COLORS[state].line}" for state in used]
    lines.append("    classDef late stroke-dasharray:4 3")
    return "\n".join(lines) + "\n"


def _inside(
    sketch: Sketch, path: tuple[str, ...], states: Mapping[tuple[str, ...], str], indent: str
) -> Iterator[str]:
    for shape in sketch.shapes:
        key = _key((*path, shape.key))
        text = "<br/>".join([_escaped(shape.label), *(f"<i>{_escaped(each)}</i>" for each in shape.details)])
        state = states.get(shape.path)
        mark = f":::{state}" if state in COLORS else ":::late" if shape.kind == "late" else ""
        if shape.inside is not None:
            yield f'{indent}subgraph {key}["{text}"]'
            yield from _inside(shape.inside, (*path, shape.key), states, indent + "    ")
            yield f"{indent}end"
            if mark:
                yield f"{indent}class {key} {mark[3:]}"
        else:
            yield f"{indent}{key}{_form(shape, text)}{mark}"
    for line in sketch.lines:
        source, target = _key((*path, line.source)), _key((*path, line.target))
        yield f'{indent}{source} {ARROWS[line.kind]}|"{_escaped(line.label)}"| {target}'


def _form(shape: Shape, text: str) -> str:
    if shape.is_many:
        return f'[["{text}"]]'
    before, after = FORMS[shape.kind]
    return f"{before}{text}{after}"


def _key(path: tuple[str, ...]) -> str:
    # a prefix, since some words, such as `end`, mean something to Mermaid
    return "n_" + "__".join(part.replace(":", "_of_") for part in path)


def _escaped(text: str) -> str:
    for character, name in (("&", "amp"), ('"', "quot"), ("<", "lt"), (">", "gt")):
        text = text.replace(character, f"&{name};")
    return text

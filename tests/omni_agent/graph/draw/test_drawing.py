"""Drawings: what is on them, in which colours, and that nothing lies over anything."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_agent import Graph, GraphError, InputAwaited, InputError, StepError, StepStarted, Task, Text
from omni_agent.graph.draw.layers import Block, Link, laid_out
from omni_agent.testing import ScriptedCore, Sure
from tests.omni_agent.graph.forms import everything
from tests.omni_agent.graph.test_late import playing

SVG = "{http://www.w3.org/2000/svg}"


def texts(graph: Graph) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(graph.draw().svg).iter(f"{SVG}text")]


def pair() -> Graph:
    graph = Graph("pair", inputs={"question": Text})

    @graph.step
    async def answer(question: Text) -> Text | None:
        return question

    @graph.step(when=lambda question: True)
    async def long(answer: Text | None) -> int:
        return 1

    return graph


def test_mermaid_has_steps_types_and_conditions() -> None:
    assert pair().draw().mermaid == "\n".join(
        [
            "flowchart TD",
            '    n_question(["question"])',
            '    n_answer["answer"]',
            '    n_long["long"]',
            '    n_question -->|"Text"| n_answer',
            '    n_answer -->|"Text | None"| n_long',
            '    n_question -.->|"when"| n_long',
            "    classDef late stroke-dasharray:4 3",
            "",
        ]
    )


def test_every_form_of_control_is_drawn_with_its_words() -> None:
    mermaid = everything().draw().mermaid
    assert 'subgraph n_pages["pages<br/><i>each of word, 3 at once</i>"]' in mermaid
    assert 'n_spelled ==>|"Stream[Text]"| n_echoed' in mermaid
    assert 'n_some{{"some<br/><i>first of</i>"}}' in mermaid
    assert 'n_long__text(["text<br/><i>then longer</i>"])' in mermaid
    found = texts(everything())
    for word in (
        "words",
        "pages",
        "each of word, 3 at once",
        "Stream[Text]",
        "yields",
        "3 retries",
        "unsure",
    ):
        assert word in found
    assert "at most 30 rounds" in found
    assert found.count("checked") == 2  # the step, and what it or its stand-in came to


def test_names_and_types_are_escaped() -> None:
    graph = Graph('a "graph" & <more>', inputs={"n": dict[str, list[int]]})

    @graph.step
    def end(n: dict[str, list[int]]) -> None: ...

    assert 'n_end["end"]' in graph.draw().mermaid
    root = ElementTree.fromstring(graph.draw().svg)
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == 'a "graph" & <more>'


def test_a_graph_with_faults_is_not_drawn() -> None:
    with pytest.raises(GraphError):
        Graph("g").draw()


async def test_the_state_of_a_run_is_shown_in_colours() -> None:
    graph = Graph("g", late={"word": str})

    @graph.step
    async def first() -> int:
        return 1

    @graph.step(when=lambda first: first > 1)
    async def skipped(first: int) -> int:
        return 1

    @graph.step
    async def waits(word: str, first: int) -> int:
        raise ValueError

    async with graph.start() as run:
        async for event in run:
            if isinstance(event, StepStarted) and event.step == "first":
                assert run.states == {("first",): "running"} or ("first",) in run.states
            if isinstance(event, InputAwaited):
                assert run.states == {("first",): "finished", ("skipped",): "skipped", ("word",): "awaited"}
                await run.send("word", "x")
        with pytest.raises(StepError):
            await run.result()
    drawing = graph.draw(run)
    assert 'n_first["first"]:::finished' in drawing.mermaid
    assert 'n_skipped["skipped"]:::skipped' in drawing.mermaid
    assert 'n_waits["waits"]:::failed' in drawing.mermaid
    assert "classDef failed fill:#fee2e2,stroke:#dc2626" in drawing.mermaid
    assert drawing.svg.count("#dc2626") == 1
    assert "<title>waits: failed</title>" in drawing.svg
    assert "#dc2626" not in graph.draw().svg


async def test_items_and_rounds_share_the_state_of_their_step() -> None:
    async with ScriptedCore({Task.ANSWER: Sure("x", 0.9)}) as core:
        async with everything().start(core, words=[Text("a"), Text("b")]) as run:
            await run.result()
        assert run.states["pages", "described"] == "finished"
        assert run.states["pages", "asked"] == "skipped"
        assert run.states["long", "longer"] == "finished"
        assert run.states["never",] == "skipped"
    async with playing().start(secret=1) as game:
        async for event in game:
            if isinstance(event, InputAwaited):
                break
        assert game.states == {("game",): "running", ("game", "guess"): "awaited"}
    assert game.states["game",] == "cancelled"


def test_notebooks_show_a_drawing() -> None:
    drawing = pair().draw()
    bundle = drawing._repr_mimebundle_()
    assert bundle["image/svg+xml"] == drawing._repr_svg_() == drawing.svg
    assert bundle["text/vnd.mermaid"] == drawing.mermaid
    assert bundle["text/plain"] == "<Drawing of 'pair': 2 steps>"


def test_a_drawing_is_saved_by_its_ending(tmp_path: Path) -> None:
    drawing = pair().draw()
    drawing.save(tmp_path / "g.svg")
    drawing.save(tmp_path / "g.mmd")
    assert (tmp_path / "g.svg").read_text() == drawing.svg
    assert (tmp_path / "g.mmd").read_text() == drawing.mermaid
    with pytest.raises(InputError, match=r"ends in '\.png'; wanted one of \.svg"):
        drawing.save(tmp_path / "g.png")
    with pytest.raises(InputError, match="cannot be written"):
        drawing.save(tmp_path / "none" / "g.svg")


def test_a_long_chain_is_drawn() -> None:
    graph = Graph("chain", inputs={"s0": int})

    def after(n: int) -> int: ...

    for number in range(200):
        graph.step(after, as_=f"s{number + 1}", reads={"n": f"s{number}"})
    lefts = {float(x) for x in re.findall(r'<rect x="([0-9.]+)"', graph.draw().svg)}
    assert len(lefts) < 20  # one under the other


@given(st.data())
def test_nothing_lies_over_anything_and_lines_go_down(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    names = [f"n{number}" for number in range(count)]
    size = st.floats(10, 200)
    blocks = {name: Block(data.draw(size), data.draw(size)) for name in names}
    pairs = [pair for pair in combinations(names, 2) if data.draw(st.booleans())]
    labels = st.sampled_from(["a", "bb"])
    links = [Link(source, target, data.draw(labels), Block(30, 16)) for source, target in pairs]
    layout = laid_out(blocks, links)
    rooms = [(layout.places[name], blocks[name]) for name in names]
    rooms += [(place, Block(30, 16)) for place in layout.labels.values()]
    for ((x, y), one), ((a, b), other) in combinations(rooms, 2):
        apart = abs(x - a) >= (one.width + other.width) / 2 - 1e-6
        assert apart or abs(y - b) >= (one.height + other.height) / 2 - 1e-6
    for (x, y), block in rooms:
        assert x - block.width / 2 >= -1e-6
        assert x + block.width / 2 <= layout.width + 1e-6
        assert y - block.height / 2 >= -1e-6
        assert y + block.height / 2 <= layout.height + 1e-6
    for way in layout.ways.values():
        downs = [y for _, y in way]
        assert downs == sorted(downs)

"""`omni-agent graph show`: recipes and graphs of one's own, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omni_agent.cli import main

MODULE = """
from omni_agent import Graph, Text

inner = Graph("inner", inputs={"text": Text})

@inner.step
def loud(text: Text) -> Text:
    return text

outer = Graph("outer", inputs={"text": Text})
outer.step(inner, as_="part")
broken = Graph("broken")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_graphs.py").write_text(MODULE)
    (tmp_path / "fails_to_import.py").write_text("import not_there_at_all")
    return tmp_path


def test_a_recipe_is_printed_as_mermaid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "show", "spoken_visual_assistant"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("flowchart TD\n")
    assert 'n_question -->|"Speech"| n_heard' in out


def test_a_graph_of_ones_own_is_drawn_to_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "show", "my_graphs:outer", "--out", "outer.svg"]) == 0
    assert capsys.readouterr().out == "drawing: outer.svg\n"
    assert (folder / "outer.svg").read_text().startswith("<svg")
    assert main(["graph", "show", "my_graphs:outer", "--json"]) == 0
    assert 'subgraph n_part["part"]' in json.loads(capsys.readouterr().out)["mermaid"]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        (
            "spoken_visual_asistant",
            2,
            "Did you mean 'spoken_visual_assistant'? A graph of your own is module:graph",
        ),
        ("my_graphs:outr", 2, "its graphs are 'inner', 'outer', 'broken'. Did you mean 'outer'?"),
        ("no_such_module:g", 2, "there is no module 'no_such_module'"),
        ("my_graphs:", 2, "wanted module:graph"),
        ("my_graphs:broken", 2, "graph 'broken' has 1 fault"),
    ],
)
def test_mistakes_are_one_line(
    name: str, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", "show", name]) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_an_error_inside_a_module_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        main(["graph", "show", "fails_to_import:g"])


def test_a_file_with_another_ending_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "show", "my_graphs:outer", "--out", "outer.png"]) == 2
    assert "wanted one of .svg" in capsys.readouterr().err

"""The model card is the measured scores in prose that the hub reads."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

from huggingface_hub import ModelCard

DOCS = Path(__file__).parent.parent / "docs"
SCORES = json.loads((DOCS / "omni-tiny-scores.json").read_text())


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_card", DOCS / "write_card.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_card_is_the_one_of_the_measured_scores() -> None:
    prose = (DOCS / "omni-tiny-card.md").read_text()
    assert _script().card(prose, SCORES) == (DOCS / "omni-tiny.md").read_text()


def test_the_hub_reads_the_card_and_every_measured_row() -> None:
    card = ModelCard.load(DOCS / "omni-tiny.md")
    assert card.data.license == "apache-2.0"
    results = card.data.eval_results
    assert results is not None
    given = {(each.metric_name, each.metric_value) for each in results}
    assert given == {
        (f"{row['part']}: {row['name']}, {row['measure']}", row["value"]) for row in SCORES["rows"]
    }
    assert "{" not in card.text.split("## What it is")[1].split("## Licences")[0]

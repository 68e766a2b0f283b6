"""Writes omni-tiny's model card, docs/omni-tiny.md, in the Hugging Face hub's format.

Every score is read from docs/omni-tiny-scores.json; the prose around them is docs/omni-tiny-card.md, in which
`{scores}` stands for the table and `{metadata}` for the measured values as the hub reads them.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).parent
SCORES = DOCS / "omni-tiny-scores.json"
PROSE = DOCS / "omni-tiny-card.md"
CARD = DOCS / "omni-tiny.md"
# The hub's name of each measure.
METRICS = {"right": "accuracy", "word error": "wer", "differ": "accuracy"}
TASKS = {
    "answers": "visual-question-answering",
    "hearing": "automatic-speech-recognition",
    "speaking": "text-to-speech",
    "spoken questions": "visual-question-answering",
    "drawing": "text-to-image",
    "image tokenizer": "image-to-image",
}


def metadata(scores: dict[str, Any]) -> str:
    """The measured rows as the hub's model index, in YAML."""
    lines = ["model-index:", "- name: omni-tiny", "  results:"]
    for row in scores["rows"]:
        lines += [
            f"  - task: {{type: {TASKS[row['part']]}}}",
            f"    dataset: {{name: the world of omni-tiny, type: omni-tiny-world, split: {scores['split']}}}",
            "    metrics:",
            f"    - type: {METRICS[row['measure']]}",
            f'      name: "{row["part"]}: {row["name"]}, {row["measure"]}"',
            f"      value: {row['value']}",
        ]
    return "\n".join(lines)


def card(prose: str, scores: dict[str, Any]) -> str:
    """The card of these scores."""
    return prose.replace("{metadata}", metadata(scores)).replace("{scores}", _table(scores))


def _table(scores: dict[str, Any]) -> str:
    spec = importlib.util.spec_from_file_location("write_scores", DOCS / "write_scores.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.table(scores)).rstrip()


if __name__ == "__main__":
    CARD.write_text(card(PROSE.read_text(), json.loads(SCORES.read_text())))

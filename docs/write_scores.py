"""Writes omni-tiny's measured scores into README.md, which never holds a number that is not in the JSON.

`make scores` measures first; alone: `omni-agent evaluate omni-tiny --json docs/omni-tiny-scores.json`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SCORES = ROOT / "docs" / "omni-tiny-scores.json"
README = ROOT / "README.md"
BETWEEN = re.compile(r"(<!-- scores: .*? -->\n).*?(<!-- end of scores -->)", re.DOTALL)


def table(scores: dict[str, Any]) -> str:
    """The scores as Markdown."""
    lines = [
        "| part | row | measure | value | 95 % interval | of | wanted |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in scores["rows"]:
        sign = "≤" if row["measure"] == "word error" else "≥"
        wanted = "" if row["wanted"] is None else f"{sign} {_percent(row['wanted'], 0)}"
        value = (
            _percent(row["value"]) if row["passed"] is not False else f"**{_percent(row['value'])}**, missed"
        )
        interval = f"{100 * row['low']:.0f} to {100 * row['high']:.0f}"
        cells = (row["part"], row["name"], row["measure"], value, interval, str(row["total"]), wanted)
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- {row['part']}, {row['name']}: {row['note']}" for row in scores["rows"] if row["note"]]
    notes += [f"- {message}" for message in scores.get("left_out", [])]
    split = scores["split"].replace("_", "-")
    asked = f"{scores['questions']} questions a row, {split} split, seed {scores['seed']}."
    return "\n".join([*lines, "", *notes, *([""] if notes else []), asked]) + "\n"


def written(readme: str, scores: dict[str, Any]) -> str:
    """README with these scores."""
    return BETWEEN.sub(lambda found: found[1] + table(scores) + found[2], readme)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


if __name__ == "__main__":
    README.write_text(written(README.read_text(), json.loads(SCORES.read_text())))

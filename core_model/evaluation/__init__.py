"""Measuring a core: `evaluate` on the world of omni-tiny, `evaluate_suite` on files in published formats, and
the judges they measure with.

The judges are apart from the model: they are never a loss, and never choose between models.
"""

from omni_agent.core_model.evaluation.beside import beside
from omni_agent.core_model.evaluation.case import Case
from omni_agent.core_model.evaluation.evaluate import GROUPS, ROWS, evaluate
from omni_agent.core_model.evaluation.overrides import Overrides
from omni_agent.core_model.evaluation.page import write_page
from omni_agent.core_model.evaluation.picture_judge import PictureJudge, Seen
from omni_agent.core_model.evaluation.suites import SUITES, evaluate_suite
from omni_agent.core_model.evaluation.table import Row, Table

__all__ = [
    "GROUPS",
    "ROWS",
    "SUITES",
    "Case",
    "Overrides",
    "PictureJudge",
    "Row",
    "Seen",
    "Table",
    "beside",
    "evaluate",
    "evaluate_suite",
    "write_page",
]

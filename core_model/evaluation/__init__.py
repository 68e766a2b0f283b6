"""Measuring a core on the world of omni-tiny: `evaluate`, and the judges it measures with.

The judges are apart from the model: they are never a loss, and never choose between models.
"""

from omni_agent.core_model.evaluation.evaluate import GROUPS, ROWS, evaluate
from omni_agent.core_model.evaluation.picture_judge import PictureJudge, Seen
from omni_agent.core_model.evaluation.table import Row, Table

__all__ = ["GROUPS", "ROWS", "PictureJudge", "Row", "Seen", "Table", "evaluate"]

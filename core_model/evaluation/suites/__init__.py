"""Suites in published formats, each from a folder of files that the user has: `evaluate_suite`.

The world's own table is `omni_agent.core_model.evaluation.evaluate`.
"""

from omni_agent.core_model.evaluation.suites.evaluate import (
    SUITES,
    Prepared,
    evaluate_prepared,
    evaluate_suite,
    prepared,
)

__all__ = ["SUITES", "Prepared", "evaluate_prepared", "evaluate_suite", "prepared"]

"""Several tables of the same rows as one: what a setting does, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from omni_agent.core_model.evaluation.table import Table

__all__ = ["beside"]


def beside(first: Table, others: Sequence[tuple[str, Table]]) -> Table:
    """The first table with each row followed by the others' row of that name, which says how it was made."""
    rows = [
        named
        for n, row in enumerate(first.rows)
        for named in (row, *(replace(table.rows[n], name=f"{row.name}, {how}") for how, table in others))
    ]
    failures = dict(first.failures)
    for how, table in others:
        failures |= {f"{message} ({how})": count for message, count in table.failures.items()}
    return replace(
        first,
        rows=tuple(rows),
        failures=failures,
        seconds=first.seconds + sum(table.seconds for _, table in others),
        cases=(
            *first.cases,
            *(replace(case, row=f"{case.row}, {how}") for how, table in others for case in table.cases),
        ),
    )

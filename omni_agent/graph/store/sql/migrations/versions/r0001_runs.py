"""Runs, their steps, late inputs, core calls, chunks and media."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From an empty database."""
    op.create_table(
        "runs",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("graph", sa.String, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("outputs", sa.Text),
        sa.Column("forked_from", sa.String),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("holder", sa.String),
        sa.Column("expires", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_updated", "runs", ["updated"])
    op.create_table(
        "steps",
        _run_id("steps"),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "path", name="pk_steps"),
    )
    op.create_table(
        "late",
        _run_id("late"),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_late"),
    )
    op.create_table(
        "calls",
        _run_id("calls"),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("request", sa.String, nullable=False),
        sa.Column("occurrence", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("confidence", sa.Double),
        sa.Column("snapshot", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "path", "attempt", "request", "occurrence", name="pk_calls"),
    )
    op.create_table(
        "chunks",
        _run_id("chunks"),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "path", "number", name="pk_chunks"),
    )
    op.create_table(
        "media",
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_media"),
    )
    op.create_table(
        "media_uses",
        _run_id("media_uses"),
        sa.Column("hash", sa.String, sa.ForeignKey("media.hash", name="fk_media_uses_hash"), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "hash", name="pk_media_uses"),
    )
    op.create_index("ix_media_uses_hash", "media_uses", ["hash"])


def _run_id(table: str) -> sa.Column[str]:
    key = sa.ForeignKey("runs.id", name=f"fk_{table}_run_id", ondelete="CASCADE")
    return sa.Column("run_id", sa.String, key, nullable=False)

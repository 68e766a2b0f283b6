"""The tables' history, from the first version of the store to this one. alembic runs it."""

from __future__ import annotations

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from omni_agent.errors import StoreError

__all__ = ["HEAD", "migrate"]

HEAD = "0001"
"""The revision of the tables in `omni_agent.graph.store.sql.tables`."""


def migrate(connection: Connection) -> None:
    """Bring a database, new or old, to `HEAD`, within the connection's transaction.

    Raises:
        StoreError: a newer version of omni-agent wrote it.
    """
    script = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(connection)
    current = context.get_current_revision()
    if current is not None and current not in {each.revision for each in script.walk_revisions()}:
        raise StoreError(
            f"the store's tables have revision {current!r}; wanted {HEAD!r} or older: a newer version of"
            " omni-agent wrote it, which is needed to read it"
        )
    ahead = list(script.iterate_revisions(HEAD, current or "base"))
    with Operations.context(context):
        for revision in reversed(ahead):
            revision.module.upgrade()
    context.stamp(script, HEAD)

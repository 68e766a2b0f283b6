"""The tables' history, from the first version of the store to this one. alembic runs it."""

from __future__ import annotations

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from omni_agent.errors import StoreError
from omni_agent.graph.names import listed
from omni_agent.graph.store.sql.tables import metadata

__all__ = ["HEAD", "migrate"]

HEAD = "0001"
"""The revision of the tables in `omni_agent.graph.store.sql.tables`."""

TELLING = {"runs", "media_uses"}
"""Tables by which a store of any version is known."""


def migrate(connection: Connection) -> None:
    """Bring a database, new or old, to `HEAD`, within the connection's transaction.

    Raises:
        StoreError: a newer version of omni-agent wrote it, or it is another program's.
    """
    script = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(connection)
    current = context.get_current_revision()
    ours, there = set(metadata.tables), set(inspect(connection).get_table_names())
    # a server's database is often shared; a file that is another program's was most likely named by mistake
    taken = there if connection.dialect.name == "sqlite" else ours & there
    if (current is None and taken) or (current is not None and not there >= TELLING):
        others = listed(sorted(there - {"alembic_version"}), none="alembic's alone")
        raise StoreError(
            f"the database has tables of another program, {others}; wanted one that is empty, or a store of"
            " runs"
        )
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

"""Runs that outlive their process: values, core calls and late inputs in SQLite or PostgreSQL.

`store` is the face, `claiming` decides who may write a run, `held` writes it, `codec` turns values into JSON
and media by hash, `sql` has every statement. Knows nothing of graphs: an execution tells it paths and values.
"""

from omni_agent.graph.store.records import RunInfo
from omni_agent.graph.store.store import Collected, RunStore

__all__ = ["Collected", "RunInfo", "RunStore"]

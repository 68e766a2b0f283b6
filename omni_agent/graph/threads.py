"""How many worker threads a run may need."""

from __future__ import annotations

from omni_agent.graph.plan import Call, Nested, Plan, Rounds

__all__ = ["threads_of"]

UNBOUND = 32
"""Threads for the sync items of a map without a width."""
MOST = 256


def threads_of(plan: Plan) -> int:
    """As many threads as sync steps could be running at once, up to 256; at least one."""
    return max(1, min(MOST, _count(plan)))


def _count(plan: Plan) -> int:
    count = 0
    for node in plan.nodes.values():
        body = node.body
        if isinstance(body, Call):
            inside = int(not body.is_async)
        else:
            inside = _count(body.plan) if isinstance(body, Nested | Rounds) else 0
        count += inside * (1 if node.each is None else node.each.width or UNBOUND)
    return count

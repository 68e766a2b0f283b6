"""A graph after `check()`: every name an edge, every type resolved. What a run follows.

Nodes hand each other values under *sources*. A source is a step's name, an input's name, or a name with a
colon for what a step offers beside its value: ``words:stream`` while it still yields, ``answer:unsure``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from omni_agent.graph.beside import Beside
from omni_agent.graph.control import Unsure

__all__ = [
    "Body",
    "Call",
    "Condition",
    "Each",
    "Edge",
    "First",
    "Nested",
    "Node",
    "Plan",
    "Rounds",
    "Wiring",
    "own",
    "stream_of",
    "unsure_of",
]


def stream_of(name: str) -> str:
    """The source of a step's chunks while it yields them."""
    return f"{name}:stream"


def unsure_of(name: str) -> str:
    """The source that says whether a step was unsure."""
    return f"{name}:unsure"


def own(name: str) -> str:
    """What a step itself returned, where another step may stand in for it."""
    return f"{name}:own"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One parameter that reads a source."""

    parameter: str
    source: str
    wraps_text: bool = False
    """Whether a plain `str` that comes along must be wrapped as `Text`."""
    has_default: bool = False
    """Whether the parameter has a default, which stands in where the source was skipped."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A plain function of some sources, called in the event loop."""

    function: Callable[..., Any]
    edges: tuple[Edge, ...]
    which: Beside
    positional: tuple[str, ...] = ()
    """Parameters that cannot be given by keyword, in order."""
    told: str = ""
    """What is said of a step that it skips."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """The node calls a function."""

    function: Callable[..., Any]
    resources: Mapping[str, type]
    """Parameters that take a resource, with the declared type it is matched by."""
    positional: tuple[str, ...]
    """Parameters that cannot be given by keyword, in order."""
    returns: Any
    """What the function returns, or each of the chunks that it yields."""
    is_async: bool
    yields: bool
    join: Callable[[list[Any]], Any] | None
    joined: Any
    """What `join` returns."""
    retries: int
    backoff: float
    unsure: Unsure | None


@dataclass(frozen=True, kw_only=True)
class Nested:
    """The node runs a graph of its own."""

    plan: Plan
    output: str


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The node runs a graph again and again."""

    plan: Plan
    output: str
    carry: Mapping[str, str]
    until: Condition
    max_rounds: int
    on_bound: Literal["raise", "last"]


@dataclass(frozen=True, kw_only=True)
class First:
    """The node takes the first of its sources, in this order, that was not skipped."""

    is_silent: bool
    """Whether it tells no events, because it only joins what a step and its stand-in return."""


Body: TypeAlias = Call | Nested | Rounds | First


@dataclass(frozen=True, kw_only=True)
class Each:
    """The node runs its body once for each item of some of its sources."""

    parameters: Mapping[str, bool]
    """What takes an item, and whether a plain `str` must be wrapped as `Text` for it."""
    width: int | None
    on_error: Literal["raise", "skip"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a run carries out as one: a step, a loop, or a choice."""

    key: str
    """The source of its value."""
    name: str
    """What events and paths call it."""
    place: str
    edges: tuple[Edge, ...]
    conditions: tuple[Condition, ...] = ()
    body: Body
    each: Each | None = None
    timeout: float | None = None
    version: str = ""
    """What its author calls this state of its function."""
    returns: Any
    """The type of its value, as followers see it."""
    is_output: bool = False
    offers: tuple[str, ...] = ()
    """Its sources beside its value."""

    @cached_property
    def sources(self) -> frozenset[str]:
        """All it reads."""
        read = {edge.source for edge in self.edges}
        return frozenset(read.union(edge.source for each in self.conditions for edge in each.edges))

    @cached_property
    def required(self) -> frozenset[str]:
        """The sources that skip it where they are skipped."""
        edges = (*self.edges, *(edge for each in self.conditions for edge in each.edges))
        return frozenset(edge.source for edge in edges if not edge.has_default)

    @cached_property
    def is_leaf(self) -> bool:
        """Whether it calls a function itself, once, and nothing else."""
        return isinstance(self.body, Call) and self.each is None


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Who waits for what, among the nodes that a run needs."""

    nodes: Mapping[str, Node]
    late: tuple[str, ...]
    followers: Mapping[str, tuple[str, ...]]
    readers: Mapping[str, int]
    """How many nodes read a source."""
    missing: Mapping[str, int]
    """How many sources a node waits for."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked graph."""

    graph: str
    version: str = ""
    """What its author calls this state of it."""
    inputs: Mapping[str, Any]
    late: Mapping[str, Any]
    resources: tuple[type, ...]
    nodes: Mapping[str, Node]
    """In an order in which they could run one by one."""
    _wirings: dict[frozenset[str], Wiring] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The steps whose values a run keeps."""
        return tuple(key for key, node in self.nodes.items() if node.is_output)

    @cached_property
    def _producers(self) -> Mapping[str, str]:
        return {source: key for key, node in self.nodes.items() for source in (key, *node.offers)}

    def wiring(self, given: Collection[str] = ()) -> Wiring:
        """The part of the plan that is to run when some steps' values are given.

        All the rest is read by nobody that runs.
        """
        known = frozenset(given)
        if known not in self._wirings:
            self._wirings[known] = self._wired(known)
        return self._wirings[known]

    def _wired(self, given: frozenset[str]) -> Wiring:
        read = {source for node in self.nodes.values() for source in node.sources}
        reached: set[str] = set()
        ahead = [key for key, node in self.nodes.items() if node.is_output or not _offered(node) & read]
        while ahead:
            key = ahead.pop()
            if key in reached or key in given:
                continue
            reached.add(key)
            if key in self.nodes:
                ahead.extend(self._producers.get(source, source) for source in self.nodes[key].sources)
        nodes = {key: node for key, node in self.nodes.items() if key in reached}
        followers: dict[str, list[str]] = {}
        for key, node in nodes.items():
            for source in node.sources:
                followers.setdefault(source, []).append(key)
        return Wiring(
            nodes=nodes,
            late=tuple(name for name in self.late if name in reached),
            followers={source: tuple(keys) for source, keys in followers.items()},
            readers={source: len(keys) for source, keys in followers.items()},
            missing={key: len(node.sources) for key, node in nodes.items()},
        )


def _offered(node: Node) -> frozenset[str]:
    return frozenset((node.key, *node.offers))

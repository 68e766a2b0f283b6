"""One declared choice, held against the steps it may choose from."""

from __future__ import annotations

from omni_agent.graph.declared import Choice
from omni_agent.graph.faults import is_name
from omni_agent.graph.known import Known
from omni_agent.graph.names import listed
from omni_agent.graph.plan import Edge, First, Node

__all__ = ["checked_choice"]


def checked_choice(choice: Choice, known: Known) -> Node:
    """The node of a choice; faults what it cannot choose from."""
    subject = f"choice {choice.name!r}"
    if not is_name(choice.name):
        known.faults.add(
            subject,
            "the name is not one a parameter can have",
            "an identifier",
            "Name it otherwise: graph.first_of('name', ...).",
            choice.place,
        )
    sources: list[str] = []
    for each in choice.of:
        if isinstance(each, str):
            named = [each] if each in (*known.steps, *known.choices) else []
        else:
            named = [name for name, step in known.steps.items() if step.step.is_made_of(each)]
        told = each if isinstance(each, str) else getattr(each, "__name__", repr(each))
        if len(named) != 1:
            steps = [name for name in (*known.steps, *known.choices) if name != choice.name]
            mend = f"It stands for {listed(named)}: name one." if named else "Declare it as a step."
            known.faults.add_unknown(subject, "one step", told, steps, mend, choice.place)
        elif named[0] in sources:
            known.faults.add(
                subject, f"it has {told!r} twice", "different steps", "Take one out.", choice.place
            )
        sources.extend(named[:1])
    if not choice.of:
        known.faults.add(
            subject, "it has nothing to choose from", "one step at least", "Name steps.", choice.place
        )
    return Node(
        key=choice.name,
        name=choice.name,
        place=choice.place,
        edges=tuple(Edge(parameter=each, source=each, has_default=True) for each in dict.fromkeys(sources)),
        body=First(is_silent=False),
        returns=known.hint(choice.name),
        is_output=choice.output,
    )

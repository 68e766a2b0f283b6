"""Faults of a graph, collected while it is checked."""

from __future__ import annotations

import keyword
from collections.abc import Iterable

from omni_agent.errors import Fault
from omni_agent.graph.names import nearest, one_of

__all__ = ["Faults", "is_name"]


class Faults:
    """All that is wrong with a graph so far."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, subject: str, given: str, wanted: str, mend: str, *places: str) -> None:
        """One thing that is wrong: where, what is there, what was wanted, what to do."""
        self.found.append(Fault(subject=subject, given=given, wanted=wanted, mend=mend, places=places))

    def add_unknown(
        self, subject: str, what: str, name: object, known: Iterable[str], mend: str, *places: str
    ) -> None:
        """A name that nothing has; the mend is the nearest one where there is one."""
        names = list(known)
        wanted = one_of(names)
        hint = nearest(name, names) if isinstance(name, str) else ""
        self.add(subject, f"there is no {what} {name!r}", wanted, hint or mend, *places)

    def include(self, subject: str, inner: Iterable[Fault], *places: str) -> None:
        """The faults of a graph that is a step of this one."""
        for fault in inner:
            self.add(
                f"{subject}, {fault.subject}",
                fault.given,
                fault.wanted,
                fault.mend,
                *fault.places,
                *places,
            )


def is_name(name: object) -> bool:
    """Whether a parameter can have this name."""
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)

"""What the steps of a graph can read, while it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from omni_agent.graph.declared import Choice
from omni_agent.graph.faults import Faults
from omni_agent.graph.signature import MISSING, Unresolved
from omni_agent.graph.types import is_checkable

if TYPE_CHECKING:
    from omni_agent.graph.checked_step import CheckedStep

__all__ = ["Known"]


@dataclass(kw_only=True)
class Known:
    """What the steps of a graph can read, and the faults found so far."""

    inputs: Mapping[str, Any]
    late: Mapping[str, Any]
    resources: tuple[type, ...]
    faults: Faults
    names: Mapping[str, int] = field(default_factory=dict)
    """All names, and how many things have each."""
    steps: dict[str, CheckedStep] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)

    def hint(self, name: str, seen: tuple[str, ...] = ()) -> Any:
        """The type of a source's value; `MISSING` where a fault of its own is told of it."""
        if name in self.inputs or name in self.late:
            hint = self.inputs.get(name, self.late.get(name))
        elif name in self.steps:
            hint = self.steps[name].returns
        elif name in self.choices and name not in seen:
            of = [self.hint(each, (*seen, name)) for each in self.named(self.choices[name])]
            hint = MISSING if not of or MISSING in of else Union[tuple(of)]  # noqa: UP007 - of a tuple
        else:
            return MISSING
        return hint if not isinstance(hint, Unresolved) and is_checkable(hint) else MISSING

    def named(self, choice: Choice) -> list[str]:
        """The names of what a choice chooses from, as far as they can be told."""
        found = []
        for each in choice.of:
            made = [name for name, step in self.steps.items() if step.step.is_made_of(each)]
            found.extend([each] if isinstance(each, str) else made[:1])
        return found

    def place(self, name: str) -> tuple[str, ...]:
        """``file:line`` of a step, or nothing for an input."""
        step = self.steps.get(name)
        choice = self.choices.get(name)
        return (step.step.place,) if step else (choice.place,) if choice else ()

    def resource(self, hint: Any) -> type | None:
        """The declared resource that a parameter of this type is given."""
        return next((kind for kind in self.resources if kind is hint), None)

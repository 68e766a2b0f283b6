"""Plain functions of steps and inputs, by their parameters' names: `when` and `until`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from omni_agent.graph.beside import Beside
from omni_agent.graph.faults import Faults
from omni_agent.graph.names import nearest
from omni_agent.graph.plan import Condition, Edge
from omni_agent.graph.signature import MISSING, Unresolved, signature_of
from omni_agent.graph.types import assignable, is_checkable, name_of

__all__ = ["condition_of"]


def condition_of(
    function: Any,
    subject: str,
    names: Sequence[str],
    hint: Callable[[str], Any],
    faults: Faults,
    place: str,
    *,
    which: Beside,
    told: str = "",
) -> Condition:
    """Check a function that decides something.

    Args:
        function: what was given as one.
        subject: what faults call its step.
        names: what its parameters may read.
        hint: the type of each of these.
        faults: where faults go.
        place: ``file:line`` of the step.
        which: the option it was given as.
        told: what is said of a step that it skips.
    """
    subject = f"{subject}, {which}"
    edges = []
    try:
        signature = signature_of(function, None)
    except (TypeError, ValueError):
        faults.add(subject, f"it is {function!r}", "a function", "Give a lambda or a function.", place)
        return Condition(function=bool, edges=(), which=which)
    if inspect.iscoroutinefunction(function) or signature.is_generator or signature.yields:
        faults.add(
            subject,
            "it is async, or yields",
            "a plain function, which returns at once",
            "Decide in a step of its own, and read that here.",
            place,
        )
    for each in signature.parameters:
        if each.variadic:
            faults.add(
                subject, "it takes any number of arguments", "parameters with names", "Name them.", place
            )
        elif each.name in names:
            edges.append(Edge(parameter=each.name, source=each.name, has_default=each.has_default))
            given = hint(each.name)
            typed = each.hint is not MISSING and not isinstance(each.hint, Unresolved)
            typed = typed and given is not MISSING and is_checkable(each.hint)
            if typed and not assignable(given, each.hint):
                faults.add(
                    f"{subject}, parameter {each.name!r}",
                    f"{each.name!r} is {name_of(given)}",
                    name_of(each.hint),
                    "Change one of the two annotations.",
                    place,
                )
        elif not each.has_default:
            faults.add_unknown(
                subject,
                "step or input",
                each.name,
                names,
                nearest(each.name, names) or "Its parameters' names are edges too: rename it.",
                place,
            )
    positional = tuple(each.name for each in signature.parameters if each.positional_only)
    return Condition(function=function, edges=tuple(edges), which=which, positional=positional, told=told)

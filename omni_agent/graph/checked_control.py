"""What a step is told to do, held against what it can do: `map`, `retries`, `unsure`, a loop's bound, ..."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omni_agent.graph.condition import condition_of
from omni_agent.graph.control import Control, Unsure
from omni_agent.graph.declared import Repeat
from omni_agent.graph.names import listed, nearest
from omni_agent.graph.plan import Condition, Each, Edge, Plan
from omni_agent.graph.signature import MISSING, Unresolved
from omni_agent.graph.types import assignable, name_of, wants_text

if TYPE_CHECKING:
    from omni_agent.graph.checked_step import CheckedStep

__all__ = ["check", "check_stand_in", "each_of", "until_of"]

OPTIONS = tuple(Control.__annotations__)
ON_ERROR = ("raise", "skip")
ON_BOUND = ("raise", "last")


def check(step: CheckedStep) -> None:
    """Fault all that is wrong with a step's options in themselves."""
    options: dict[str, Any] = dict(step.step.control)
    for name in options:
        if name not in OPTIONS:
            step.faults.add_unknown(step.subject, "option", name, OPTIONS, "Take it out.", step.step.place)
    _check_map(step, options)
    _check_numbers(step, options)
    if step.inner is not None:
        for name in ("retries", "backoff", "unsure"):
            if name in options:
                _fault(
                    step,
                    name,
                    "it runs a graph",
                    "a step that calls a function",
                    "Give it to those inside.",
                )
    if not isinstance(options.get("version", ""), str | int):
        _fault(step, "version", f"it is {options['version']!r}", "a text or a number", "Give one.")
    if "join" in options and not callable(options["join"]):
        _fault(step, "join", f"it is {options['join']!r}", "a function of a list", "Give a function.")
    elif "join" in options and not step.signature.yields:
        _fault(step, "join", "its function returns its value", "one that yields", "Take join out.")
    if step.step.pick is not None and step.inner is None:
        _fault(step, "output", "it calls a function", "a graph to pick a step of", "Say output=True.")
    _check_unsure(step, options)
    if step.step.repeat is not None:
        _check_repeat(step, step.step.repeat)


def each_of(step: CheckedStep, edges: tuple[Edge, ...]) -> Each | None:
    """How a mapped step goes through its items."""
    if not step.map:
        return None
    options = step.step.control
    hints = {each.name: each.hint for each in step.signature.parameters}
    return Each(
        parameters={
            edge.parameter: wants_text(hints[edge.parameter])
            for edge in edges
            if edge.parameter in step.map and not isinstance(hints[edge.parameter], Unresolved)
        },
        width=options.get("width"),
        on_error=options.get("on_error", "raise"),
    )


def until_of(step: CheckedStep, repeat: Repeat, plan: Plan) -> Condition:
    """The condition that ends a loop: it reads the steps and the inputs of what runs in it."""
    hints = _hints(plan)
    return condition_of(
        repeat.until,
        f"{step.subject}, until",
        list(hints),
        lambda name: hints[name],
        step.faults,
        step.step.place,
        told="",
    )


def _check_map(step: CheckedStep, options: dict[str, Any]) -> None:
    given = options.get("map")
    for name in ("width", "on_error"):
        if name in options and not step.map:
            _fault(step, name, "it has no map", "map={'parameter': 'list'} beside it", "Take it out.")
    if given is not None and (not isinstance(given, Mapping) or not given):
        _fault(
            step, "map", f"it is {given!r}", "a mapping of parameters to lists", "Say map={'one': 'many'}."
        )
        return
    parameters = [each.name for each in step.signature.parameters]
    for parameter in step.map:
        if parameter not in parameters:
            mend = nearest(str(parameter), parameters) or "Take it out of map."
            _fault(
                step,
                f"map={{{parameter!r}: ...}}",
                "its function has no such parameter",
                f"one of {listed(parameters)}",
                mend,
            )
    if options.get("on_error", "raise") not in ON_ERROR:
        _fault(step, "on_error", f"it is {options['on_error']!r}", f"one of {listed(ON_ERROR)}", "Say so.")


def _check_numbers(step: CheckedStep, options: dict[str, Any]) -> None:
    for name, least in (("width", 1), ("retries", 0)):
        if name in options and (type(options[name]) is not int or options[name] < least):
            _fault(step, name, f"it is {options[name]!r}", f"an integer of {least} or more", "Give another.")
    for name in ("timeout", "backoff"):
        value = options.get(name, 1)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not value > 0:
            _fault(step, name, f"it is {value!r}", "seconds above 0", "Give another.")


def _check_unsure(step: CheckedStep, options: dict[str, Any]) -> None:
    if "unsure" not in options or step.inner is not None:
        return
    unsure = options["unsure"]
    if not isinstance(unsure, Unsure):
        _fault(step, "unsure", f"it is {unsure!r}", "Unsure(below=...)", "Give one.")
        return
    if unsure.retry and step.signature.yields:
        _fault(
            step,
            "unsure",
            "its function yields",
            "one that returns, to be called again",
            "Say retry=0.",
        )
    if unsure.then is not None and (step.map or step.signature.yields):
        _fault(
            step,
            "unsure",
            "it has several values",
            "one, for another step to stand in",
            "Take `then` out.",
        )


def check_stand_in(step: CheckedStep) -> None:
    """Fault a stand-in that is no other step, or of another type."""
    then = step.stand_in
    if then is None:
        return
    others = [name for name in step.known.steps if name != step.step.name]
    subject = f"{step.subject}, unsure"
    if then not in others:
        step.faults.add_unknown(subject, "other step", then, others, "Declare it.", step.step.place)
        return
    given, wanted = step.known.hint(then), step.returns
    if MISSING in (given, wanted) or isinstance(wanted, Unresolved):
        return
    if not assignable(given, wanted):
        step.faults.add(
            subject,
            f"step {then!r} returns {name_of(given)}",
            f"{name_of(wanted)}, to stand in for {step.step.name!r}",
            "Change one of the two annotations.",
            step.step.place,
            *step.known.place(then),
        )


def _check_repeat(step: CheckedStep, repeat: Repeat) -> None:
    rounds: object = repeat.max_rounds
    if type(rounds) is not int or rounds < 1:
        _fault(step, "max_rounds", f"it is {rounds!r}", "an integer of 1 or more", "Give another.")
    if repeat.on_bound not in ON_BOUND:
        _fault(step, "on_bound", f"it is {repeat.on_bound!r}", f"one of {listed(ON_BOUND)}", "Say so.")
    carry: object = repeat.carry
    if not isinstance(carry, Mapping):
        _fault(step, "carry", f"it is {carry!r}", "a mapping", "Say carry={'input': 'step'}.")
        return
    assert step.inner is not None
    plan = step.inner.plan
    hints = _hints(plan)
    for taken, source in repeat.carry.items():
        what = f"carry={{{taken!r}: {source!r}}}"
        if taken not in plan.inputs:
            mend = nearest(str(taken), plan.inputs) or "Carry what the next round takes."
            _fault(step, what, f"there is no input {taken!r} inside", f"one of {listed(plan.inputs)}", mend)
        elif source not in hints:
            mend = nearest(str(source), hints) or "Carry what a round makes."
            _fault(step, what, f"there is no step {source!r} inside", f"one of {listed(hints)}", mend)
        elif hints[source] is not MISSING and not assignable(hints[source], plan.inputs[taken]):
            _fault(
                step,
                what,
                f"{source!r} is {name_of(hints[source])}",
                name_of(plan.inputs[taken]),
                "Change one of the two types.",
            )


def _hints(plan: Plan) -> dict[str, Any]:
    steps = {key: node.returns for key, node in plan.nodes.items() if ":" not in key}
    return {**plan.inputs, **plan.late, **steps}


def _fault(step: CheckedStep, what: str, given: str, wanted: str, mend: str) -> None:
    step.faults.add(f"{step.subject}, {what}", given, wanted, mend, step.step.place)

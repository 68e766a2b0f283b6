"""What a step is told to do, held against what it can do: `map`, `retries`, `unsure`, a loop's bound, ..."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omni_agent.graph.brief import brief
from omni_agent.graph.condition import condition_of
from omni_agent.graph.control import Control, Unsure
from omni_agent.graph.declared import Repeat
from omni_agent.graph.names import listed, names_in, nearest, one_of
from omni_agent.graph.plan import Condition, Each, Edge, Plan
from omni_agent.graph.signature import MISSING, Unresolved, signature_of
from omni_agent.graph.types import assignable, is_definite, name_of, wants_text

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
    _check_join(step, options)
    _check_mapping(step, "reads", step.step.reads, "parameters to steps", "Say reads={'parameter': 'step'}.")
    if not isinstance(step.step.marked, bool | str):
        given = f"it is {step.step.marked!r}"
        _fault(step, "output", given, "True, False, or the name of a step of a graph", "Say one of them.")
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
        step.subject,
        list(hints),
        lambda name: hints[name],
        step.faults,
        step.step.place,
        which="until",
    )


def _check_map(step: CheckedStep, options: dict[str, Any]) -> None:
    for name in ("width", "on_error"):
        if name in options and not step.map:
            _fault(step, name, "it has no map", "map={'parameter': 'list'} beside it", "Take it out.")
    if options.get("map") is not None:
        _check_mapping(step, "map", options["map"], "parameters to lists", "Say map={'one': 'many'}.")
        if options["map"] == {}:
            _fault(step, "map", "it is {}", "a parameter to map at least", "Take it out, or say which.")
    parameters = [each.name for each in step.signature.parameters]
    for parameter in step.map:
        if parameter not in parameters:
            mend = nearest(parameter, parameters) or "Take it out of map."
            _fault(
                step,
                f"map={{{parameter!r}: ...}}",
                "its function has no such parameter",
                one_of(parameters),
                mend,
            )
    if options.get("on_error", "raise") not in ON_ERROR:
        _fault(step, "on_error", f"it is {options['on_error']!r}", one_of(ON_ERROR), "Say so.")


def _check_mapping(step: CheckedStep, what: str, given: object, wanted: str, mend: str) -> None:
    if not isinstance(given, Mapping):
        _fault(step, what, f"it is {given!r}", f"a mapping of {wanted}", mend)
        return
    for name, of in given.items():
        if not (isinstance(name, str) and isinstance(of, str)):
            _fault(step, what, f"it has {brief(name)}: {brief(of)}", f"a mapping of {wanted}, by name", mend)


def _check_numbers(step: CheckedStep, options: dict[str, Any]) -> None:
    for name, least in (("width", 1), ("retries", 0)):
        if name in options and (type(options[name]) is not int or options[name] < least):
            _fault(step, name, f"it is {options[name]!r}", f"an integer of {least} or more", "Give another.")
    for name in ("timeout", "backoff"):
        value = options.get(name, 1)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not value > 0:
            _fault(step, name, f"it is {value!r}", "seconds above 0", "Give another.")


def _check_join(step: CheckedStep, options: dict[str, Any]) -> None:
    if "join" not in options:
        return
    join = options["join"]
    if not callable(join):
        _fault(step, "join", f"it is {join!r}", "a function of a list", "Give a function.")
        return
    if not step.signature.yields:
        _fault(step, "join", "its function returns its value", "one that yields", "Take join out.")
        return
    try:
        written, signature = inspect.signature(join), signature_of(join, None)
    except (TypeError, ValueError):
        return  # written in C, some functions do not say what they take
    if inspect.iscoroutinefunction(join) or signature.is_async or signature.is_generator or signature.yields:
        given, mend = "it is async, or yields", "Join in a step of its own, which takes the list."
        _fault(step, "join", given, "a plain function, which returns at once", mend)
    try:
        written.bind([])
    except TypeError:
        mend = "Give its other parameters defaults, or bind them with functools.partial."
        by_name = [each.name for each in written.parameters.values() if each.kind is each.KEYWORD_ONLY]
        given = f"it takes {listed(written.parameters)}{f', {listed(by_name)} by name only' * bool(by_name)}"
        _fault(step, "join", given, "a function that can be called with one list", mend)
        return
    first, chunk = signature.parameters[0], step.chunk
    if chunk is MISSING or first.variadic or not is_definite(first.hint):
        return
    if not assignable(list[chunk], first.hint):  # type: ignore[valid-type]
        mend = "Change one of the two annotations."
        given = f"it is given list[{name_of(chunk)}]"
        _fault(step, f"join, parameter {first.name!r}", given, name_of(first.hint), mend)


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
        _fault(step, "on_bound", f"it is {repeat.on_bound!r}", one_of(ON_BOUND), "Say so.")
    _check_mapping(step, "carry", repeat.carry, "inputs to steps", "Say carry={'input': 'step'}.")
    assert step.inner is not None
    plan = step.inner.plan
    hints = _hints(plan)
    for taken, source in names_in(repeat.carry).items():
        what = f"carry={{{taken!r}: {source!r}}}"
        if taken not in plan.inputs:
            mend = nearest(taken, plan.inputs) or "Carry what the next round takes."
            _fault(step, what, f"there is no input {taken!r} inside", one_of(plan.inputs), mend)
        elif source not in hints:
            mend = nearest(source, hints) or "Carry what a round makes."
            _fault(step, what, f"there is no step {source!r} inside", one_of(hints), mend)
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

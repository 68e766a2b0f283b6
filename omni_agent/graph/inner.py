"""The graph inside a step: one that was given as a step, or the one step of a loop's function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omni_agent.errors import Fault, GraphError
from omni_agent.graph.declared import Step
from omni_agent.graph.names import listed, nearest, one_of
from omni_agent.graph.plan import Plan
from omni_agent.graph.signature import MISSING, Parameter, Signature, Unresolved

__all__ = ["Inner", "inner_of"]


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A checked graph that is run by a step of another."""

    plan: Plan
    output: str
    """The step whose value is the value of the whole."""

    @property
    def signature(self) -> Signature:
        """As a function would have it: inputs in, the output's type out."""
        taken = {**self.plan.inputs, **self.plan.late}
        return Signature(
            parameters=tuple(Parameter(name=name, hint=hint) for name, hint in taken.items()),
            returns=self.plan.nodes[self.output].returns,
        )


def inner_of(step: Step, resources: tuple[type, ...]) -> Inner | None:
    """The graph that a step runs; None where it calls a function.

    Raises:
        GraphError: that graph has faults, or it is unclear which of its values is meant.
        TypeError, ValueError: a loop's function has no signature.
    """
    from omni_agent.graph.build import Graph  # whose steps may be graphs again

    if isinstance(step.function, Graph):
        plan = step.function.plan()
    elif step.repeat is not None:
        plan = _one_step(step, resources)
    else:
        return None
    return Inner(plan=plan, output=_output(step, plan))


def _one_step(loop: Step, resources: tuple[type, ...]) -> Plan:
    from omni_agent.graph.check import check  # a graph's check looks into the graphs inside

    def is_type(hint: Any) -> bool:
        return hint is not MISSING and not isinstance(hint, Unresolved)

    parameters = [
        each for each in loop.signature.parameters if each.hint not in resources and not each.variadic
    ]
    step = loop.alone()
    return check(
        step.name,
        inputs={each.name: each.hint if is_type(each.hint) else Any for each in parameters},
        late={},
        resources=resources,
        steps=[step],
    )


def _output(step: Step, plan: Plan) -> str:
    names = [key for key in plan.nodes if ":" not in key]
    if step.pick is None:
        if len(plan.outputs) == 1:
            return plan.outputs[0]
        given, wanted = f"graph {plan.graph!r} keeps {listed(plan.outputs)}", "one value"
        mend = "Say which by output='...'."
    elif step.pick in names:
        return step.pick
    else:
        given, wanted = f"graph {plan.graph!r} has no step {step.pick!r}", one_of(names)
        mend = nearest(step.pick, names) or "Say which by output='...'."
    fault = Fault(subject="output", given=given, wanted=wanted, mend=mend)
    raise GraphError(plan.graph, (fault,))

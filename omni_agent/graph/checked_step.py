"""One declared step, held against the names and types that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, get_args, get_origin

from omni_agent.errors import GraphError
from omni_agent.graph import checked_control as control
from omni_agent.graph.condition import condition_of
from omni_agent.graph.context import StepContext
from omni_agent.graph.declared import Step
from omni_agent.graph.faults import is_name
from omni_agent.graph.inner import Inner, inner_of
from omni_agent.graph.known import Known
from omni_agent.graph.names import names_in, nearest, one_of
from omni_agent.graph.plan import Body, Call, Condition, Edge, Nested, Node, Rounds, stream_of
from omni_agent.graph.signature import MISSING, Parameter, Signature, Unresolved, signature_of
from omni_agent.graph.stream import Stream
from omni_agent.graph.types import (
    CHECKABLE,
    assignable,
    chunk_of,
    is_checkable,
    item_of,
    mend_of,
    name_of,
    wants_text,
)

__all__ = ["CheckedStep"]


class CheckedStep:
    """A step's declaration, while it is checked. Faults go where `known` collects them."""

    def __init__(self, step: Step, known: Known) -> None:
        self.step = step
        self.known = known
        self.faults = known.faults
        self.subject = f"step {step.name!r}"
        self.inner: Inner | None = None
        self.is_readable = self._read()

    @cached_property
    def signature(self) -> Signature:
        """What the function takes and gives; of a graph, its inputs and the step that is picked."""
        return self.inner.signature if self.inner is not None else self.step.signature

    @cached_property
    def map(self) -> Mapping[str, str]:
        """The parameters that take one item each."""
        return names_in(self.step.control.get("map"))

    @cached_property
    def reads(self) -> Mapping[str, str]:
        """The parameters that read something of another name."""
        return names_in(self.step.reads)

    @cached_property
    def chunk(self) -> Any:
        """The type of the chunks, where it yields."""
        return chunk_of(self.signature.returns)

    @cached_property
    def returns(self) -> Any:
        """The type of its value, as followers see it."""
        returns = self.signature.returns
        if self.signature.yields:
            join = self.step.control.get("join")
            returns = list[self.chunk] if join is None else _joined(join)  # type: ignore[name-defined]
        if self.map and returns is not MISSING and not isinstance(returns, Unresolved):
            return list[returns]  # type: ignore[valid-type]
        return returns

    @property
    def streams(self) -> bool:
        """Whether followers can read its chunks while they come."""
        return self.signature.yields and not self.map

    @property
    def inner_resources(self) -> tuple[type, ...]:
        """What the graph inside takes."""
        return () if self.inner is None else self.inner.plan.resources

    @property
    def stand_in(self) -> str | None:
        """The step that stands in for it where it is unsure."""
        unsure = self.step.control.get("unsure")
        return getattr(unsure, "then", None)

    def node(self) -> Node:
        """Its part of the plan."""
        step, options = self.step, self.step.control
        edges = tuple(self._edges())
        when = options.get("when")
        conditions: tuple[Condition, ...] = ()
        if when is not None:
            conditions = (
                condition_of(
                    when,
                    self.subject,
                    [name for name in self.known.names if name != step.name],
                    self.known.hint,
                    self.faults,
                    step.place,
                    which="when",
                    told="`when` was false",
                ),
            )
        return Node(
            key=step.name,
            name=step.name,
            place=step.place,
            edges=edges,
            conditions=conditions,
            body=self._body(edges),
            each=control.each_of(self, edges),
            timeout=options.get("timeout"),
            version=str(options.get("version", "")),
            returns=self.returns,
            is_output=step.output,
            offers=(stream_of(step.name),) if self.streams else (),
        )

    def check_return(self) -> None:
        """Fault a return that is no type."""
        control.check_stand_in(self)
        returns = self.signature.returns
        is_type = self._check_hint(f"{self.subject}, return", returns)
        if is_type and self.signature.yields and self.chunk is MISSING:
            self.faults.add(
                f"{self.subject}, return",
                f"it yields, and is annotated {name_of(returns)}",
                "AsyncIterator[...] with the type of its chunks",
                "Annotate it so.",
                self.step.place,
            )

    def _read(self) -> bool:
        """Whether there is a signature; names and control are checked on the way."""
        step, faults = self.step, self.faults
        if not is_name(step.name):
            faults.add(
                self.subject,
                "the name is not one a parameter can have",
                "an identifier",
                "Name it: graph.step(function, as_='...').",
                step.place,
            )
        try:
            self.inner = inner_of(step, self.known.resources)
            signature = self.signature
        except GraphError as error:
            faults.include(self.subject, error.faults, step.place)
            return False
        except (TypeError, ValueError):
            faults.add(
                self.subject,
                f"{type(step.function).__name__} has no signature to read",
                "a function",
                "Write a function with annotations that calls it.",
                step.place,
            )
            return False
        if signature.is_generator:
            faults.add(
                self.subject,
                "its function is a generator",
                "a function that returns its value, or an async generator",
                "Return a list, or make it `async def` to yield chunks while others read them.",
                step.place,
            )
        parameters = [each.name for each in signature.parameters]
        for parameter in self.reads:
            if parameter not in parameters:
                faults.add(
                    f"{self.subject}, reads={{{parameter!r}: ...}}",
                    "its function has no such parameter",
                    one_of(parameters),
                    nearest(parameter, parameters) or "Take it out of reads.",
                    step.place,
                )
        control.check(self)
        return True

    # edges

    def _edges(self) -> Iterator[Edge]:
        for parameter in self.signature.parameters:
            subject = f"{self.subject}, parameter {parameter.name!r}"
            if parameter.variadic:
                self.faults.add(
                    subject,
                    "it takes any number of arguments",
                    "parameters with names",
                    "Name each one, since names are edges.",
                    self.step.place,
                )
                continue
            resolved = self._check_hint(subject, parameter.hint)
            source = self.source(parameter.name)
            if source in self.known.names:
                if resolved:
                    self._check_types(parameter, source)
                is_stream = get_origin(parameter.hint) is Stream and source in self.known.steps
                yield Edge(
                    parameter=parameter.name,
                    source=stream_of(source) if is_stream else source,
                    wraps_text=resolved and parameter.name not in self.map and wants_text(parameter.hint),
                    has_default=parameter.has_default and parameter.name not in self.map,
                )
            elif self.inner is not None and parameter.name in self.inner.plan.late:
                continue  # nobody gives it here, so it is sent
            elif not resolved:
                # it may be meant for a resource: only a near name makes a second fault likely
                if nearest(source, self.known.names):
                    self._fault_unknown(parameter, source)
            elif source != parameter.name or self.known.resource(parameter.hint) is None:
                self._fault_unknown(parameter, source)

    def source(self, parameter: str) -> str:
        """The name that a parameter reads."""
        return self.map.get(parameter) or self.reads.get(parameter, parameter)

    def _check_hint(self, subject: str, hint: Any) -> bool:
        """Whether an annotation is a type; faults it otherwise."""
        if hint is MISSING:
            self.faults.add(subject, "it has no annotation", "a type", "Annotate it.", self.step.place)
        elif isinstance(hint, Unresolved):
            self.faults.add(
                subject,
                f"the annotation {hint.text!r} cannot be resolved ({hint.reason})",
                "a type known where the step is declared",
                "Import it at run time, outside `if TYPE_CHECKING`, or define it before the graph is used.",
                self.step.place,
            )
        elif not is_checkable(hint):
            self.faults.add(
                subject,
                f"values cannot be held against {name_of(hint)}",
                CHECKABLE,
                mend_of(hint) or "Annotate it otherwise.",
                self.step.place,
            )
        else:
            return True
        return False

    def _check_types(self, parameter: Parameter, source: str) -> None:
        given, wanted = self.known.hint(source), parameter.hint
        if given is MISSING:
            return
        producer = self.known.steps.get(source)
        verb = "is" if source in (*self.known.inputs, *self.known.late) else "returns"
        what = "input" if verb == "is" else "step"
        told, mend = f"{what} {source!r} {verb} {name_of(given)}", ""
        if parameter.name in self.map:
            item = item_of(given)
            if item is MISSING:
                wanted_told = f"list[{name_of(wanted)}], to be mapped"
                self._fault_types(parameter, told, wanted_told, source)
                return
            given = item
        elif get_origin(wanted) is Stream and producer is not None:
            if not (self.signature.is_async or self.signature.yields):
                mend = "Make it `async def`: a thread cannot read a stream."
                self._fault_types(parameter, "its function is not async", "an async function", source, mend)
                return
            if not producer.streams:
                mend = "Let that step yield, or take its value."
                self._fault_types(parameter, told, "a step that yields", source, mend)
                return
            told, given = f"step {source!r} yields {name_of(producer.chunk)}", Stream[producer.chunk]  # type: ignore[name-defined]
            if producer.chunk is MISSING or assignable(producer.chunk, get_args(wanted)[0]):
                return
        if not assignable(given, wanted):
            self._fault_types(parameter, told, name_of(wanted), source, mend)

    def _fault_types(
        self, parameter: Parameter, given: str, wanted: str, source: str, mend: str = ""
    ) -> None:
        self.faults.add(
            f"{self.subject}, parameter {parameter.name!r}",
            given,
            wanted,
            mend or "Change one of the two annotations, or put a step between them.",
            self.step.place,
            *self.known.place(source),
        )

    def _fault_unknown(self, parameter: Parameter, source: str) -> None:
        kinds = ", ".join(name_of(each) for each in self.known.resources if each is not StepContext)
        known = [name for name in self.known.names if name != self.step.name]
        self.faults.add(
            f"{self.subject}, parameter {parameter.name!r}",
            f"there is no step or input {source!r}",
            f"{one_of(known)}, or a resource ({kinds})" if known else f"a resource ({kinds})",
            nearest(source, known)
            or f"Add inputs={{{source!r}: ...}} or a step, or bind it with functools.partial.",
            self.step.place,
        )

    # body

    def _body(self, edges: tuple[Edge, ...]) -> Body:
        step, options, inner = self.step, self.step.control, self.inner
        if inner is not None and step.repeat is not None:
            return Rounds(
                plan=inner.plan,
                output=inner.output,
                carry=step.repeat.carry,
                until=control.until_of(self, step.repeat, inner.plan),
                max_rounds=step.repeat.max_rounds,
                on_bound="last" if step.repeat.on_bound == "last" else "raise",
            )
        if inner is not None:
            return Nested(plan=inner.plan, output=inner.output)
        assert callable(step.function)
        read = {edge.parameter for edge in edges}
        signature = self.signature
        matched = {each.name: self.known.resource(each.hint) for each in signature.parameters}
        return Call(
            function=step.function,
            resources={name: kind for name, kind in matched.items() if kind is not None and name not in read},
            positional=tuple(each.name for each in signature.parameters if each.positional_only),
            returns=self.chunk if signature.yields else signature.returns,
            is_async=signature.is_async or signature.yields,
            yields=signature.yields,
            join=options.get("join"),
            joined=_joined(options["join"]) if "join" in options else Any,
            retries=options.get("retries", 0),
            backoff=options.get("backoff", 0.1),
            unsure=options.get("unsure"),
        )


def _joined(join: Any) -> Any:
    """What a function of chunks returns, where it says so."""
    try:
        returns = signature_of(join, None).returns
    except (TypeError, ValueError):
        return Any
    return Any if returns is MISSING or isinstance(returns, Unresolved) else returns

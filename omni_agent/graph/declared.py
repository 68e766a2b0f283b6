"""What was declared of a graph: steps, loops among them, and choices. Says nothing of whether it is right."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType, MethodType
from typing import TYPE_CHECKING, Any, TypeAlias

from omni_agent.graph.control import Control
from omni_agent.graph.signature import Signature, place_of, signature_of

if TYPE_CHECKING:
    from omni_agent.graph.build import Graph

__all__ = ["Choice", "Declared", "Repeat", "Step"]


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """What makes a step a loop: what is carried from round to round, until when."""

    carry: Mapping[str, str]
    until: Callable[..., Any]
    max_rounds: int
    on_bound: str


class Step:
    """A function or a graph under a name.

    Args:
        name: the step's name in its graph.
        function: what it calls, or the graph it runs.
        reads: the names that parameters read, where they are not the parameters' own.
        output: whether a run keeps its value; of a graph, the step inside whose value is taken.
        control: how it is run.
        frame: where it was declared; annotations may use the names that are local there.
        repeat: of a loop, how it goes round.
    """

    def __init__(
        self,
        *,
        name: str,
        function: Callable[..., Any] | Graph,
        reads: Mapping[str, str],
        output: bool | str,
        control: Control,
        frame: FrameType,
        repeat: Repeat | None = None,
    ) -> None:
        self.name = name
        self.function = function
        given: object = reads
        self.reads = dict(given) if isinstance(given, Mapping) else given  # what is no mapping is a fault
        self.marked = output
        self.output = output is True
        self.pick = output if isinstance(output, str) else None
        self.control = control
        self.repeat = repeat
        self.place = place_of(function, frame)
        """``file:line`` of the function."""
        self._frame: FrameType | None = frame
        self._signature: Signature | None = None

    @property
    def signature(self) -> Signature:
        """What the function takes and gives.

        Annotations that cannot be resolved yet are tried again, since a name may be defined later.

        Raises:
            TypeError: the function is none.
            ValueError: it is written in C and has no signature.
        """
        if self._signature is not None:
            return self._signature
        if not callable(self.function):
            raise TypeError
        signature = signature_of(self.function, self._frame)
        if signature.is_resolved:
            # the frame would keep all of its local names alive
            self._signature, self._frame = signature, None
        return signature

    def alone(self) -> Step:
        """The same function as the only step of a graph of its own."""
        signature = self.signature
        step = Step(
            name=getattr(self.function, "__name__", self.name),
            function=self.function,
            reads={},
            output=True,
            control={},
            frame=sys._getframe(),
        )
        step.place, step._frame, step._signature = self.place, self._frame, signature
        return step

    def is_made_of(self, function: object) -> bool:
        """Whether this step was declared with `function`; methods are made anew at each access."""
        own = self.function
        if isinstance(function, MethodType) and isinstance(own, MethodType):
            return function.__func__ is own.__func__ and function.__self__ is own.__self__
        return function is own


class Choice:
    """The first of some steps that was not skipped."""

    def __init__(
        self, *, name: str, of: tuple[str | Callable[..., Any], ...], output: bool, frame: FrameType
    ) -> None:
        self.name = name
        self.of = of
        self.output = output
        self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def is_made_of(self, function: object) -> bool:
        """No function stands for it."""
        return False


Declared: TypeAlias = Step | Choice

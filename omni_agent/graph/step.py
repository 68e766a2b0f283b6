"""A step as it was declared: a function, its name, and what it reads under other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FrameType, MethodType
from typing import Any

from omni_agent.graph.signature import Signature, place_of, signature_of

__all__ = ["Step"]


class Step:
    """One declaration of a step; says nothing about whether it is right.

    Args:
        name: the step's name in its graph.
        function: what it calls.
        reads: the names that parameters read, where they are not the parameters' own.
        output: whether a run keeps its value.
        frame: where it was declared; annotations may use the names that are local there.
    """

    def __init__(
        self,
        *,
        name: str,
        function: Callable[..., Any],
        reads: Mapping[str, str],
        output: bool,
        frame: FrameType,
    ) -> None:
        self.name = name
        self.function = function
        self.reads = dict(reads)
        self.output = output
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
        signature = signature_of(self.function, self._frame)
        if signature.is_resolved:
            # the frame would keep all of its local names alive
            self._signature, self._frame = signature, None
        return signature

    def source(self, parameter: str) -> str:
        """The name that a parameter reads."""
        return self.reads.get(parameter, parameter)

    def is_made_of(self, function: object) -> bool:
        """Whether this step was declared with `function`; methods are made anew at each access."""
        own = self.function
        if isinstance(function, MethodType) and isinstance(own, MethodType):
            return function.__func__ is own.__func__ and function.__self__ is own.__self__
        return function is own

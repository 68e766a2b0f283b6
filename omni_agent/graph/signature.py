"""What a step's function takes and gives, read from its signature. Knows nothing of other steps."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType, MethodType, SimpleNamespace
from typing import Any, TypeGuard, get_type_hints

__all__ = ["MISSING", "Parameter", "Signature", "Unresolved", "place_of", "signature_of"]


@dataclass(frozen=True)
class Unresolved:
    """An annotation that could not be turned into a type, and why."""

    text: str
    reason: str


class _Missing:
    def __repr__(self) -> str:
        return "no annotation"


MISSING = _Missing()
"""Stands for an annotation that is not there."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter: its name, its type (or `MISSING`, or `Unresolved`), how it may be given."""

    name: str
    hint: Any
    positional_only: bool = False
    variadic: bool = False
    has_default: bool = False


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A function's parameters and its return, with types resolved."""

    parameters: tuple[Parameter, ...]
    returns: Any
    is_async: bool = True
    is_generator: bool = False
    """Whether it is a plain generator, which no step can be."""
    yields: bool = False
    """Whether it is an async generator."""

    @property
    def is_resolved(self) -> bool:
        """Whether every annotation was turned into a type."""
        hints = (self.returns, *(each.hint for each in self.parameters))
        return not any(isinstance(hint, Unresolved) for hint in hints)


def signature_of(function: Callable[..., Any], frame: FrameType | None) -> Signature:
    """Read a function's signature.

    Args:
        function: a function, method, `functools.partial` or callable object. What a partial binds by keyword
            is no parameter any more.
        frame: where the function became a step; its local names may appear in annotations.

    Raises:
        TypeError: not callable.
        ValueError: written in C without a signature.
    """
    signature = inspect.signature(function)
    plain, bound = _unwrapped(function)
    scope = getattr(plain, "__globals__", {})
    local = frame.f_locals if frame is not None else {}

    def resolve(annotation: Any) -> Any:
        if annotation is inspect.Parameter.empty:
            return MISSING
        try:
            # typing resolves one function's annotations all or none; this way each fails alone
            holder = SimpleNamespace(__annotations__={"it": annotation})
            return get_type_hints(holder, scope, local, include_extras=True)["it"]
        except Exception as error:  # evaluating the user's text may raise anything
            return Unresolved(str(annotation), f"{type(error).__name__}: {error}")

    return Signature(
        parameters=tuple(
            Parameter(
                name=each.name,
                hint=resolve(each.annotation),
                positional_only=each.kind is each.POSITIONAL_ONLY,
                variadic=each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD),
                has_default=each.default is not each.empty,
            )
            for each in signature.parameters.values()
            if each.name not in bound
        ),
        returns=resolve(signature.return_annotation),
        is_async=_is(inspect.iscoroutinefunction, function),
        is_generator=_is(inspect.isgeneratorfunction, function),
        yields=_is(inspect.isasyncgenfunction, function),
    )


def place_of(function: object, frame: FrameType) -> str:
    """``file:line`` of a function, or of where it became a step if it has no source."""
    plain, _ = _unwrapped(function)
    code = getattr(plain, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _unwrapped(function: object) -> tuple[object, Mapping[str, Any]]:
    """The function itself, under partials, methods and decorators, and what partials bind by keyword."""
    bound: dict[str, Any] = {}
    while True:
        if isinstance(function, functools.partial):
            bound = {**function.keywords, **bound}
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif callable(function) and not hasattr(function, "__code__") and not inspect.isclass(function):
            call = type(function).__call__
            if not hasattr(call, "__code__"):
                return function, bound
            function = call
        else:
            return function, bound


def _is(kind: Callable[[object], bool], function: object) -> TypeGuard[Callable[..., Any]]:
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004 - its kind, not whether

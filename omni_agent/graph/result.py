"""What a run leaves: the values of its graph's outputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar, overload

from omni_agent.errors import NoSuchResult, StepWasSkipped
from omni_agent.graph.names import listed, nearest
from omni_agent.graph.scope import SKIPPED

__all__ = ["Result"]

T = TypeVar("T")


class Result:
    """The outputs of a finished run, by step.

    ``result[spoken]`` has the type `spoken` is annotated to return; ``result["spoken"]`` is Any. With `map` a
    step has a list of that, which the type of its function does not say: ask for it by its name. A step that
    yields has a list, or what `join` makes of it. ``dict(result)`` gives all outputs by name, without those
    that were skipped.
    """

    __slots__ = ("_graph", "_names", "_skipped", "_values")

    def __init__(
        self,
        graph: str,
        values: Mapping[str, Any],
        names: Callable[[Callable[..., Any]], tuple[str, ...]],
    ) -> None:
        self._graph = graph
        self._values = {name: value for name, value in values.items() if value is not SKIPPED}
        self._skipped = frozenset(values) - frozenset(self._values)
        self._names = names

    @overload
    def __getitem__(self, step: str) -> Any: ...
    @overload
    def __getitem__(self, step: Callable[..., Coroutine[Any, Any, T]]) -> T: ...
    @overload
    def __getitem__(self, step: Callable[..., AsyncIterator[Any]]) -> Any: ...
    @overload
    def __getitem__(self, step: Callable[..., T]) -> T: ...
    def __getitem__(self, step: str | Callable[..., Any]) -> Any:
        """The value of an output.

        Raises:
            NoSuchResult: the graph has no such step, the step is no output, or a function stands for several.
            StepWasSkipped: it was skipped, and has no value.
        """
        name = step if isinstance(step, str) else self._name_of(step)
        try:
            return self._values[name]
        except KeyError:
            pass
        if name in self._skipped:
            raise StepWasSkipped(
                f"step {name!r} of graph {self._graph!r} was skipped, so it has no value: ask"
                f" `{name!r} in result` before, or let graph.first_of(...) choose what there is"
            )
        hint = nearest(name, self._values)
        raise NoSuchResult(
            f"{name!r} is not an output of graph {self._graph!r}, which keeps {listed(self._values)}."
            f" {hint or f'If {name!r} is a step, mark it with output=True to keep its value.'}"
        )

    def _name_of(self, function: Callable[..., Any]) -> str:
        names = self._names(function)
        if len(names) == 1:
            return names[0]
        called = getattr(function, "__name__", repr(function))
        if not names:
            raise NoSuchResult(
                f"{called} is not a step of graph {self._graph!r}, which keeps {listed(self._values)}"
            )
        raise NoSuchResult(f"{called} stands for several steps, {listed(names)}: ask for one by its name")

    def keys(self) -> Iterator[str]:
        """The names of the outputs."""
        return iter(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, step: object) -> bool:
        return step in self._values

    def __repr__(self) -> str:
        return f"<Result of {self._graph!r}: {', '.join(f'{k}={v!r}' for k, v in self._values.items())}>"

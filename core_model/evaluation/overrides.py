"""Settings for an evaluation, by task: what decoding is like with them, and without."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeAlias, get_type_hints

from pydantic import TypeAdapter, ValidationError

from omni_agent.core import Begin, Core, Generation, Request, Settings, Task, caller
from omni_agent.errors import InputError

__all__ = ["NONE", "Overrides"]

Caller: TypeAlias = Callable[[Core, Request, Begin], Generation]


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What requests of some tasks are told other than what a verb's caller said.

    Attributes:
        by_task: for each task, settings by their name.
    """

    by_task: Mapping[Task, Mapping[str, Any]] = field(default_factory=dict)

    @staticmethod
    def of(given: Iterable[str]) -> Overrides:
        """Read "task.name=value", such as "speak.repeat_penalty=1.2"; a later one replaces an earlier.

        Raises:
            InputError: it is none, or no such task, setting or value.
        """
        by_task: dict[Task, dict[str, Any]] = {}
        for each in given:
            name, equals, value = each.partition("=")
            task, dot, setting = name.strip().partition(".")
            if not equals or not dot:
                raise InputError(f"given the setting {each!r}; wanted TASK.NAME=VALUE, as draw.num_steps=16")
            if task not in list(Task):
                raise InputError(f"given the task {task!r} in {each!r}; wanted one of {', '.join(Task)}")
            by_task.setdefault(Task(task), {})[setting] = _value(setting, value.strip())
        for settings in by_task.values():
            Settings(**settings)  # refuses what is out of range before anything is asked
        return Overrides(by_task=by_task)

    def over(self, others: Overrides) -> Overrides:
        """Both; these, where they name the same setting."""
        tasks = {**others.by_task, **self.by_task}
        return Overrides(
            by_task={task: {**others.by_task.get(task, {}), **self.by_task.get(task, {})} for task in tasks}
        )

    @property
    def shown(self) -> dict[str, str]:
        """Each as "task.name", and its value."""
        return {
            f"{task}.{name}": str(value)
            for task, settings in self.by_task.items()
            for name, value in settings.items()
        }

    @property
    def words(self) -> str:
        """All of them in a line."""
        return ", ".join(f"{name} {value}" for name, value in self.shown.items())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While this lasts, what is requested in this context is told so."""
        if not self.by_task:
            yield
            return
        token = caller.set(partial(self._begin, caller.get()))
        try:
            yield
        finally:
            caller.reset(token)

    def _begin(self, outer: Caller | None, core: Core, request: Request, begin: Begin) -> Generation:
        settings = self.by_task.get(request.task, {})
        changed = replace(request, settings=replace(request.settings, **settings))
        return begin(changed) if outer is None else outer(core, changed, begin)


NONE = Overrides()
"""The defaults, and what a verb's caller says."""


def _value(name: str, text: str) -> Any:
    names = [each.name for each in fields(Settings)]
    if name not in names:
        raise InputError(f"given the setting {name!r}; wanted one of {', '.join(names)}")
    hint = get_type_hints(Settings)[name]
    try:
        return TypeAdapter(hint).validate_strings(text)
    except ValidationError as error:
        said = error.errors()[0]["msg"].lower()
        raise InputError(f"given {text!r} for the setting {name}; {said}") from error

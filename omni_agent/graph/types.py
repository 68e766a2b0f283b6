"""Which types fit which: the rules of a graph's edges, and of the values that travel along them.

beartype decides; this adds what a graph promises beyond it. A `str` counts as a `Text` and is wrapped; an
`int` counts as a `float`, as for type checkers; every item of a container is looked at, not a random one.
"""

from __future__ import annotations

import inspect
import types
from abc import ABCMeta
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import repeat
from operator import is_
from typing import Annotated, Any, NotRequired, Required, TypeVar, Union, get_args, get_origin, get_type_hints

from beartype import BeartypeConf
from beartype.door import is_bearable, is_subhint
from typing_extensions import get_protocol_members, is_protocol, is_typeddict

from omni_agent.graph.signature import MISSING, Unresolved
from omni_agent.values import Text

__all__ = [
    "CHECKABLE",
    "assignable",
    "chunk_of",
    "conforms",
    "is_checkable",
    "is_definite",
    "item_of",
    "mend_of",
    "name_of",
    "wants_text",
    "wrapped",
]

CHECKABLE = "a type that isinstance() or beartype can check"
TOWER = BeartypeConf(is_pep484_tower=True)
bearable = partial(is_bearable, conf=TOWER)


def assignable(given: Any, wanted: Any) -> bool:
    """Whether values of the type `given` may go where `wanted` is wanted."""
    given, wanted = _plain(given), _plain(wanted)
    if given is wanted or given is Any or wanted is Any or _is_below(given, wanted):
        return True
    if _is_union(given):
        return all(assignable(each, wanted) for each in get_args(given))
    if given is str:
        return _is_below(Text, wanted)
    if get_origin(given) is tuple and get_origin(wanted) not in (tuple, None):
        return assignable(Sequence[item_of(given)], wanted)  # type: ignore[misc]
    return given is int and _is_below(float, wanted)


def wants_text(hint: Any) -> bool:
    """Whether a plain `str` that goes where `hint` is wanted must be wrapped as `Text`."""
    return hint is not Any and not _is_below(str, hint) and _is_below(Text, hint)


def wrapped(value: Any, hint: Any) -> Any:
    """`value`, as `Text` where it is a plain `str` and `hint` asks for `Text`.

    Also inside of lists, tuples and the values of dicts; the same object where nothing is to be wrapped.
    """
    kind = type(value)
    if kind is str:
        return Text(value) if wants_text(hint) else value
    if kind not in (list, tuple, dict) or not _has_text(hint):
        return value
    hint = _plain(hint)
    arguments = get_args(hint)
    if _is_union(hint):
        tried = ((wrapped(value, each), each) for each in arguments)
        return next((new for new, each in tried if new is not value and conforms(new, each)), value)
    if get_origin(hint) is not kind:
        return value
    if kind is dict:
        changes = {
            key: new for key, each in value.items() if (new := wrapped(each, arguments[1])) is not each
        }
        return {**value, **changes} if changes else value
    hints = arguments if kind is tuple and arguments[-1] is not Ellipsis else repeat(arguments[0])
    items = [wrapped(each, item) for each, item in zip(value, hints, strict=False)]
    if len(items) < len(value) or all(map(is_, items, value)):
        return value
    return kind(items)


def conforms(value: object, hint: Any) -> bool:
    """Whether `value` is of the type `hint`, with every item of built-in containers."""
    if type(value) is hint:
        return True
    if is_typeddict(hint):
        return _has_fields(value, hint)
    if not bearable(value, hint):
        return False
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return conforms(value, arguments[0])
    if _is_union(hint):
        return any(conforms(value, each) for each in arguments)
    if isinstance(value, Mapping) and len(arguments) == 2:
        of_key, of_value = arguments
        return _all_conform(value.keys(), of_key) and _all_conform(value.values(), of_value)
    if isinstance(value, tuple) and get_origin(hint) is tuple and arguments[-1:] != (Ellipsis,):
        return all(map(conforms, value, arguments))
    if isinstance(value, list | tuple | set | frozenset | deque) and arguments:
        return _all_conform(value, arguments[0])
    return True


def is_checkable(hint: Any) -> bool:
    """Whether values can be held against `hint` at all."""
    try:
        if is_typeddict(hint):
            return all(map(is_checkable, _fields(hint)[0].values()))
        bearable(None, hint)
        _is_below(hint, hint)
    except Exception:  # beartype's own tree, and whatever a class's __instancecheck__ raises
        return False
    return not isinstance(hint, str)


def mend_of(hint: Any) -> str:
    """What to do about a type that values cannot be held against, where it is known."""
    is_loose = inspect.isclass(hint) and is_protocol(hint)
    return "Mark the protocol @runtime_checkable." if is_loose else ""


def is_definite(hint: Any) -> bool:
    """Whether a hint is a type by itself, as none is that is missing or has type variables."""
    unbound = isinstance(hint, TypeVar) or bool(getattr(hint, "__parameters__", ()))
    return hint is not MISSING and not isinstance(hint, Unresolved) and not unbound and is_checkable(hint)


def item_of(hint: Any) -> Any:
    """The type of a list's items; `MISSING` where `hint` is no list or other sequence."""
    if get_origin(hint) is Annotated:
        return item_of(get_args(hint)[0])
    if hint is Any:
        return Any
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if not inspect.isclass(kind) or not issubclass(kind, Sequence) or issubclass(kind, str | bytes):
        return MISSING
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return Union[arguments]  # noqa: UP007 - of a tuple
    return arguments[0] if arguments else Any


def chunk_of(hint: Any) -> Any:
    """The type of an async generator's chunks; `MISSING` where `hint` is not that of one."""
    if get_origin(hint) in (AsyncGenerator, AsyncIterator, AsyncIterable):
        return get_args(hint)[0]
    return MISSING


def name_of(hint: Any) -> str:
    """A type as a reader would write it: ``Text``, ``list[Image]``, ``Text | None``."""
    if hint is None or hint is types.NoneType:
        return "None"
    if _is_union(hint):
        return " | ".join(name_of(each) for each in get_args(hint))
    origin, arguments = get_origin(hint), get_args(hint)
    if inspect.isclass(origin) and arguments:
        inner = ("..." if each is Ellipsis else name_of(each) for each in arguments)
        return f"{origin.__name__}[{', '.join(inner)}]"
    if inspect.isclass(hint):
        return hint.__name__
    return str(hint).replace("typing.", "")


def _all_conform(values: Iterable[object], hint: Any) -> bool:
    if type(hint) in (type, ABCMeta):
        # an item's type decides, so one of each stands for all: a million samples are looked at quickly
        values = {type(each): each for each in values}.values()
    return all(conforms(each, hint) for each in values)


def _is_below(given: Any, wanted: Any) -> bool:
    if is_typeddict(given) and not is_typeddict(wanted):
        return _is_below(dict[str, object], wanted)
    given, wanted = _with_classes(given), _with_classes(wanted)
    if inspect.isclass(given) and inspect.isclass(wanted) and is_protocol(wanted):
        # issubclass() refuses protocols that have more than methods
        return given is wanted or all(_has(given, name) for name in get_protocol_members(wanted))
    return is_subhint(given, wanted)


def _with_classes(hint: Any) -> Any:
    """A hint with a class in place of each `TypedDict` in it, as beartype compares none."""
    if is_typeddict(hint):
        return _class_of(hint)
    arguments = get_args(hint)
    if not any(map(_has_typeddict, arguments)):
        return hint
    changed = tuple(map(_with_classes, arguments))
    return Union[changed] if _is_union(hint) else get_origin(hint)[changed]  # noqa: UP007 - of a tuple


@lru_cache(maxsize=4096)
def _class_of(hint: Any) -> type:
    return type(hint.__name__, (dict,), {})


def _has_typeddict(hint: Any) -> bool:
    return is_typeddict(hint) or any(map(_has_typeddict, get_args(hint)))


def _has_fields(value: object, hint: Any) -> bool:
    fields, required = _fields(hint)
    if not isinstance(value, dict) or not required <= value.keys() <= fields.keys():
        return False
    return all(conforms(each, fields[name]) for name, each in value.items())


@lru_cache(maxsize=4096)
def _fields(hint: Any) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The types of a `TypedDict`'s keys, and the keys that have to be there."""
    marks = get_type_hints(hint, include_extras=True)  # what is written as text is not in `__required_keys__`
    required = {name for name in hint.__required_keys__ if get_origin(marks[name]) is not NotRequired}
    required.update(name for name, mark in marks.items() if get_origin(mark) is Required)
    return get_type_hints(hint), frozenset(required)


def _has_text(hint: Any) -> bool:
    return hint is Text or any(map(_has_text, get_args(hint)))


def _has(kind: type, member: str) -> bool:
    declared = (vars(each).get("__annotations__", {}) for each in kind.__mro__)
    return hasattr(kind, member) or any(member in names for names in declared)


def _plain(hint: Any) -> Any:
    """A type without what `Annotated` says of it, which restricts no type."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)

"""Decoding a run's outputs, wherever in a value media is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from omni_agent.core import Core
from omni_agent.values import Image, Speech

__all__ = ["decoded"]


async def decoded(core: Core, value: Any) -> Any:
    """`value`, with pixels and samples in place of every `Image` and `Speech` that holds only tokens.

    Looks into lists, tuples, mappings, dataclasses and pydantic models; gives back the same object where
    there was nothing to decode.
    """
    if isinstance(value, Image | Speech):
        return value if value.is_decoded else await core.decoded(value)
    if isinstance(value, list | tuple):
        items = [await decoded(core, each) for each in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        changes = await _changes(core, dict(value))
        return {**value, **changes} if changes else value
    if isinstance(value, BaseModel):
        changes = await _changes(core, dict(value))
        return value.model_copy(update=changes) if changes else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        changes = await _changes(core, fields)
        return dataclasses.replace(value, **changes) if changes else value
    return value


async def _changes(core: Core, fields: dict[Any, Any]) -> dict[Any, Any]:
    new = {name: await decoded(core, each) for name, each in fields.items()}
    return {name: each for name, each in new.items() if each is not fields[name]}

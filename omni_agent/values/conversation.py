"""Values made of other values: what was said so far, and a reply in two forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from omni_agent.errors import InputError
from omni_agent.values.image import Image
from omni_agent.values.speech import Speech
from omni_agent.values.text import Text

__all__ = ["Conversation", "Reply", "Role", "Turn"]

Role: TypeAlias = Literal["user", "assistant"]

KINDS: dict[str, type[Text] | type[Image] | type[Speech]] = {"text": Text, "image": Image, "speech": Speech}


@dataclass(frozen=True)
class Turn:
    """One value said or shown by one side. A plain `str` is wrapped.

    In JSON ``{"role": "user", "text": "..."}``, with ``"image"`` or ``"speech"`` for the other kinds: a
    text that looks like a data URI stays a text.

    Raises:
        InputError: another role than user or assistant, or another value than Text, Image or Speech.
    """

    role: Role
    value: Text | Image | Speech

    def __post_init__(self) -> None:
        if self.role not in ("user", "assistant"):
            raise InputError(f"the role was {self.role!r}; wanted 'user' or 'assistant'")
        if type(self.value) is str:
            object.__setattr__(self, "value", Text(self.value))
        if not isinstance(self.value, Text | Image | Speech):
            raise InputError(
                f"the turn's value was {type(self.value).__name__}; wanted Text, Image or Speech"
            )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        role = core_schema.typed_dict_field(core_schema.literal_schema(["user", "assistant"]))
        kinds: list[CoreSchema | tuple[CoreSchema, str]] = [
            core_schema.typed_dict_schema(
                {"role": role, kind: core_schema.typed_dict_field(handler.generate_schema(of))},
                extra_behavior="forbid",
            )
            for kind, of in KINDS.items()
        ]
        from_fields = core_schema.no_info_after_validator_function(
            lambda fields: cls(fields.pop("role"), *fields.values()), core_schema.union_schema(kinds)
        )
        return core_schema.json_or_python_schema(
            json_schema=from_fields,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_fields]),
            serialization=core_schema.plain_serializer_function_ser_schema(_fields, info_arg=True),
        )


@dataclass(frozen=True)
class Conversation:
    """What was said and shown so far, oldest first.

    ``Conversation().user("What is this?", picture).assistant("A cat.")`` makes one.
    """

    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        turns: object = self.turns
        if not isinstance(turns, tuple) or not all(isinstance(each, Turn) for each in turns):
            raise InputError("a conversation is a tuple of Turn; Conversation().user(...) makes one")

    def user(self, *values: Text | Image | Speech | str) -> Conversation:
        """The conversation after the user said or showed `values`."""
        return self._after("user", values)

    def assistant(self, *values: Text | Image | Speech | str) -> Conversation:
        """The conversation after the assistant said or showed `values`."""
        return self._after("assistant", values)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self.turns)

    def __len__(self) -> int:
        return len(self.turns)

    def _after(self, role: Role, values: tuple[Text | Image | Speech | str, ...]) -> Conversation:
        said = (Turn(role, Text(each) if type(each) is str else each) for each in values)  # type: ignore[arg-type]
        return Conversation((*self.turns, *said))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, written and spoken."""

    text: Text
    speech: Speech


def _fields(turn: Turn, info: core_schema.SerializationInfo) -> dict[str, object]:
    kind = next(kind for kind, of in KINDS.items() if isinstance(turn.value, of))
    if isinstance(turn.value, Text) or not info.mode_is_json():
        return {"role": turn.role, kind: turn.value}
    return {"role": turn.role, kind: turn.value.to_json(info.context)}

"""What pictures and sound have in common: three representations, one identity, and a form in JSON."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticSerializationUnexpectedValue, core_schema

from omni_agent.errors import InputError, NotDecoded
from omni_agent.values.data_uri import (
    DataURI,
    tokens_document,
    tokens_from_document,
    tokens_from_parameter,
    tokens_parameter,
)
from omni_agent.values.tokens import Tokens

__all__ = ["Media", "MediaKeeper"]

M = TypeVar("M", bound="Media")


class MediaKeeper(ABC):
    """Keeps media out of JSON: as pydantic's context, it puts a reference where a data URI would be.

    A reference is an object of its own form, so that it is never taken for a text.
    """

    @abstractmethod
    def keep(self, media: Media) -> dict[str, str]:
        """The reference that stands for `media`."""

    @abstractmethod
    def find(self, kind: type[M], reference: Mapping[str, Any]) -> M:
        """What a reference stands for.

        Raises:
            InputError: no reference, or one to another kind of media.
        """


class Media(ABC):
    """A picture or a sound: encoded bytes, decoded pixels or samples, a core's tokens, or several of these.

    Immutable, and equal to another of its kind where the representation it was made from is equal.
    """

    __slots__ = ("_decoded", "_encoded", "_tokens")

    _decoded: NDArray[Any] | None
    _encoded: bytes | None
    _tokens: Tokens | None

    TYPE: ClassVar[str]
    """The first half of its media types: "image" or "audio"."""
    NAME: ClassVar[str]
    """What errors call it: "picture" or "sound"."""
    ELEMENTS: ClassVar[str]
    """What it is decoded to: "pixels" or "samples"."""
    MOST_BYTES: ClassVar[int]
    """The most that an encoded one may have."""

    @classmethod
    def from_tokens(cls, tokens: Tokens) -> Self:
        """One that is not decoded yet: `await core.decoded(value)` gives it pixels or samples."""
        media = cls.__new__(cls)
        media._encoded = media._decoded = None
        media._tokens = tokens
        return media

    @classmethod
    def from_data_uri(cls, uri: str) -> Self:
        """Read a data URI, e.g. one `to_data_uri` wrote.

        Raises:
            InputError: not a data URI, or of something else.
        """
        return cls.from_parts(DataURI.parse(uri, most_bytes=cls.MOST_BYTES))

    @classmethod
    def from_parts(cls, parts: DataURI) -> Self:
        """Read what `parts` gave.

        Raises:
            InputError: parts of something else.
        """
        if parts.media_type == cls._tokens_type():
            return cls.from_tokens(tokens_from_document(parts.data))
        if not parts.media_type.startswith(f"{cls.TYPE}/"):
            raise InputError(
                f"the data URI's media type is {parts.media_type!r}; wanted a {cls.NAME} ({cls.TYPE}/...)"
            )
        media = cls._from_encoded(parts.data, f"the {cls.NAME}")
        if "tokens" in parts.parameters:
            media._tokens = tokens_from_parameter(parts.parameters["tokens"])
        if parts.parameters.get("original") == cls.ELEMENTS:
            media._encoded = None
        return media

    @property
    def tokens(self) -> Tokens | None:
        """The core's tokens, where it came from a core."""
        return self._tokens

    @property
    def is_decoded(self) -> bool:
        """Whether it has pixels or samples."""
        return self._decoded is not None

    @property
    def content_hash(self) -> str:
        """SHA-256, in hexadecimal, of what it was made from: tokens, encoded bytes, or pixels or samples."""
        if self._tokens is not None:
            return self._tokens.content_hash
        if self._encoded is not None:
            return hashlib.sha256(self._encoded).hexdigest()
        return hashlib.sha256(self._shape().encode() + self._elements().tobytes()).hexdigest()

    def to_data_uri(self) -> str:
        """A data URI that `from_data_uri` reads back to an equal value."""
        return str(self.parts())

    def parts(self) -> DataURI:
        """The data URI before it is written out: its bytes, what they are, and the tokens."""
        if self._decoded is None:
            assert self._tokens is not None
            return DataURI(media_type=self._tokens_type(), data=tokens_document(self._tokens))
        parameters = {} if self._tokens is None else {"tokens": tokens_parameter(self._tokens)}
        if self._encoded is None:
            parameters["original"] = self.ELEMENTS
            encoded = self._losslessly_encoded()
        else:
            encoded = self._encoded
        return DataURI(media_type=self._media_type(encoded), data=encoded, parameters=parameters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        if self._decoded is None:
            assert self._tokens is not None
            return f"<{type(self).__name__} of {len(self._tokens.ids)} tokens, not decoded>"
        return f"<{type(self).__name__} {self._size()}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from_uri = core_schema.no_info_after_validator_function(cls.from_data_uri, core_schema.str_schema())

        def from_json(given: Any, uri: Any, info: core_schema.ValidationInfo) -> Any:
            keeper = info.context
            if isinstance(given, dict) and isinstance(keeper, MediaKeeper):
                return keeper.find(cls, given)
            return uri(given)

        def to_json(media: Any, info: core_schema.SerializationInfo) -> object:
            if not isinstance(media, cls):  # in a union, another of its types
                raise PydanticSerializationUnexpectedValue(f"{type(media).__name__} is no {cls.__name__}")
            return media.to_json(info.context)

        return core_schema.json_or_python_schema(
            json_schema=core_schema.with_info_wrap_validator_function(from_json, from_uri),
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_uri]),
            serialization=core_schema.plain_serializer_function_ser_schema(
                to_json, info_arg=True, when_used="json"
            ),
        )

    def to_json(self, context: object) -> str | dict[str, str]:
        """What stands for it in JSON: a data URI, or a reference where the context is a `MediaKeeper`."""
        return context.keep(self) if isinstance(context, MediaKeeper) else self.to_data_uri()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "format": "data-uri", "description": f"A {cls.NAME} as a data URI."}

    def _set(self, decoded: NDArray[Any], encoded: bytes | None, tokens: Tokens | None) -> None:
        decoded.flags.writeable = False
        self._decoded, self._encoded, self._tokens = decoded, encoded, tokens

    def _elements(self) -> NDArray[Any]:
        if self._decoded is None:
            raise NotDecoded(
                f"this {self.NAME} holds only a core's tokens, no {self.ELEMENTS}:"
                f" decode it with `await core.decoded({type(self).__name__.lower()})`"
            )
        return self._decoded

    @classmethod
    def _tokens_type(cls) -> str:
        return f"application/vnd.omni-agent.{cls.__name__.lower()}-tokens+json"

    @classmethod
    @abstractmethod
    def _from_encoded(cls, encoded: bytes, name: str) -> Self:
        """Made of the bytes of a file, which errors call `name`."""

    @abstractmethod
    def _losslessly_encoded(self) -> bytes:
        """The pixels or samples as the bytes of a file that gives exactly these back."""

    @staticmethod
    @abstractmethod
    def _media_type(encoded: bytes) -> str:
        """The media type of encoded bytes."""

    @abstractmethod
    def _shape(self) -> str:
        """What tells apart equal runs of pixels or samples."""

    @abstractmethod
    def _size(self) -> str:
        """How large it is, for people."""

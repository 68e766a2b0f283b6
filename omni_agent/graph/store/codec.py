"""Values as JSON by their declared types, with media by hash beside it. No pickle.

pydantic writes and reads. A value is read back at once when it is written: what would come back as something
else is refused while it is still there, not found missing when a run is resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from pydantic_core import PydanticSerializationError, ValidationError

from omni_agent.errors import InputError, NotStorable
from omni_agent.values import Image, Speech
from omni_agent.values.data_uri import DataURI, tokens_document, tokens_from_document, tokens_parameter
from omni_agent.values.media import Media, MediaKeeper

__all__ = ["Blob", "Encoded", "check_storable", "decode", "encode", "references"]

M = TypeVar("M", bound=Media)

TAGS: Mapping[str, type[Media]] = {"$image": Image, "$speech": Speech}
SCALARS = (str, int, float, bytes, bool)
CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


@dataclass(frozen=True, kw_only=True)
class Blob:
    """The bytes of media, or of a picture's or sound's tokens."""

    media_type: str
    data: bytes

    @property
    def hash(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A value as it is stored."""

    json: str
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    """What the JSON refers to, by hash."""


def encode(value: object, hint: Any, *, what: str) -> Encoded:
    """Write a value.

    Args:
        hint: its declared type.
        what: what the value is, for the error ("the value of step 'heard'").

    Raises:
        NotStorable: it would not come back as it is.
    """
    adapter = _adapter(hint, what)
    keeper = _Writing()
    try:
        text = adapter.dump_json(value, context=keeper, by_alias=False, warnings="error").decode()
        again = adapter.validate_json(text, context=keeper, by_alias=False, by_name=True)
    except (PydanticSerializationError, ValidationError, ValueError, RecursionError) as error:
        raise _not_storable(what, value, hint, _first_line(error)) from error
    if (difference := _difference(value, again)) is not None:
        raise _not_storable(what, value, hint, f"it would come back with {difference}")
    return Encoded(json=text, blobs=keeper.blobs)


def decode(text: str, hint: Any, blobs: Mapping[str, bytes], *, what: str) -> Any:
    """Read what `encode` wrote.

    Args:
        hint: the declared type.
        blobs: the bytes of at least `references(text)`, by hash.
        what: what the value is, for the error.

    Raises:
        NotStorable: it was written for another type.
    """
    try:
        return _adapter(hint, what).validate_json(text, context=_Reading(blobs), by_alias=False, by_name=True)
    except (ValidationError, ValueError) as error:
        raise NotStorable(
            f"{what} was stored as {text[:60]}, which is no {_name(hint)} ({_first_line(error)}):"
            " its type changed since, or the store is damaged"
        ) from error


def references(text: str) -> frozenset[str]:
    """The hashes of all media that a stored value may refer to."""
    return frozenset(_references(json.loads(text))) if '"$' in text else frozenset()


def check_storable(hint: Any, *, what: str) -> None:
    """Whether values of a type can be stored at all.

    Raises:
        NotStorable: pydantic does not know the type.
    """
    _adapter(hint, what)


class _Writing(MediaKeeper):
    """Gathers the media of one value, and finds it again when the value is read back."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self._media: dict[str, Media] = {}

    def keep(self, media: Media) -> dict[str, str]:
        parts = media.parts()
        reference = {_tag(type(media)): self._blob(parts.media_type, parts.data), "type": parts.media_type}
        if "original" in parts.parameters:
            reference["original"] = parts.parameters["original"]
        if media.is_decoded and media.tokens is not None:
            reference["tokens"] = self._blob("application/json", tokens_document(media.tokens))
        self._media[_key(reference)] = media
        return reference

    def find(self, kind: type[M], reference: Mapping[str, Any]) -> M:
        media = self._media.get(_key(reference))
        if not isinstance(media, kind):
            raise InputError(f"{reference} is no {kind.NAME}")
        return media

    def _blob(self, media_type: str, data: bytes) -> str:
        blob = Blob(media_type=media_type, data=data)
        hash_ = blob.hash
        self.blobs.setdefault(hash_, blob)
        return hash_


class _Reading(MediaKeeper):
    """Makes media of stored bytes, once of each."""

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self._blobs = blobs
        self._media: dict[str, Media] = {}

    def keep(self, media: Media) -> dict[str, str]:
        raise NotImplementedError("nothing is written while a value is read")

    def find(self, kind: type[M], reference: Mapping[str, Any]) -> M:
        key = _key(reference)
        media = self._media.get(key)
        if media is None:
            tag = _tag(kind)
            if not all(isinstance(each, str) for each in (reference.get(tag), reference.get("type"))):
                raise InputError(f"{reference} is no {kind.NAME}")
            parameters = {"original": reference["original"]} if "original" in reference else {}
            if "tokens" in reference:
                tokens = tokens_from_document(self._bytes(reference["tokens"]))
                parameters["tokens"] = tokens_parameter(tokens)
            parts = DataURI(
                media_type=reference["type"], data=self._bytes(reference[tag]), parameters=parameters
            )
            media = self._media[key] = kind.from_parts(parts)
        if not isinstance(media, kind):
            raise InputError(f"{reference} is no {kind.NAME}")
        return media

    def _bytes(self, hash_: str) -> bytes:
        if hash_ not in self._blobs:
            raise InputError(f"the store has no media {hash_[:12]}")
        return self._blobs[hash_]


@lru_cache(maxsize=4096)
def _made(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(hint)  # a model has its own


def _adapter(hint: Any, what: str) -> TypeAdapter[Any]:
    try:
        try:
            return _made(hint)
        except TypeError:  # not hashable, as Annotated with a list is not
            return _made.__wrapped__(hint)
    except Exception as error:  # pydantic's own tree, and what a type's own schema raises
        raise NotStorable(
            f"{what} is declared as {_name(hint)}, which cannot be stored ({_first_line(error)}); wanted a"
            " type that pydantic can write as JSON: Text, Image, Speech, plain types, models, dataclasses"
        ) from error


def _not_storable(what: str, value: object, hint: Any, why: str) -> NotStorable:
    return NotStorable(
        f"{what} is a {type(value).__name__} declared as {_name(hint)}, and cannot be stored: {why}."
        " Declare the type it really has, made of what pydantic can write as JSON and read back"
    )


def _difference(value: object, again: object) -> str | None:
    """How a value that was read back is another than it was; None where it is the same.

    Looks at types and scalars. What a model leaves out of its JSON by its own wish is no difference.
    """
    if value is again:
        return None
    if isinstance(again, SCALARS) and isinstance(value, SCALARS):
        same = value == again or (value != value and again != again)
        return None if same else f"{_short(again)} in place of {_short(value)}"
    if type(value) is not type(again):
        return f"{type(again).__name__} in place of {type(value).__name__}"
    if isinstance(value, Set):
        return None if value == again else f"{_short(again)} in place of {_short(value)}"
    old_parts, new_parts = _parts(value), _parts(again)
    if len(old_parts) != len(new_parts):
        return f"{len(new_parts)} parts in place of {len(old_parts)}"
    pairs = zip(old_parts, new_parts, strict=True)
    return next((found for old, new in pairs if (found := _difference(old, new)) is not None), None)


def _parts(value: Any) -> Sequence[object]:
    if isinstance(value, Mapping):
        return [each for pair in value.items() for each in pair]
    if isinstance(value, BaseModel):
        return [each for _, each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name, None) for each in dataclasses.fields(value) if each.init]
    return list(value) if isinstance(value, list | tuple | deque) else ()


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for tag in TAGS:
            if isinstance(value.get(tag), str):
                yield value[tag]
                if isinstance(value.get("tokens"), str):
                    yield value["tokens"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _key(reference: Mapping[str, Any]) -> str:
    return json.dumps(reference, sort_keys=True)


def _tag(kind: type[Media]) -> str:
    return next(tag for tag, of in TAGS.items() if issubclass(kind, of))


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _first_line(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        at = ".".join(map(str, first["loc"]))
        return f"{at}: {first['msg']}" if at else str(first["msg"])
    return (str(error).splitlines() or [type(error).__name__])[0].strip()

"""Data URIs (RFC 2397), the form in which media is written into JSON.

A media type may carry parameters; omni-agent uses two of its own, so that a value read back is the value
written: ``original=pixels`` or ``original=samples`` where the encoding was made only for the URI, and
``tokens=`` for the tokens of a decoded value. A value that holds nothing but tokens is a JSON document of its
own media type.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_to_bytes

from omni_agent.errors import InputError
from omni_agent.values.tokens import Tokens

__all__ = ["DataURI", "tokens_document", "tokens_from_document", "tokens_from_parameter", "tokens_parameter"]


@dataclass(frozen=True, kw_only=True)
class DataURI:
    """A data URI taken apart."""

    media_type: str
    data: bytes
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, uri: str, *, most_bytes: int) -> DataURI:
        """Take a URI apart.

        Raises:
            InputError: not a data URI, not base64 or percent encoding, or more than `most_bytes` of data.
        """
        given: object = uri
        if not isinstance(given, str) or given[:5].lower() != "data:":
            shown = repr(given[:40]) if isinstance(given, str) else type(given).__name__
            raise InputError(
                f"{shown} was given; wanted a data URI (data:...;base64,...). URLs are never followed,"
                " paths never opened from here: fetch or open the file yourself"
            )
        header, comma, body = uri[5:].partition(",")
        if not comma:
            raise InputError("the data URI has no comma between its header and its data")
        # four characters of base64 hold three bytes, and percent encoding takes up to three for one
        if len(body) > most_bytes * 3 + 4:
            raise InputError(
                f"the data URI is {len(body):,} characters long; the limit is {most_bytes:,} bytes"
            )
        media_type, *rest = header.split(";")
        is_base64 = bool(rest) and rest[-1].strip().lower() == "base64"
        pairs = (each.partition("=") for each in (rest[:-1] if is_base64 else rest))
        try:
            text = unquote(body) if "%" in body else body
            data = base64.b64decode(text, validate=True) if is_base64 else unquote_to_bytes(body)
        except (binascii.Error, ValueError) as error:
            raise InputError(f"the data URI's data is not base64 ({error})") from error
        if len(data) > most_bytes:
            raise InputError(f"the data URI holds {len(data):,} bytes; the limit is {most_bytes:,}")
        return cls(
            media_type=media_type.strip().lower(),
            data=data,
            parameters={name.strip().lower(): unquote(value) for name, _, value in pairs},
        )

    def __str__(self) -> str:
        marks = "".join(f";{name}={quote(value, safe='')}" for name, value in self.parameters.items())
        return f"data:{self.media_type}{marks};base64,{base64.b64encode(self.data).decode()}"


def tokens_parameter(tokens: Tokens) -> str:
    """Tokens as the value of the parameter ``tokens``: the tokenizer, a colon, the ids joined by hyphens."""
    return f"{tokens.tokenizer}:{'-'.join(map(str, tokens.ids))}"


def tokens_from_parameter(text: str) -> Tokens:
    """The tokens written by `tokens_parameter`.

    Raises:
        InputError: written by something else.
    """
    tokenizer, _, ids = text.rpartition(":")
    try:
        return Tokens(ids=tuple(int(each) for each in ids.split("-")), tokenizer=tokenizer)
    except ValueError as error:
        raise InputError(f"the data URI's tokens are damaged ({error})") from error


def tokens_document(tokens: Tokens) -> bytes:
    """Tokens as a JSON document."""
    return json.dumps({"tokenizer": tokens.tokenizer, "ids": tokens.ids}, separators=(",", ":")).encode()


def tokens_from_document(document: bytes) -> Tokens:
    """The tokens written by `tokens_document`.

    Raises:
        InputError: written by something else.
    """
    try:
        read = json.loads(document)
        return Tokens(ids=tuple(read["ids"]), tokenizer=read["tokenizer"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"the data URI's tokens are damaged ({error})") from error

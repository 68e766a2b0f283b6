"""Written words."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from omni_agent.errors import InputError

__all__ = ["Text"]

MOST_CHARACTERS = 1_000_000


class Text(str):
    """Written words: a `str` that is told apart from other strings by its type.

    A plain `str` is accepted and wrapped wherever a graph or a core wants a `Text`. Methods inherited from
    `str` return plain strings.

    Raises:
        InputError: not a `str`, longer than 1,000,000 characters, or holding half a surrogate pair (such text
            cannot be written as UTF-8).
    """

    __slots__ = ()

    def __new__(cls, text: str = "") -> Text:
        if not isinstance(text, str):
            raise InputError(f"a Text was made from {type(text).__name__}; wanted a str")
        if len(text) > MOST_CHARACTERS:
            raise InputError(f"the text has {len(text):,} characters; the limit is {MOST_CHARACTERS:,}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the text holds half a surrogate pair at position {error.start}; wanted text that can be"
                " written as UTF-8: read it with the right encoding"
            ) from error
        return super().__new__(cls, text)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the text in UTF-8, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # written by the schema of a string, which looks at what it is given: in a union it may be no text
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())

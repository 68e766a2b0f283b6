"""Words as word errors count them: Whisper's normalisation of English."""

from __future__ import annotations

from collections.abc import Mapping

from omni_agent.errors import MissingExtra

__all__ = ["Normaliser"]


class Normaliser:
    """Text without case, punctuation and fillers, contractions written out, numbers as digits (Radford et al.
    2022, appendix C).

    Args:
        spelling: British spellings with the American ones in their place; None changes no spelling.

    Raises:
        MissingExtra: transformers is not installed.
    """

    def __init__(self, spelling: Mapping[str, str] | None = None) -> None:
        try:
            from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
        except ImportError as error:
            raise MissingExtra("the normalisation of English", "evaluate") from error
        self._normalised = EnglishTextNormalizer(dict(spelling or {}))

    def __call__(self, text: str) -> str:
        """The words of a text, a space between them."""
        return str(self._normalised(text)).strip()

"""The codes of a speech that comes piece by piece, as far as they are still looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omni_agent.errors import InputError

__all__ = ["CodeWindow"]


class CodeWindow:
    """Codes that came, how far their sound was made, and where the next piece of it may end.

    Args:
        checked: gives codes as a list, or raises for one that there is not.
        ahead: how many codes must be known behind a piece.

    Attributes:
        codes: those that are kept.
        first: the number of the first of them.
        done: the number of the first whose sound was not made.
    """

    def __init__(self, checked: Callable[[Sequence[int]], list[int]], *, ahead: int) -> None:
        self._checked = checked
        self._ahead = ahead
        self._ended = False
        self.codes: list[int] = []
        self.first = 0
        self.done = 0

    @property
    def count(self) -> int:
        """How many codes came in all."""
        return self.first + len(self.codes)

    def add(self, codes: Sequence[int], *, last: bool) -> None:
        """Take the next codes.

        Args:
            codes: the next ones; may be none.
            last: no more will come.

        Raises:
            InputError: a code that there is not, which changes nothing; or codes after the last.
        """
        if self._ended:
            raise InputError("codes were given after the last ones; begin another stream")
        self.codes += self._checked(codes)
        self._ended = last

    def due(self, hop: int) -> int | None:
        """Up to which code sound can be made now: `hop` of them or, at the end, all; None if of none."""
        if self.count - self.done >= hop + self._ahead:
            return self.done + hop
        return self.count if self._ended and self.count > self.done else None

    def ends_at(self, stop: int) -> bool:
        """Whether no code comes behind."""
        return self._ended and stop == self.count

    def known(self, stop: int, start: int | None = None) -> list[int]:
        """The codes before `stop` and as many behind as a piece must know of; from `start`, or all kept."""
        skipped = 0 if start is None else start - self.first
        return self.codes[skipped : min(stop + self._ahead, self.count) - self.first]

    def made(self, stop: int, *, keep: int) -> None:
        """Sound was made up to `stop`; codes before `keep` are looked at no more."""
        self.done = stop
        del self.codes[: keep - self.first]
        self.first = keep

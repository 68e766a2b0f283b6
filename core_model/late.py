"""Steps that are on their way: launched, and not looked at yet.

What a step leaves is copied to the host behind it. Whoever needs it waits for that copy, which is best done
one step late, when the next one is under way. If the step was in doubt, the state before it is stepped again:
a state is a value, so it is still there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.fixed_shape import Blank, FixedShape, Standing

__all__ = ["Late", "on_host", "settled"]


class Late:
    """One row of a launch. It belongs to the thread that owns the weights.

    Args:
        shape: of the step.
        standing: what of the request stands.
        data: the bytes of its blank, on the device.
        host: where their copy comes to be.
        event: what to wait for until it is there; None where it is.
        before: the state that was stepped.
    """

    def __init__(
        self,
        *,
        shape: FixedShape,
        standing: Standing,
        data: UInt8[Tensor, "1 bytes"],
        host: UInt8[Tensor, "1 bytes"],
        event: torch.cuda.Event | None,
        before: Decoding,
    ) -> None:
        self.shape, self.standing, self.data = shape, standing, data
        self._host, self._event = host, event
        self._before: Decoding | None = before
        self._instead: Decoding | None = None

    def outcome(self, decoding: Decoding, again: Callable[[Decoding], Decoding]) -> Decoding:
        """The state that this is of, or what is right instead: found once, and the same after that."""
        if self._before is not None:
            truly = settled(self._before, again)
            if truly is not self._before or self._read().doubt.item():
                self._instead = again(truly)
            self._before = None  # or every state of a request would be kept
        return decoding if self._instead is None else self._instead

    def on_host(self, decoding: Decoding) -> Decoding:
        """The state of the copy."""
        canvas = decoding.canvas
        span, blank = canvas.blank, self._read()
        row = self.standing.ids.clone()
        row[span.start : span.stop] = blank.ids[0, : len(span)]
        return replace(
            decoding,
            canvas=replace(canvas, ids=row),
            masked=blank.masked[0, : len(span)],
            tokens=blank.tokens[0, : len(span)],
            sure=blank.sure[0, : len(span)],
            committed=blank.committed[0, : len(span)],
            late=None,
        )

    def _read(self) -> Blank:
        """The copy, once it is there."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return Blank.of(self._host, self.shape.blank)


def settled(decoding: Decoding, again: Callable[[Decoding], Decoding]) -> Decoding:
    """The state once it is there: itself, or what came of stepping `again` where its step was in doubt."""
    return decoding if decoding.late is None else decoding.late.outcome(decoding, again)


def on_host(decoding: Decoding) -> Decoding:
    """A settled state as anybody may look at it, in any thread, without the device: to be read, not stepped.

    On the host it is there already, and is itself.
    """
    if decoding.late is not None:
        return decoding.late.on_host(decoding)
    if decoding.masked.device.type == "cpu":
        return decoding
    return replace(
        decoding,
        canvas=replace(decoding.canvas, ids=decoding.canvas.ids.cpu()),
        masked=decoding.masked.cpu(),
        tokens=decoding.tokens.cpu(),
        sure=decoding.sure.cpu(),
        committed=decoding.committed.cpu(),
    )

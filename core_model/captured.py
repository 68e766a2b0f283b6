"""Steps of fixed shape, launched without waiting, and on CUDA captured once a shape comes again.

A capture costs the time of a few steps, and after that a step is one call whatever the number of its layers.
Captured or not it is the same kernels on the same shapes, so which of both it was makes no difference to a
bit. What has no fixed shape (`fixed_shape.shape_of`) is stepped by `denoising.advance`, and waited for.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from omni_agent.core_model import denoising
from omni_agent.core_model.decoding import Decoding, counted, left_after
from omni_agent.core_model.fixed_shape import (
    Blank,
    FixedShape,
    Inputs,
    Standing,
    first_of_equals,
    for_rows,
    numbers_of,
    packed,
    shape_of,
)
from omni_agent.core_model.fixed_step import fixed_step
from omni_agent.core_model.late import Late, settled
from omni_agent.core_model.parts import Parts

__all__ = ["FixedSteps"]

MOST_SHAPES = 64
"""Shapes that are kept ready, each with its inputs and, captured, with what it leaves: omni-tiny's tasks have
about a dozen, each by the number of requests in a call.
"""

UNCAPTURED = 2
"""Steps of a shape before it is captured, which costs more than they do."""

_log = logging.getLogger(__name__)


class FixedSteps:
    """The steps of fixed shape of one model. It belongs to the thread that owns the weights.

    Args:
        most: shapes kept ready; the one not used for longest makes room.
        captures: whether shapes are captured, on CUDA; without, every step is launched kernel by kernel.
    """

    def __init__(self, *, most: int = MOST_SHAPES, captures: bool = True) -> None:
        self._most = most
        self._captures = captures
        self._ready: OrderedDict[FixedShape, _Ready] = OrderedDict()
        self._pool: _Pool | None = None
        self._first_of_equals: bool | None = None
        self.doubts = 0
        """Steps that were made again."""

    @property
    def shapes(self) -> list[FixedShape]:
        """Those that are kept ready, the one used last at the end."""
        return list(self._ready)

    @property
    def captured(self) -> int:
        """How many of them are captured."""
        return sum(each.graph is not None for each in self._ready.values())

    @property
    def refused(self) -> int:
        """How many of them could not be captured."""
        return sum(each.refused for each in self._ready.values())

    @torch.inference_mode()
    def advance(
        self, parts: Parts, decodings: Sequence[Decoding], *, in_a_hurry: bool = False
    ) -> list[Decoding]:
        """One step of each: of those of one shape in one call, of those without one as `denoising.advance`.

        The states are on their way, and `settled` waits for them; the ones that were given are settled when
        this returns, so the device is one step ahead of the host and no more.

        Args:
            parts: the model.
            decodings: not done.
            in_a_hurry: capture no shape now; those that are captured already are played.
        """
        known = [each if each.left is not None else counted(self.settled(parts, each)) for each in decodings]
        shapes = [shape_of(parts, each) for each in known]
        after: dict[int, Decoding] = {}
        for shape in dict.fromkeys(shape for shape in shapes if shape is not None):
            indices = [index for index, each in enumerate(shapes) if each == shape]
            made = self._launched(parts, shape, [known[at] for at in indices], in_a_hurry=in_a_hurry)
            after |= zip(indices, made, strict=True)
        truly = [self.settled(parts, each) for each in known]
        for index in list(after):
            if truly[index] is not known[index]:
                again = self.advance(parts, [truly[index]], in_a_hurry=in_a_hurry)
                after |= zip([index], again, strict=True)
        others = [index for index, shape in enumerate(shapes) if shape is None]
        if others:
            made = denoising.advance(parts, [truly[index] for index in others])
            after |= zip(others, map(counted, made), strict=True)
        return [after[index] for index in range(len(decodings))]

    @torch.inference_mode()
    def settled(self, parts: Parts, decoding: Decoding) -> Decoding:
        """The state once it is there: itself, or what came of the step being made again."""

        def again(before: Decoding) -> Decoding:
            self.doubts += 1
            [after] = denoising.advance(parts, [before])
            return counted(after)

        return settled(decoding, again)

    @torch.inference_mode()
    def alike(self, parts: Parts, decodings: Sequence[Decoding]) -> bool:
        """Whether one call for all leaves, bit for bit, what one for each leaves."""
        known = [counted(self.settled(parts, each)) for each in decodings]
        shapes = {shape_of(parts, each) for each in known}
        if len(shapes) > 1 or None in shapes:
            return denoising.alike(parts, known)
        [shape] = shapes
        assert shape is not None
        # nobody waits for a comparison to capture a shape
        together, _ = self._run(parts, shape, known, in_a_hurry=True)
        return all(
            together[index].equal(self._run(parts, shape, [each], in_a_hurry=True)[0][0])
            for index, each in enumerate(known)
        )

    def _launched(
        self, parts: Parts, shape: FixedShape, decodings: Sequence[Decoding], *, in_a_hurry: bool
    ) -> list[Decoding]:
        data, standing = self._run(parts, shape, decodings, in_a_hurry=in_a_hurry)
        host, event = data, None
        if data.is_cuda:
            host = torch.empty(data.shape, dtype=data.dtype, pin_memory=True)
            host.copy_(data, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        after = []
        for index, (before, stands) in enumerate(zip(decodings, standing, strict=True)):
            own = slice(index, index + 1)
            late = Late(
                shape=shape, standing=stands, data=data[own], host=host[own], event=event, before=before
            )
            after.append(_after(before, late))
        return after

    def _run(
        self, parts: Parts, shape: FixedShape, decodings: Sequence[Decoding], *, in_a_hurry: bool
    ) -> tuple[UInt8[Tensor, "rows bytes"], list[Standing]]:
        """The blanks after a step of these, which are of one shape, and what stands of each."""
        standing, blanks = [], []
        for decoding in decodings:
            late = decoding.late if isinstance(decoding.late, Late) else None
            if late is not None and late.standing.fits(decoding, shape):
                standing.append(late.standing)
            else:
                standing.append(Standing.of(parts, decoding, shape))
            same = late is not None and late.shape.blank == shape.blank
            blanks.append(late.data if late and same else packed(parts, decoding, shape.blank))
        ready = self._ready_for(parts, for_rows(shape, len(decodings)))
        ready.inputs.fill(standing, blanks, [numbers_of(each, _count(each)) for each in decodings])
        return self._played(parts, ready, captures=self._captures and not in_a_hurry), standing

    def _ready_for(self, parts: Parts, shape: FixedShape) -> _Ready:
        if shape in self._ready:
            self._ready.move_to_end(shape)
            return self._ready[shape]
        if len(self._ready) >= self._most:
            _, oldest = self._ready.popitem(last=False)
            oldest.let_go()
        if self._first_of_equals is None:
            self._first_of_equals = first_of_equals(parts.device)
        self._ready[shape] = _Ready(Inputs(parts, shape, first_of_equals=self._first_of_equals))
        return self._ready[shape]

    def _played(self, parts: Parts, ready: _Ready, *, captures: bool) -> UInt8[Tensor, "rows bytes"]:
        """A step with the inputs as they are. A shape that comes again is captured."""
        ready.uses += 1
        wanted = captures and ready.uses > UNCAPTURED and not ready.refused
        if wanted and ready.graph is None and ready.inputs.blank.is_cuda:
            self._capture(parts, ready)
        if ready.graph is None or ready.left is None:
            return fixed_step(parts, ready.inputs)
        ready.graph.replay()
        return ready.left.clone()

    def _capture(self, parts: Parts, ready: _Ready) -> None:
        """Capture a shape. Where that fails, for want of memory above all, the shape goes on uncaptured."""
        if self._pool is None:
            self._pool = _Pool(parts.device)
        pool, stream = self._pool, torch.cuda.current_stream(parts.device)
        try:
            graph = torch.cuda.CUDAGraph()
            pool.stream.wait_stream(stream)
            with torch.cuda.stream(pool.stream):
                fixed_step(parts, ready.inputs)  # what a library sets up at its first call is not captured
            # other threads go on using the device meanwhile: watchers, and programs around this
            with torch.cuda.graph(
                graph, pool=pool.handle, stream=pool.stream, capture_error_mode="thread_local"
            ):
                left = fixed_step(parts, ready.inputs)
        except Exception:
            _log.warning(
                "a step of %s was not captured and goes on as it is", ready.inputs.shape, exc_info=True
            )
            ready.refused = True
            torch.cuda.set_stream(stream)  # an unfinished capture may leave its own
            self._pool = None  # and what it leaves there is nobody's
            torch.cuda.empty_cache()
        else:
            ready.graph, ready.left = graph, left


class _Pool:
    """Where captured steps keep what is theirs on the way: one place for all, as one is played at a time."""

    def __init__(self, device: torch.device) -> None:
        self.handle = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class _Ready:
    """A shape that is kept ready."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.graph: torch.cuda.CUDAGraph | None = None
        self.left: Tensor | None = None
        self.uses = 0
        self.refused = False

    def let_go(self) -> None:
        """Free it, once nothing of it is under way."""
        if self.graph is not None:
            torch.cuda.synchronize(self.inputs.blank.device)
            self.graph.reset()
        self.graph = self.left = None


def _count(decoding: Decoding) -> int:
    return decoding.steps[decoding.step].count(decoding.inside)


def _after(before: Decoding, late: Late) -> Decoding:
    """The state that a launch leads to. All that the host must know of it follows from the schedule."""
    count, length = _count(before), len(before.canvas.blank)
    blank = Blank(*(each[0] for each in Blank.of(late.data, late.shape.blank)))
    ids = blank.ids[:length]
    return replace(
        before,
        canvas=before.canvas.with_filled(ids),
        unconditional=None if before.unconditional is None else before.unconditional.with_filled(ids),
        run=(*before.run, count),
        masked=blank.masked[:length],
        tokens=blank.tokens[:length],
        sure=blank.sure[:length],
        committed=blank.committed[:length],
        left=left_after(before, count),
        late=late,
    )

"""Runs as OpenTelemetry spans: one for each run, step and request of a core. Needs the extra `opentelemetry`.

    graph.run(core, options=RunOptions(tracer=OpenTelemetry()), ...)

Spans that a step's function begins are children of its step's span, and a run's span is a child of the one
that is current where the run begins. No text, sound or picture is put in an attribute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omni_agent.core import Generation, Request
from omni_agent.errors import MissingExtra, OmniError

try:
    from opentelemetry import trace
    from opentelemetry.trace import Span, Status, StatusCode
except ImportError as error:
    raise MissingExtra("omni_agent.reach.opentelemetry", "opentelemetry") from error

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

__all__ = ["OpenTelemetry"]


class OpenTelemetry:
    """A tracer for `RunOptions.tracer`.

    Args:
        provider: makes the spans; the application's global one by default.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("omni_agent", tracer_provider=provider)

    @contextmanager
    def run(self, *, graph: str, run_id: str) -> Iterator[None]:
        """A span for a run."""
        with self._span(f"run {graph}", {"omni_agent.graph": graph, "omni_agent.run_id": run_id}):
            yield

    @contextmanager
    def step(self, *, step: str, path: tuple[str | int, ...]) -> Iterator[None]:
        """A span for a step."""
        told = "/".join(map(str, path))
        with self._span(f"step {told}", {"omni_agent.step": step, "omni_agent.path": told}):
            yield

    @contextmanager
    def request(self, request: Request, generation: Generation) -> Iterator[None]:
        """A span for a request."""
        attributes: dict[str, AttributeValue] = {
            "omni_agent.task": str(request.task),
            "omni_agent.blank": str(request.blank),
            "omni_agent.seed": request.settings.seed,
        }
        with self._span(f"request {request.task}", attributes) as span:
            yield
            if (confidence := generation.confidence) is not None:
                span.set_attribute("omni_agent.confidence", confidence)

    @contextmanager
    def _span(self, name: str, attributes: dict[str, AttributeValue]) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except asyncio.CancelledError:
                span.set_attribute("omni_agent.cancelled", True)  # which is no error
                raise
            except BaseException as error:
                span.record_exception(error)
                told = error if isinstance(error, OmniError) else type(error).__name__
                span.set_status(Status(StatusCode.ERROR, str(told)))
                raise

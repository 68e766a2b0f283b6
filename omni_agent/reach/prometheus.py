"""What a core is doing as Prometheus metrics. Needs the extra `prometheus`.

    async with Core.load("omni-tiny") as core:
        register(core)
        prometheus_client.start_http_server(9000)

Nothing is counted here: each scrape reads `core.status()`. Rates are left to the query, such as
`rate(omni_agent_steps_total[1m])`.
"""

from __future__ import annotations

from collections.abc import Iterator

from omni_agent.core import Core, Status
from omni_agent.errors import CoreClosed, InputError, MissingExtra

try:
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector, CollectorRegistry
except ImportError as error:
    raise MissingExtra("omni_agent.reach.prometheus", "prometheus") from error

__all__ = ["register"]

_BATCHES = (1, 2, 4, 8, 16)


def register(core: Core, *, registry: CollectorRegistry = REGISTRY) -> Collector:
    """Have a registry show a core: one core a registry.

    While the core is not entered, `omni_agent_up` is 0 and the others are absent; its counts begin anew when
    it is entered again, as those of a process do that begins anew.

    Args:
        core: one that has a `status`.
        registry: prometheus_client's own by default, which its servers show.

    Returns:
        What `registry.unregister` takes.

    Raises:
        InputError: something else than a core.
        ValueError: the registry shows a core already.
    """
    if not isinstance(core, Core):
        raise InputError(f"register was given {type(core).__name__}; wanted a core: Core.load(...)")
    collector = _CoreCollector(core)
    try:
        registry.register(collector)
    except ValueError as error:
        raise ValueError(
            f"the registry shows a core already ({error}): unregister that, or give this one a"
            " registry=CollectorRegistry() of its own"
        ) from error
    return collector


class _CoreCollector(Collector):
    def __init__(self, core: Core) -> None:
        self._core = core

    def describe(self) -> Iterator[Metric]:
        """The metrics' names: asked for at registration, when the core need not have been entered yet."""
        return _metrics(_NOTHING)

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        try:
            status = self._core.status()
        except CoreClosed:
            yield _up(0)
            return
        yield from _metrics(status)


def _metrics(status: Status) -> Iterator[Metric]:
    yield _up(1)
    yield GaugeMetricFamily(
        "omni_agent_requests_queued", "Requests that wait for their first turn in the queue.", status.queued
    )
    yield GaugeMetricFamily("omni_agent_requests_active", "Requests under way.", status.active)
    ended = CounterMetricFamily("omni_agent_requests", "Requests that ended, by how.", labels=["outcome"])
    for outcome in ("finished", "failed", "late", "cancelled", "refused"):
        ended.add_metric([outcome], getattr(status, outcome))
    yield ended
    yield HistogramMetricFamily(
        "omni_agent_request_seconds",
        "What requests that finished took, from being asked for to their filled blank.",
        buckets=[
            *((str(most), count) for most, count in status.finished_within.items()),
            ("+Inf", status.finished),
        ],
        sum_value=status.finished_seconds,
    )
    yield CounterMetricFamily("omni_agent_steps", "Denoising steps of all requests.", status.steps)
    yield CounterMetricFamily("omni_agent_model_calls", "Model calls that made them.", status.calls)
    yield CounterMetricFamily(
        "omni_agent_model_call_seconds", "What model calls took together.", status.busy_seconds
    )
    tokens = CounterMetricFamily(
        "omni_agent_tokens", "Places decided, by what their blank holds.", labels=["modality"]
    )
    for modality, count in status.tokens.items():
        tokens.add_metric([modality.value], count)
    yield tokens
    yield HistogramMetricFamily(
        "omni_agent_batch_size",
        "Requests in one model call.",
        buckets=[*((str(most), _calls_up_to(status, most)) for most in _BATCHES), ("+Inf", status.calls)],
        sum_value=sum(rows * calls for rows, calls in status.batch_sizes.items()),
    )


def _up(is_up: int) -> Metric:
    return GaugeMetricFamily("omni_agent_up", "Whether the core is entered and its engine runs.", is_up)


def _calls_up_to(status: Status, most: int) -> int:
    return sum(calls for rows, calls in status.batch_sizes.items() if rows <= most)


_NOTHING = Status(
    queued=0,
    active=0,
    finished=0,
    failed=0,
    late=0,
    cancelled=0,
    refused=0,
    finished_seconds=0.0,
    finished_within={},
    steps=0,
    calls=0,
    busy_seconds=0.0,
    tokens={},
    batch_sizes={},
    steps_per_second=0.0,
    tokens_per_second={},
)

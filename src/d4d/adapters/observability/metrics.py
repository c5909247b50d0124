"""What D4D counts and measures, by Prometheus' conventions.

Labels are bounded: pools, states, kinds and calls, never an address or a container.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import chain
from types import TracebackType

from prometheus_client import (
    GC_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from d4d.adapters.observability.tracing import Traces
from d4d.domain import errors
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import LeaseState
from d4d.domain.pools import PoolId
from d4d.domain.ports.disturbances import (
    ClockJumped,
    Disturbance,
    EngineRestarted,
    LinkChanged,
    RoutesChanged,
)
from d4d.domain.utilization import PoolUtilization

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)

Ended = Callable[[BaseException | None], None]
"""Hears what a call failed by; None is that it did not."""

DELIVERIES = ("sent", "retried", "failed", "dropped")

_DISTURBANCES: dict[type[Disturbance], str] = {
    LinkChanged: "link",
    RoutesChanged: "routes",
    ClockJumped: "clock",
    EngineRestarted: "engine",
}

_RESULTS: dict[type[BaseException], str] = {
    errors.NoAddress: "no_address",
    errors.AddressInUse: "in_use",
    errors.LinkDown: "link_down",
    errors.BadRequest: "refused",
    errors.StoreUnavailable: "unavailable",
    errors.DockerUnavailable: "unavailable",
    errors.Superseded: "superseded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the driver holds at the moment of a scrape."""

    pools: dict[PoolId, PoolUtilization]
    leases: dict[tuple[PoolId, LeaseState], int]
    overdue: int
    """Live leases whose renewal time has passed by more than a while."""
    unwritten: int
    """Leases and pools whose newest state waits for the store."""
    history_waiting: int
    webhook_waiting: int
    tasks: int
    """Of the event loop: a lease that is held costs none."""
    failing: int
    """Loops beside the calls whose last step failed."""
    log_lines_lost: int
    """Since the start: the log could not be written."""


class Metrics:
    """One driver's metrics, in a registry of their own. It is a listener to events."""

    def __init__(self, traces: Traces | None = None) -> None:
        """``traces`` get a span for each call that is measured."""
        self._traces = traces or Traces()
        registry = self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, GC_COLLECTOR):
            registry.register(collector)
        self._events = Counter(
            "d4d_lease_events", "Events of leases, by kind.", ["kind"], registry=registry
        )
        self._exchanges = _labelled(
            Histogram(
                "d4d_exchange_duration_seconds",
                "How long it took to allocate, to learn a network (open), or to free.",
                ["allocator", "call", "result"],
                buckets=_SLOW,
                registry=registry,
            )
        )
        self._store = _labelled(
            Histogram(
                "d4d_store_duration_seconds",
                "How long a call of the lease store took.",
                ["call", "result"],
                buckets=_FAST,
                registry=registry,
            )
        )
        self._docker = _labelled(
            Histogram(
                "d4d_docker_duration_seconds",
                "How long a call of Docker's API took.",
                ["call", "result"],
                buckets=_SLOW,
                registry=registry,
            )
        )
        self._webhook = Counter(
            "d4d_webhook_deliveries",
            "Messages to the webhook, by what came of them.",
            ["result"],
            registry=registry,
        )
        for result in DELIVERIES:
            self._webhook.labels(result)
        self._disturbances = Counter(
            "d4d_disturbances",
            "What happened to the host and its engine.",
            ["kind"],
            registry=registry,
        )
        for disturbance in _DISTURBANCES.values():
            self._disturbances.labels(disturbance)
        for kind in EventKind:  # a rate of what never happened is 0, not absent
            self._events.labels(kind.value)
        build = Gauge("d4d_build_info", "Always 1.", ["version", "python"], registry=registry)
        build.labels(version("d4d"), platform.python_version()).set(1)

    def record(self, event: LeaseEvent) -> None:
        """Count ``event`` (ports.Events)."""
        self._events.labels(event.kind.value).inc()

    def disturbed(self, disturbance: Disturbance) -> None:
        """Count ``disturbance`` (ports.Notify)."""
        self._disturbances.labels(_DISTURBANCES[type(disturbance)]).inc()

    def exchange(self, allocator: str, call: str) -> AbstractContextManager[None]:
        """Measure a call of an allocator."""
        span = self._traces.span(f"{allocator} {call}", allocator=allocator, call=call)
        return _Call(self._exchanges, (allocator, call), span)

    def store(self, call: str, ended: Ended | None = None) -> AbstractContextManager[None]:
        """Measure a call of the lease store, and let ``ended`` hear of its end."""
        span = self._traces.span(f"store {call}", call=call)
        return _Call(self._store, (call,), span, ended)

    def docker(self, call: str) -> AbstractContextManager[None]:
        """Measure a call of Docker's API."""
        return _Call(self._docker, (call,), self._traces.span(f"docker {call}", call=call))

    def delivered(self, result: str, count: int = 1) -> None:
        """Count messages to the webhook; ``result`` is one of ``DELIVERIES``."""
        self._webhook.labels(result).inc(count)

    def pieces(self, state: State | None) -> Iterator[bytes]:
        """All metrics in Prometheus' text format, one after the other, with ``state`` as it is."""
        for metric in chain(self.registry.collect(), _families(state) if state else ()):
            yield generate_latest(_One(metric))

    def text(self, state: State | None = None) -> bytes:
        """All of it at once."""
        return b"".join(self.pieces(state))


_Labelled = Callable[..., Histogram]
"""A histogram, by the values of its labels in their order."""


def _labelled(histogram: Histogram) -> _Labelled:
    """``histogram.labels``, without its search each time: labels are few."""
    return cache(histogram.labels)


class _Call(AbstractContextManager[None]):
    """Measures what is done within ``with``, by how it ended, and has a span around it.

    No generator, as a lease comes by a few of these.
    """

    __slots__ = ("_began", "_ended", "_histogram", "_labels", "_span")

    def __init__(
        self,
        histogram: _Labelled,
        labels: tuple[str, ...],
        span: AbstractContextManager[None],
        ended: Ended | None = None,
    ) -> None:
        self._ended = ended
        self._histogram = histogram
        self._labels = labels
        self._span = span
        self._began = 0.0

    def __enter__(self) -> None:
        self._span.__enter__()
        self._began = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._began
        self._histogram(*self._labels, _result(error)).observe(seconds)
        if self._ended is not None:
            self._ended(error)
        self._span.__exit__(kind, error, trace)


def _result(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    failed = "failed" if isinstance(error, Exception) else "cancelled"
    return errors.by_class(_RESULTS, error, failed)


class _One(CollectorRegistry):
    """A metric by itself, to be written."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """It."""
        return (self._metric,)


def _families(state: State) -> Iterable[Metric]:
    """What the driver holds."""
    size = GaugeMetricFamily(
        "d4d_pool_size_addresses", "Addresses that a pool has.", labels=["pool"]
    )
    addresses = GaugeMetricFamily(
        "d4d_pool_addresses",
        "Addresses of a pool, by state; they add up to its size.",
        labels=["pool", "state"],
    )
    for pool, fill in state.pools.items():
        size.add_metric([pool], fill.size)
        for name, count in (
            ("used", fill.used),
            ("reserved", fill.reserved),
            ("free", fill.free),
        ):
            addresses.add_metric([pool, name], count)
    leases = GaugeMetricFamily("d4d_leases", "Leases, by state.", labels=["pool", "state"])
    for pool in {*state.pools, *(pool for pool, _ in state.leases)}:
        for each in LeaseState:
            leases.add_metric([pool, each.value], state.leases.get((pool, each), 0))
    yield from (size, addresses, leases)
    for name, text, value in (
        ("d4d_leases_overdue", "Leases whose renewal is late.", state.overdue),
        ("d4d_store_unwritten", "What waits for the store to be back.", state.unwritten),
        (
            "d4d_history_waiting_events",
            "Events that wait to be kept.",
            state.history_waiting,
        ),
        (
            "d4d_webhook_waiting_messages",
            "Messages to the webhook that wait to be taken.",
            state.webhook_waiting,
        ),
        ("d4d_event_loop_tasks", "Tasks of the event loop.", state.tasks),
        ("d4d_tasks_failing", "Tasks beside Docker's calls that fail.", state.failing),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    yield CounterMetricFamily(
        "d4d_log_lines_lost",
        "Log lines that could not be written.",
        value=state.log_lines_lost,
    )

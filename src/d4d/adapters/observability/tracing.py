"""OpenTelemetry's spans, where the extra ``d4d[otel]`` is there and its environment asks for them.

The SDK is imported then only. It keeps spans that wait in a bounded queue and sends them from a
thread of its own, so that a collector that is away costs spans and holds up nobody.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Thread
from typing import TYPE_CHECKING

from d4d.service_layer import log_messages as log

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_LAST_WORDS = 2.0  # seconds at the end for spans that still wait

_NOTHING = nullcontext()


class Traces:
    """Where spans go: to a provider, or nowhere."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("d4d") if provider else None

    @property
    def are_sent(self) -> bool:
        """Whether spans go anywhere."""
        return self._provider is not None

    def span(self, name: str, **attributes: str) -> AbstractContextManager[None]:
        """A span around what is done meanwhile, within the span that is open here, if any."""
        return _NOTHING if self._tracer is None else self._span(self._tracer, name, attributes)

    @contextmanager
    def _span(self, tracer: "Tracer", name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        given = {f"d4d.{key}": value for key, value in attributes.items()}
        with tracer.start_as_current_span(name, attributes=given):
            yield

    async def aclose(self) -> None:
        """Send what waits, if the collector takes it within a moment."""
        if self._provider is None:
            return
        ending = Thread(target=self._provider.shutdown, daemon=True)  # it may wait for long
        ending.start()
        await asyncio.to_thread(ending.join, _LAST_WORDS)
        if ending.is_alive():
            log.spans_unsent()


def traces_of(environment: Mapping[str, str], *, host: str) -> Traces:
    """Traces as OpenTelemetry's variables in ``environment`` want them."""
    if not _are_wanted(environment):
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - not imported unless asked for
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above
    except ImportError as error:
        log.tracing_unavailable(error=str(error))
        return Traces()
    service = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "d4d"}
    resource = Resource.create({**service, "host.name": host})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


def _are_wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return exporter == "otlp" or (not exporter and any(map(environment.get, endpoints)))

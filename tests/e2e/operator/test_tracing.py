"""A real driver sends OpenTelemetry's spans to a collector, where its environment asks for it."""

import gzip
import os

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from lab.d4d_driver import Driver
from lab.lab import Lab
from lab.plugin_calls import call
from lab.webhook_receiver import Received, Receiver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

POOL = {
    "AddressSpace": "d4d-local",
    "Pool": "10.79.0.0/29",
    "SubPool": "",
    "Options": {"allocator": "range"},
}
MAC = {"com.docker.network.endpoint.macaddress": "02:42:0a:4f:00:01"}


def spans(request: Received) -> list[Span]:
    assert request.path == "/v1/traces"
    is_packed = request.headers.get("Content-Encoding") == "gzip"
    body = gzip.decompress(request.body) if is_packed else request.body
    told = ExportTraceServiceRequest.FromString(body)
    (resource,) = told.resource_spans
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (attributes["service.name"], attributes["host.name"]) == ("d4d", "docker1")
    return [span for scope in resource.scope_spans for span in scope.spans]


def serve_one_container(lab: Lab, endpoint: str) -> list[Span]:
    """The spans of a driver that is started, gives one address, and is stopped."""
    host = lab.machine("host", lab.switch(), "10.77.0.2/16")
    with Receiver(host, 4318) as receiver:
        driver = Driver(
            host,
            socket=host.directory / "talkingdata.sock",
            docker_socket=host.directory / "none.sock",
            settings={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "D4D_HOST": "docker1"},
        )
        driver.start()
        pool = call(driver.socket, "IpamDriver.RequestPool", POOL).content["PoolID"]
        asked = {"PoolID": pool, "Address": "", "Options": MAC}
        assert call(driver.socket, "IpamDriver.RequestAddress", asked).status == 200
        assert driver.stop() == 0
        assert driver.exceptions() == []
        return [span for request in receiver.requests for span in spans(request)]


def test_a_call_of_dockers_is_a_span_with_those_of_allocator_and_store_in_it() -> None:
    with Lab() as lab:
        found = serve_one_container(lab, "http://127.0.0.1:4318")
    (asked,) = [span for span in found if span.name == "IpamDriver.RequestAddress"]
    (allocated,) = [span for span in found if span.name == "range allocate"]
    (taken,) = [span for span in found if span.name == "store take"]
    assert allocated.parent_span_id == asked.span_id
    assert taken.parent_span_id == allocated.span_id
    assert asked.start_time_unix_nano <= taken.start_time_unix_nano < asked.end_time_unix_nano


def test_a_collector_that_is_away_is_not_in_the_way() -> None:
    with Lab() as lab:
        assert serve_one_container(lab, "http://127.0.0.1:9") == []

"""What happened to leases, as log lines."""

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import structlog

from d4d.adapters.observability.event_log import EventLog
from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId
from tests.support.fake_dockerd import Docker, started
from tests.support.virtual_time import NOON, settle

VIRTUAL_TIME = True

WEB = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01"), name="web")


def event(kind: EventKind, endpoint: Endpoint | None = WEB, detail: str = "") -> LeaseEvent:
    return LeaseEvent(
        kind=kind,
        at=NOON,
        pool=PoolId("10.77.0.0/16"),
        address=IPv4Address("10.77.16.1"),
        endpoint=endpoint,
        detail=detail,
    )


@pytest.fixture(autouse=True)
def _structlog_as_it_comes() -> None:
    """Apps that other tests started have configured it."""
    structlog.reset_defaults()


def test_a_line_says_all_that_identifies_the_lease() -> None:
    with structlog.testing.capture_logs() as lines:
        log = EventLog()
        log.record(event(EventKind.ACQUIRED))
        log.record(event(EventKind.LOST, None, "DHCPNAK"))
    assert lines == [
        {
            "event": "acquired",
            "log_level": "info",
            "address": "10.77.16.1",
            "pool": "10.77.0.0/16",
            "mac": "02:42:0a:4d:10:01",
            "name": "web",
        },
        {
            "event": "lost",
            "log_level": "error",
            "address": "10.77.16.1",
            "pool": "10.77.0.0/16",
            "detail": "DHCPNAK",
        },
    ]


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_is_logged(kind: EventKind) -> None:
    with structlog.testing.capture_logs() as lines:
        EventLog().record(event(kind))
    assert [line["event"] for line in lines] == [kind.value]


async def test_a_driver_writes_its_events(tmp_path: Path) -> None:
    options = {"com.docker.network.endpoint.macaddress": str(WEB.mac)}
    body = json.dumps({"PoolID": "192.168.59.0/24", "Options": options})
    async with started(Docker(tmp_path)) as docker:
        await docker.ask("RequestPool", '{"Pool": "192.168.59.0/24"}')
        with structlog.testing.capture_logs() as lines:
            await docker.ask("RequestAddress", body)
            await settle()
    assert [line["event"] for line in lines] == ["acquired"]

"""What happened to leases, as log lines, and to whoever else wants to hear."""

import asyncio
from ipaddress import IPv4Address

import pytest
import structlog

from d4d.adapters.observability.event_log import EventLog
from d4d.domain.leases import Endpoint, MacAddress
from d4d.domain.pools import PoolId
from d4d.domain.ports.allocator import Event, EventKind
from tests.support.fake_ports import RecordingEvents
from tests.support.virtual_time import NOON

WEB = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01"), name="web")


def event(kind: EventKind, endpoint: Endpoint | None = WEB, detail: str = "") -> Event:
    return Event(
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


async def test_a_line_says_all_that_identifies_the_lease() -> None:
    with structlog.testing.capture_logs() as lines:
        log = EventLog()
        log.record(event(EventKind.ACQUIRED))
        log.record(event(EventKind.LOST, None, "DHCPNAK"))
        await asyncio.sleep(0)
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
async def test_every_kind_is_logged(kind: EventKind) -> None:
    with structlog.testing.capture_logs() as lines:
        EventLog().record(event(kind))
        await asyncio.sleep(0)
    assert [line["event"] for line in lines] == [kind.value]


async def test_listeners_hear_of_it_too_once_the_caller_goes_on() -> None:
    log, listener = EventLog(), RecordingEvents()
    log.add(listener)
    log.record(event(EventKind.RENEWED))
    assert listener.told == []
    await asyncio.sleep(0)
    assert listener.told == [("renewed", "10.77.16.1")]

"""What happened to leases, as log lines, and to whoever else wants to hear."""

import asyncio
from ipaddress import IPv4Address

import pytest
import structlog

from d4d.adapters.observability.event_log import EventLog
from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId
from tests.support.fake_ports import RecordingEvents
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


async def test_a_flood_is_told_once_and_a_minute_later_how_often() -> None:
    """To the log, and so to history, stream and webhook."""
    log, listener = EventLog(), RecordingEvents()
    log.add(listener)
    with structlog.testing.capture_logs() as lines:
        for _ in range(35_739):
            log.record(event(EventKind.DECLINED, detail="in use"))
        await settle(59.0)
        assert [each.detail for each in listener.all] == ["in use"]
        await settle(300.0)
    details = ["in use", "in use (35738 more of the same within 60 s)"]
    assert [each.detail for each in listener.all] == details
    assert [line["detail"] for line in lines] == details


async def test_what_happens_to_leases_is_never_held_back() -> None:
    log, listener = EventLog(), RecordingEvents()
    log.add(listener)
    for _ in range(100):
        for kind in (EventKind.ACQUIRED, EventKind.LOST, EventKind.RECOVERED, EventKind.RELEASED):
            log.record(event(kind))
    await settle(1.0)
    assert len(listener.all) == 400

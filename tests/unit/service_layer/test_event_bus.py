"""What happened to leases, passed on to all who listen."""

import asyncio

from d4d.domain.events import EventKind
from d4d.service_layer.event_bus import EventBus
from tests.support.fake_ports import RecordingEvents
from tests.support.virtual_time import settle
from tests.unit.adapters.observability.test_event_log import event

VIRTUAL_TIME = True


async def test_listeners_hear_of_it_too_once_the_caller_goes_on() -> None:
    bus, listener = EventBus(), RecordingEvents()
    bus.add(listener)
    bus.record(event(EventKind.RENEWED))
    assert listener.told == []
    await asyncio.sleep(0)
    assert listener.told == [("renewed", "10.77.16.1")]


async def test_a_flood_is_told_once_and_a_minute_later_how_often() -> None:
    bus, listener = EventBus(), RecordingEvents()
    bus.add(listener)
    for _ in range(35_739):
        bus.record(event(EventKind.DECLINED, detail="in use"))
    await settle(59.0)
    assert [each.detail for each in listener.all] == ["in use"]
    await settle(300.0)
    details = ["in use", "in use (35738 more of the same within 60 s)"]
    assert [each.detail for each in listener.all] == details


async def test_what_happens_to_leases_is_never_held_back() -> None:
    bus, listener = EventBus(), RecordingEvents()
    bus.add(listener)
    for _ in range(100):
        for kind in (EventKind.ACQUIRED, EventKind.LOST, EventKind.RECOVERED, EventKind.RELEASED):
            bus.record(event(kind))
    await settle(1.0)
    assert len(listener.all) == 400

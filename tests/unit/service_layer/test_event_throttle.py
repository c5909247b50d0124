"""What strangers cause is told once, then how often; what happens to a lease is always told."""

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId
from d4d.service_layer.event_throttle import EventThrottle
from tests.support.virtual_time import NOON

WEB = Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01"), name="web")
STRANGERS = (EventKind.CONFLICT, EventKind.DECLINED, EventKind.MISMATCH)
CONFLICT = LeaseEvent(
    kind=EventKind.CONFLICT,
    at=NOON,
    pool=PoolId("10.77.0.0/16"),
    address=IPv4Address("10.77.16.1"),
    endpoint=WEB,
    detail="02:00:00:00:66:66 answers ARP for it",
)


def at(number: int) -> LeaseEvent:
    return replace(CONFLICT, address=IPv4Address("10.77.0.0") + number)


@pytest.mark.parametrize("kind", EventKind)
def test_only_what_strangers_cause_is_held_back(kind: EventKind) -> None:
    throttle = EventThrottle()
    told = [throttle.passes(replace(CONFLICT, kind=kind), 0.0) for _ in range(100)]
    assert sum(told) == (1 if kind in STRANGERS else 100)
    assert len(throttle) == (1 if kind in STRANGERS else 0)


def test_what_was_held_back_is_told_once_with_its_count() -> None:
    throttle = EventThrottle()
    for instant in range(50):
        throttle.passes(CONFLICT, float(instant))
    assert throttle.next_at == 60.0
    assert throttle.due(59.0) == []
    (summary,) = throttle.due(60.0)
    assert summary.detail == f"{CONFLICT.detail} (49 more of the same within 60 s)"
    assert replace(summary, detail=CONFLICT.detail) == CONFLICT


def test_a_flood_that_goes_on_is_told_once_a_pause() -> None:
    throttle = EventThrottle()
    told = 0
    for second in range(600):
        told += len(throttle.due(float(second)))
        told += sum(throttle.passes(CONFLICT, float(second)) for _ in range(100))
    assert told == 10


def test_what_ended_is_forgotten_and_told_at_once_the_next_time() -> None:
    throttle = EventThrottle()
    assert throttle.passes(CONFLICT, 0.0)
    assert throttle.due(60.0) == []
    assert (len(throttle), throttle.next_at) == (0, None)
    assert throttle.passes(CONFLICT, 60.0)


def test_distinct_things_are_each_told() -> None:
    throttle = EventThrottle()
    others = [
        CONFLICT,
        at(7),
        replace(CONFLICT, endpoint=None),
        replace(CONFLICT, pool=PoolId("10.78.0.0/16")),
        replace(CONFLICT, kind=EventKind.DECLINED),
        replace(CONFLICT, detail="another answers ARP for it"),
    ]
    assert all(throttle.passes(each, 0.0) for each in others)


def test_forged_addresses_are_cut_short_and_counted() -> None:
    throttle = EventThrottle()
    assert sum(throttle.passes(at(number), 1.0) for number in range(5000)) == 64
    assert len(throttle) == 65
    (summary,) = throttle.due(61.0)
    assert summary.address == at(4999).address
    assert summary.detail.endswith(" (4936 more conflict events of the pool within 60 s)")
    assert throttle.due(121.0) == []
    assert len(throttle) == 0
    assert throttle.passes(at(1), 121.0)


def test_forged_macs_of_one_address_leave_room_for_other_addresses() -> None:
    throttle = EventThrottle()
    forged = [replace(CONFLICT, detail=f"{number} answers") for number in range(1000)]
    assert sum(throttle.passes(each, 1.0) for each in forged) == 4
    assert throttle.passes(at(7), 1.0)
    assert throttle.passes(replace(CONFLICT, kind=EventKind.MISMATCH), 1.0)


def test_what_is_distinct_is_counted_anew_after_each_pause() -> None:
    throttle = EventThrottle()
    told = Counter[int]()
    for second in range(300):
        throttle.due(float(second))
        for number in range(100):
            told[second // 60] += throttle.passes(at(number + 1000 * second), float(second))
    assert all(count <= 64 for count in told.values())
    assert told[4] > 0
    assert len(throttle) <= 65

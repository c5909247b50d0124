"""A pool that becomes nearly full is logged and told, soon and once."""

from datetime import UTC, datetime
from ipaddress import ip_address

import structlog

from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.pools import PoolId
from d4d.domain.utilization import PoolUtilization
from d4d.service_layer.pool_monitor import PoolMonitor
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

POOL = PoolId("192.168.59.0/24")


class Pools:
    def __init__(self) -> None:
        self.used = 0
        self.looks = 0

    def fills(self) -> dict[PoolId, PoolUtilization]:
        self.looks += 1
        return {POOL: PoolUtilization(size=100, used=self.used, reserved=0)}


def event(kind: EventKind) -> LeaseEvent:
    return LeaseEvent(
        kind=kind, at=datetime.now(UTC), pool=POOL, address=ip_address("192.168.59.10")
    )


async def test_a_pool_is_looked_at_at_the_start_and_after_it_was_filled() -> None:
    pools, told = Pools(), list[tuple[PoolId, PoolUtilization]]()
    watch = PoolMonitor(pools.fills, percent=90, report=lambda *what: told.append(what))
    with structlog.testing.capture_logs() as logged:
        watch.start()
        await settle(10)
        assert (pools.looks, told) == (1, [])
        pools.used = 95
        watch.record(event(EventKind.RENEWED))
        await settle(10)
        assert told == []
        for _ in range(100):
            watch.record(event(EventKind.ACQUIRED))
        await settle(10)
    await watch.aclose()
    assert pools.looks == 2
    assert told == [(POOL, PoolUtilization(size=100, used=95, reserved=0))]
    (line,) = logged
    assert (line["event"], line["pool"], line["free"]) == ("pool_nearly_full", POOL, 5)


async def test_without_a_webhook_it_is_logged_all_the_same() -> None:
    pools = Pools()
    pools.used = 100
    watch = PoolMonitor(pools.fills, percent=100, report=None)
    with structlog.testing.capture_logs() as logged:
        watch.start()
        await settle()
    await watch.aclose()
    assert len(logged) == 1

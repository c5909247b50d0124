"""Releases on their way to the server: when they are sent, again, or not at all."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import structlog

from d4d.domain.addressing import MacAddress
from d4d.domain.errors import NoAddress
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import PoolId
from d4d.service_layer.release_queue import ReleaseQueue
from tests.support.fake_ports import LINK_DOWN
from tests.support.virtual_time import NOON, FakeClock, settle

VIRTUAL_TIME = True

RELEASED = Lease(
    pool=PoolId("192.168.59.0/24"),
    address=IPv4Address("192.168.59.1"),
    endpoint=Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01")),
    acquired_at=NOON,
    use=Use.RELEASED,
    generation=1,
    released_at=NOON,
)


def another(number: int) -> Lease:
    return replace(RELEASED, address=IPv4Address(f"192.168.59.{number}"), generation=number)


class Bench:
    """A queue, and all that it tried to give back, with the seconds since noon."""

    def __init__(self, hold: float = 0.0) -> None:
        self.clock = FakeClock()
        self.tries: list[tuple[str, float]] = []
        self.fails: Exception | None = None
        self.takes = 0.0
        self.queue = ReleaseQueue(
            give_back=self._give_back, clock=self.clock, hold=timedelta(seconds=hold)
        )

    async def _give_back(self, lease: Lease, reason: str) -> None:
        seconds = round((self.clock() - NOON).total_seconds(), 1)
        self.tries.append((str(lease.address), seconds))
        await asyncio.sleep(self.takes)
        if self.fails is not None:
            raise self.fails

    async def __aenter__(self) -> "Bench":
        self.queue.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.queue.aclose()

    @property
    def times(self) -> list[float]:
        return [seconds for _, seconds in self.tries]


async def test_without_hold_a_lease_is_given_back_at_once() -> None:
    async with Bench() as bench:
        bench.queue.add(RELEASED)
        await settle(100.0)
    assert bench.tries == [("192.168.59.1", 0.0)]


async def test_with_a_hold_it_is_given_back_when_that_is_over() -> None:
    async with Bench(hold=30.0) as bench:
        bench.queue.add(RELEASED)
        await settle(100.0)
    assert bench.times == [30.0]


async def test_the_hold_counts_from_the_release_not_from_our_start() -> None:
    async with Bench(hold=30.0) as bench:
        await settle(20.0)
        bench.queue.add(RELEASED)
        await settle(100.0)
    assert bench.times == [30.0]


async def test_the_hold_ends_with_the_lease() -> None:
    async with Bench(hold=3600.0) as bench:
        bench.queue.add(replace(RELEASED, expires_at=NOON + timedelta(seconds=50)))
        await settle(100.0)
    assert bench.times == [50.0]


async def test_what_is_discarded_is_not_given_back() -> None:
    async with Bench(hold=30.0) as bench:
        bench.queue.add(RELEASED)
        bench.queue.add(another(2))
        await settle(10.0)
        bench.queue.discard(RELEASED)
        bench.queue.discard(RELEASED)
        await settle(100.0)
    assert bench.tries == [("192.168.59.2", 30.0)]


async def test_an_address_that_is_released_once_more_is_given_back_once() -> None:
    async with Bench(hold=30.0) as bench:
        bench.queue.add(RELEASED)
        bench.queue.discard(RELEASED)
        later = replace(RELEASED, generation=9, released_at=NOON + timedelta(seconds=10))
        bench.queue.add(later)
        await settle(100.0)
    assert bench.times == [40.0]


async def test_failures_are_tried_again_ever_more_seldom_up_to_a_minute() -> None:
    async with Bench() as bench:
        bench.fails = LINK_DOWN
        bench.queue.add(RELEASED)
        await settle(250.0)
    assert bench.times == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0, 243.0]


async def test_any_error_of_ours_is_tried_again() -> None:
    async with Bench() as bench:
        bench.fails = NoAddress("x")
        bench.queue.add(RELEASED)
        await settle(0.5)
        bench.fails = None
        await settle(100.0)
    assert bench.times == [0.0, 1.0]


async def test_one_that_hangs_is_cut_off_after_two_seconds_and_the_next_is_served() -> None:
    async with Bench() as bench:
        bench.takes = 1000.0
        bench.queue.add(RELEASED)
        await settle(1.0)
        bench.takes = 0.0
        bench.queue.add(another(2))
        await settle(1.5)
        assert bench.tries == [("192.168.59.1", 0.0), ("192.168.59.2", 2.0)]
        await settle(5.0)
    assert bench.tries[2:] == [("192.168.59.1", 3.0)]


async def test_a_thousand_releases_keep_a_distance() -> None:
    async with Bench() as bench:
        for number in range(250):
            bench.queue.add(another(number))
        await settle(0.3)
        assert 50 < len(bench.tries) < 150
        await settle(1.0)
    assert len(set(bench.tries)) == 250


async def test_the_end_gives_nothing_back() -> None:
    async with Bench(hold=1.0) as bench:
        bench.queue.add(RELEASED)
    await settle(100.0)
    assert bench.tries == []


async def test_the_end_may_come_in_the_moment_of_a_release() -> None:
    """Python 3.11's wait_for forgets a cancellation that comes together with what it awaits."""
    bench = Bench(hold=30.0)
    bench.queue.start()
    await settle()
    bench.queue.add(RELEASED)
    async with asyncio.timeout(1.0):
        await bench.queue.aclose()


async def test_the_end_before_the_start_is_fine() -> None:
    await Bench().queue.aclose()


async def test_a_release_that_can_not_be_sent_is_told_once() -> None:
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        async with Bench() as bench:
            bench.fails = LINK_DOWN
            bench.queue.add(RELEASED)
            await settle(600.0)
            assert len(bench.tries) > 9
    (told,) = (line for line in lines if line["event"] == "release_unsent")
    assert told["address"] == "192.168.59.1"
    assert told["error"] == str(LINK_DOWN)

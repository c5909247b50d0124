"""Hosts that watch each other beside Docker's calls, and drain who is dead."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from d4d.domain.addressing import MacAddress
from d4d.domain.leases import LeaseState
from d4d.domain.policies import ReclaimPolicy
from d4d.service_layer.background_tasks import BackgroundTasks
from d4d.service_layer.reconciler import Reconciler
from tests.support.driver_harness import GRACE, A, B, Driver
from tests.support.virtual_time import settle
from tests.unit.service_layer.test_host_drain import StrangeHosts
from tests.unit.service_layer.test_reconciler import FakeContainers

VIRTUAL_TIME = True

LONG = GRACE.total_seconds()


@asynccontextmanager
async def running(
    driver: Driver, reclaim: ReclaimPolicy = ReclaimPolicy.AUTO
) -> AsyncIterator[None]:
    """The host lives, without a Docker."""
    docker = FakeContainers()
    background = BackgroundTasks(
        reconciler=Reconciler(
            ipam=driver.ipam, containers=docker, clock=driver.clock, grace=timedelta(minutes=1)
        ),
        containers=docker,
        interval=timedelta(0),
        ipam=driver.ipam,
        reclaim=reclaim,
    )
    background.start()
    try:
        yield
    finally:
        await background.aclose()


@pytest.fixture
async def site() -> AsyncIterator[tuple[Driver, Driver, StrangeHosts]]:
    """Host a with two containers, host b beside it, and the store's hosts."""
    one, hosts = Driver(), StrangeHosts()
    one.hosts = hosts
    one.ipam = one._new()
    two = one.beside("host-b")
    async with one, two:
        pool = await one.pool()
        await one.run(pool, A)
        await one.run(pool, B)
        yield one, two, hosts


Site = tuple[Driver, Driver, StrangeHosts]


async def test_after_an_outage_that_was_longer_than_the_grace_nobody_is_drained(site: Site) -> None:
    one, two, hosts = site
    with capture_logs() as logs:
        async with running(two):
            async with running(one):
                await settle(2 * LONG)
                hosts.is_away = one.store.is_away = True
                await settle(2 * LONG)
            hosts.is_away = one.store.is_away = False
            await settle(LONG / 2)  # host b is back first, and a comes late
            async with running(one):
                await settle(5 * LONG)
    assert not [each for each in logs if "drain" in each["event"]]
    assert one.freed == two.freed == []
    assert set((await one.stored()).values()) == {LeaseState.BOUND}


@pytest.mark.parametrize("days", [-1, 1], ids=["back", "ahead"])
async def test_where_the_stores_clock_jumps_nobody_is_drained(site: Site, days: int) -> None:
    one, two, hosts = site
    async with running(one), running(two):
        await settle(2 * LONG)
        for count in range(5):
            hosts.jumped = timedelta(days=days * count)
            await settle(LONG / 3)
        await settle(5 * LONG)
    assert one.freed == two.freed == []


async def test_a_dead_host_is_drained_a_grace_later(site: Site) -> None:
    one, two, _ = site
    async with running(two):
        async with running(one):
            await settle(2 * LONG)
        await settle(LONG - 20)
        assert two.freed == []
        await settle(60)
    assert len(two.freed) == 2
    assert set((await one.stored()).values()) == {LeaseState.FREED}


async def test_without_an_operators_rule_nobody_is_drained_but_all_are_watched(site: Site) -> None:
    one, two, _ = site
    async with running(two, ReclaimPolicy.MANUAL):
        async with running(one):
            await settle(2 * LONG)
        await settle(LONG + 60)
        assert two.freed == []
        assert len((await two.ipam.host_drain.drain(one.owner)).freed) == 2, "it knows at once"


async def test_a_drain_that_takes_long_does_not_hold_up_heartbeats(site: Site) -> None:
    one, two, hosts = site
    two.neighbours.takes = 3 * LONG
    async with running(two):
        await settle(3 * LONG)
        assert two.neighbours.asked, "it is at work"
        age = (await hosts.heard(two.clock())).age(two.owner)
        assert age is not None
        assert age < GRACE / 2
    assert one.freed == two.freed == [], "and ends with the driver"


async def test_what_stays_in_use_is_tried_each_grace_and_told_once(site: Site) -> None:
    _, two, _ = site
    two.neighbours.answers = {"192.168.59.1": MacAddress.parse(A)}
    with capture_logs() as logs:
        async with running(two):
            await settle(20 * LONG)
            events = [each["event"] for each in logs]
            assert events.count("automatic_host_drain_started") == 1
            assert events.count("address_not_reclaimed") == 1
            assert events.count("host_drained") == 1
            assert 15 <= two.neighbours.asked.count("192.168.59.1") <= 20
            two.neighbours.answers = {}
            await settle(2 * LONG)
    assert [str(each) for each in two.freed] == ["192.168.59.2", "192.168.59.1"]


async def test_of_many_hosts_one_drains_and_all_go_on(site: Site) -> None:
    one, two, _ = site
    three = one.beside("host-c", installation="installation-3")
    async with three, running(two), running(three):
        async with running(one):
            await settle(2 * LONG)
        await settle(5 * LONG)
        assert sorted(two.freed + three.freed) == ["192.168.59.1", "192.168.59.2"]
        assert {each.name for each in await two.ipam.host_drain.hosts()} == {"host-b", "host-c"}


async def test_an_error_of_a_drain_is_told_and_the_host_goes_on(site: Site) -> None:
    _, two, _ = site
    two.store.away_for = {"update"}
    with capture_logs() as logs:
        async with running(two):
            await settle(3 * LONG)
            assert [each["error"] for each in logs if each["event"] == "host_drain_failed"] == [
                "the store is away"
            ]
            two.store.away_for = set()
            await settle(2 * LONG)
            assert len(asyncio.all_tasks()) >= 2
    assert len(two.freed) == 2

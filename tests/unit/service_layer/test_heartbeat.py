"""A host that was away finds out what is still its own before it answers Docker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.domain.errors import AddressInUse, BadRequest, StoreAway, StoreTooNew
from d4d.domain.leases import LeaseState
from d4d.domain.pools import PoolRequest
from tests.support.driver_harness import GRACE, NET, A, B, Driver
from tests.support.virtual_time import settle

VIRTUAL_TIME = True


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    async with Driver() as started:
        yield started


async def drained_by_another(driver: Driver) -> Driver:
    """The host was silent, and another took back all that it held."""
    other = driver.beside("host-b")
    await other.ipam.open()
    await other.watch(GRACE.total_seconds() + 1)
    drained = await other.ipam.host_drain.drain(driver.owner)
    assert drained.failed == []
    return other


def held(driver: Driver) -> dict[str, LeaseState]:
    return {str(lease.address): lease.state for lease in driver.ipam.leasing.leases}


# Away at the start


async def test_a_driver_starts_without_its_store(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    driver.store.is_away = True
    await driver.crash()
    assert not driver.ipam.heartbeat.is_loaded
    assert "away" in driver.ipam.heartbeat.trouble
    with pytest.raises(StoreAway):
        await driver.run(pool, A)
    with pytest.raises(StoreAway):
        await driver.pool()
    driver.store.is_away = False
    await driver.ipam.heartbeat.beat()
    assert driver.ipam.heartbeat.trouble == ""
    assert await driver.run(pool, A) == cidr
    assert len(driver.allocator.allocated) == 1


async def test_a_call_of_docker_itself_finds_that_the_store_is_back(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    driver.store.is_away = True
    await driver.crash()
    driver.store.is_away = False
    assert await driver.run(pool, A) == cidr


async def test_a_release_that_comes_before_the_store_is_not_forgotten(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    driver.store.is_away = True
    await driver.crash()
    await driver.release(pool, cidr)
    await driver.ipam.release_pool(pool)
    driver.store.is_away = False
    await driver.ipam.heartbeat.beat()
    await settle()
    assert driver.freed == [cidr.partition("/")[0]]
    assert driver.ipam.pools == []


async def test_a_store_that_is_broken_is_an_error_at_the_start(driver: Driver) -> None:
    class Broken(MemoryLeaseStore):
        async def load(self, owner: str) -> None:  # type: ignore[override]  # it never returns
            raise StoreTooNew(f"a later D4D wrote it for {owner}")

    driver.store.inner = Broken()
    with pytest.raises(StoreTooNew):
        await driver.crash()


# Silent for a while


async def test_while_it_is_heard_of_the_store_is_not_asked(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    driver.store.writes.clear()
    await settle(GRACE.total_seconds() / 2)
    await driver.run(pool, A)
    assert driver.store.writes == ["save_pool"]  # that it was answered twice


async def test_after_a_silence_it_asks_before_it_answers(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    await settle(GRACE.total_seconds())
    driver.store.is_away = True
    with pytest.raises(StoreAway):
        await driver.run(pool, A)
    driver.store.is_away = False
    driver.store.writes.clear()
    assert await driver.run(pool, A) == cidr
    assert driver.store.writes == ["load", "save_pool"]


async def test_while_it_is_drained_docker_is_answered_with_an_error(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    await settle(GRACE.total_seconds())
    beat = (await driver.hosts.heard(driver.clock())).beats[driver.owner].number
    assert await driver.hosts.begin_drain(driver.owner, "host-b", beat, driver.clock())
    with pytest.raises(StoreAway, match="another host takes back what it held"):
        await driver.run(pool, A)
    await settle(60)
    assert await driver.run(pool, A) == cidr


async def test_what_was_drained_and_is_free_is_its_own_again(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    await drained_by_another(driver)
    assert await driver.stored() == {"192.168.59.1": LeaseState.FREED}
    assert await driver.run(pool, A) == cidr
    assert await driver.stored() == {"192.168.59.1": LeaseState.BOUND}
    assert driver.allocator.confirmed == [IPv4Address("192.168.59.1")], "its server gave it away"
    (lease,) = driver.ipam.leasing.leases
    await driver.ipam.leasing.give_up(lease, "its container is gone", proven=True)
    await settle()
    assert await driver.stored() == {"192.168.59.1": LeaseState.FREED}


async def test_what_was_drained_and_given_to_another_is_lost(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    other = await drained_by_another(driver)
    assert await other.run(await other.pool(), B) == "192.168.59.1/24"
    assert await driver.run(pool, A) == "192.168.59.2/24"
    assert ("lost", "192.168.59.1") in driver.events.told
    assert held(driver) == {"192.168.59.2": LeaseState.BOUND}
    assert await other.stored() == {"192.168.59.1": LeaseState.BOUND}


async def test_a_host_that_comes_back_from_a_crash_knows_what_was_drained(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await drained_by_another(driver)
    await driver.crash()
    assert held(driver) == {"192.168.59.1": LeaseState.FREED}
    assert driver.kept == []
    assert [record.pool.id for record in driver.ipam.pools] == []


# Another of the same name


async def test_a_namesake_gets_nothing_and_gives_nothing_back(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    other = driver.beside(driver.owner)
    await other.ipam.open()
    assert not other.ipam.heartbeat.is_loaded
    assert "another machine uses the store as host host-a" in other.ipam.heartbeat.trouble
    with pytest.raises(StoreAway, match="D4D_HOST"):
        await other.pool()
    with pytest.raises(StoreAway, match="D4D_HOST"):
        await other.run(pool, B)
    await other.release(pool, cidr)
    await settle()
    assert other.freed == []
    assert await driver.stored() == {"192.168.59.1": LeaseState.BOUND}
    assert await driver.run(pool, B) == "192.168.59.2/24"


async def waits(namesake: Driver, seconds: float) -> None:
    """It beats each second, as one does that is in trouble, and gets nothing but errors."""
    await namesake.ipam.open()
    for _ in range(round(seconds)):
        await settle(1)
        with contextlib.suppress(StoreAway):
            await namesake.ipam.heartbeat.beat()


async def test_a_namesake_that_just_began_does_not_know_that_the_first_is_gone(
    driver: Driver,
) -> None:
    await settle(10 * GRACE.total_seconds())
    other = driver.beside(driver.owner)
    await waits(other, GRACE.total_seconds() - 5)
    assert not other.ipam.heartbeat.is_loaded
    await waits(other, 10)
    assert other.ipam.heartbeat.is_loaded


async def test_after_an_outage_a_namesake_does_not_take_a_living_hosts_place(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    other = driver.beside(driver.owner)
    await waits(other, 30)
    other.clock.jump(10 * GRACE)  # all were suspended, and the store's clock is later
    await waits(other, 5)
    assert not other.ipam.heartbeat.is_loaded, "the first has not come back yet"
    await driver.ipam.heartbeat.beat()
    await waits(other, GRACE.total_seconds() / 2)
    assert not other.ipam.heartbeat.is_loaded
    assert await driver.stored() == {"192.168.59.1": LeaseState.BOUND}


async def test_a_host_whose_name_another_took_meanwhile_stops_to_count_on_its_leases(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await settle(GRACE.total_seconds())
    other = driver.beside(driver.owner)
    await waits(other, GRACE.total_seconds() + 5)
    assert other.ipam.heartbeat.is_loaded, "the first was silent for the grace"
    with pytest.raises(StoreAway, match="another machine uses the store as host host-a"):
        await driver.run(pool, B)
    assert driver.ipam.heartbeat.trouble


# A store that lost everything


async def loses_everything(driver: Driver) -> None:
    driver.store.inner = MemoryLeaseStore()
    for name in await driver.hosts.owners():
        await driver.hosts.forget_host(name)


async def test_a_store_that_lost_everything_gets_back_what_is_held(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.gateway(pool, "192.168.59.254")
    await driver.run(pool, A)
    cidr = await driver.run(pool, B)
    await loses_everything(driver)
    await driver.ipam.heartbeat.beat()
    await settle()
    contents = await driver.store.inner.load(driver.owner)
    assert {str(lease.address) for lease in contents.leases} == {"192.168.59.1", "192.168.59.2"}
    assert [record.users for record in contents.pools] == [1]
    assert len(contents.pools[0].reservations) == 1
    assert driver.allocator.confirmed == [], "their server lost nothing"
    driver.allocator.renews("192.168.59.2")
    await settle()
    await driver.stop(pool, cidr)
    assert (await driver.stored())["192.168.59.2"] is LeaseState.FREED


async def test_a_write_that_finds_nothing_puts_the_lease_back(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    driver.store.inner = MemoryLeaseStore()
    driver.allocator.renews("192.168.59.1")
    await settle()
    assert await driver.stored() == {"192.168.59.1": LeaseState.BOUND}
    assert held(driver) == {"192.168.59.1": LeaseState.BOUND}
    assert "lost" not in dict(driver.events.told)


async def test_a_release_that_finds_nothing_still_reaches_the_server(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    driver.store.inner = MemoryLeaseStore()
    await driver.stop(pool, cidr)
    assert driver.freed == ["192.168.59.1"]
    assert held(driver) == {"192.168.59.1": LeaseState.FREED}


async def test_what_is_released_while_it_is_put_back_stays_released(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    await loses_everything(driver)
    driver.store.takes = 1.0
    driver.allocator.renews("192.168.59.1")
    await settle(1.5)  # the renewal was refused, and the lease is being put back
    await driver.release(pool, cidr)
    await settle(20)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {"192.168.59.1": LeaseState.FREED}


async def test_what_another_host_has_meanwhile_is_lost_and_not_freed(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    mine = await driver.stored_lease("192.168.59.1")
    await driver.store.inner.add(replace(mine, owner="host-b"))
    driver.allocator.renews("192.168.59.1")
    await settle()
    assert held(driver) == {}
    assert driver.freed == []
    assert ("lost", "192.168.59.1") in driver.events.told


# Containers that are found


async def test_a_container_whose_address_is_another_hosts_is_not_adopted(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    mine = await driver.stored_lease("192.168.59.1")
    other = driver.beside("host-b")
    await other.ipam.open()
    holdings = await other.ipam.adopt_pool(PoolRequest(subnet=ip_network(NET)), {})
    with pytest.raises(AddressInUse, match="on host host-a"):
        await other.ipam.leasing.adopt(
            holdings, replace(mine.endpoint, name=None), mine.address, named=False
        )
    assert await driver.stored_lease("192.168.59.1") == mine


# Draining


async def test_a_host_that_is_heard_of_is_not_drained(driver: Driver) -> None:
    other = driver.beside("host-b")
    await other.ipam.open()
    with pytest.raises(
        BadRequest,
        match=r"host-a was heard of 0 s ago by the store's clock, .* watched for 0 s only",
    ):
        await other.ipam.host_drain.drain("host-a")
    with pytest.raises(BadRequest, match="is this host"):
        await other.ipam.host_drain.drain("host-b")
    with pytest.raises(BadRequest, match="no host 'host-c' uses this store: there are host-a"):
        await other.ipam.host_drain.drain("host-c")


async def test_a_drained_host_is_forgotten_and_its_events_told(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await driver.run(pool, B)
    other = driver.beside("host-b")
    await other.ipam.open()
    await other.watch(GRACE.total_seconds() + 1)
    await other.ipam.heartbeat.beat()
    assert await other.ipam.host_drain.dead() == ["host-a"]
    hosts = {host.name: host for host in await other.ipam.host_drain.hosts()}
    assert (hosts["host-a"].is_alive, hosts["host-a"].leases) == (False, 2)
    assert (hosts["host-b"].is_alive, hosts["host-b"].leases) == (True, 0)
    drained = await other.ipam.host_drain.drain("host-a")
    assert len(drained.freed) == 2
    assert other.events.told == [("drained", "192.168.59.1"), ("drained", "192.168.59.2")]
    assert driver.allocator.bindings == {}, "the server was told"
    assert await other.ipam.host_drain.dead() == []
    assert [host.name for host in await other.ipam.host_drain.hosts()] == ["host-b"]


async def test_what_can_not_be_given_back_stays_the_hosts(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    other = driver.beside("host-b")
    await other.ipam.open()
    await other.watch(GRACE.total_seconds() + 1)
    other.allocator.free_fails = StoreTooNew("eth0: no such device")
    drained = await other.ipam.host_drain.drain("host-a")
    assert [(str(lease.address), why) for lease, why in drained.failed] == [
        ("192.168.59.1", "eth0: no such device")
    ]
    assert "host-a" in {host.name for host in await other.ipam.host_drain.hosts()}
    other.allocator.free_fails = None
    assert len((await other.ipam.host_drain.drain("host-a")).freed) == 1


async def test_what_a_third_host_got_meanwhile_is_left_alone(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await driver.run(pool, B)
    other = driver.beside("host-b")
    await other.ipam.open()
    await other.watch(GRACE.total_seconds() + 1)
    other.allocator.free_takes = 1.0
    host_drain = asyncio.ensure_future(other.ipam.host_drain.drain("host-a"))
    await settle(0.5)  # the first is on its way
    second = await driver.stored_lease("192.168.59.2")
    await driver.store.inner.add(replace(second, owner="host-c"))
    drained = await host_drain
    assert [str(lease.address) for lease in drained.freed] == ["192.168.59.1"]
    assert other.freed == ["192.168.59.1"]

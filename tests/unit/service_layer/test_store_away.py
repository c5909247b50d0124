"""The store is away, hangs, or breaks in a way that nobody thought of: what Docker's calls do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from d4d.domain.errors import StoreAway
from d4d.domain.leases import LeaseState
from d4d.domain.pools import Pool, PoolRecord
from tests.support.driver_harness import GRACE, NET, A, B, Driver
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

COUNT = 40
MACS = [f"02:42:0a:4d:20:{number:02x}" for number in range(COUNT)]


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    async with Driver() as started:
        yield started


def now() -> float:
    return asyncio.get_running_loop().time()


async def timed(call: Awaitable[object]) -> tuple[object, float]:
    """What a call came to, and how many seconds it took."""
    began = now()
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    return outcome, now() - began


async def test_all_calls_are_served_where_the_store_is_back_within_a_second(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    await settle(GRACE.total_seconds())  # so that it must ask what is still its own
    driver.store.is_away = True
    calls = [asyncio.ensure_future(driver.run(pool, mac)) for mac in MACS]
    other = asyncio.ensure_future(driver.pool("10.99.0.0/24"))
    await settle(1.0)
    driver.store.is_away = False
    assert len(set(await asyncio.gather(*calls))) == COUNT
    assert await other == "10.99.0.0/24"
    assert len(driver.allocator.allocated) == COUNT, "no server is asked twice"


async def test_also_where_only_the_lease_could_not_be_stored(driver: Driver) -> None:
    pool = await driver.pool()
    driver.store.is_away = True
    calls = [asyncio.ensure_future(driver.run(pool, mac)) for mac in MACS]
    await settle(1.0)
    driver.store.is_away = False
    assert len(set(await asyncio.gather(*calls))) == COUNT
    assert len(driver.allocator.allocated) == COUNT
    assert driver.freed == []


@pytest.mark.parametrize("silent", [0.0, GRACE.total_seconds()], ids=["heard-of", "not-heard-of"])
async def test_calls_wait_for_a_store_that_hangs_side_by_side(
    driver: Driver, silent: float
) -> None:
    pool = await driver.pool()
    leased = [await driver.run(pool, mac) for mac in MACS]
    await settle(silent)
    driver.store.is_away, driver.store.takes = True, 2.0
    requests = [timed(driver.run(pool, mac.replace(":20:", ":21:"))) for mac in MACS]
    releases = [timed(driver.release(pool, cidr)) for cidr in leased]
    done = await asyncio.gather(*requests, *releases)
    assert {type(outcome) for outcome, _ in done[:COUNT]} == {StoreAway}
    assert {outcome for outcome, _ in done[COUNT:]} == {None}
    assert max(seconds for _, seconds in done[:COUNT]) <= 8.0
    assert max(seconds for _, seconds in done[COUNT:]) <= 2.0
    driver.store.is_away, driver.store.takes = False, 0.0
    await settle(10.0)
    assert set((await driver.stored()).values()) == {LeaseState.FREED}


async def test_a_release_waits_no_longer_than_two_seconds_for_a_store_that_says_nothing(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    auxiliary = await driver.auxiliary(pool, "192.168.59.70")
    driver.store.takes = 3600.0
    for call in (
        driver.release(pool, cidr),
        driver.release(pool, auxiliary),
        driver.ipam.release_pool(pool),
    ):
        outcome, seconds = await timed(call)
        assert outcome is None
        assert seconds <= 2.0
    driver.store.takes = 0.0
    await settle(2 * 3600.0)
    assert set((await driver.stored()).values()) == {LeaseState.FREED}
    assert (await driver.store.inner.load(driver.owner)).pools == ()


async def test_networks_that_go_wait_side_by_side(driver: Driver) -> None:
    pools = [await driver.pool(f"10.{number}.0.0/24") for number in range(COUNT)]
    driver.store.is_away, driver.store.takes = True, 2.0
    done = await asyncio.gather(*(timed(driver.ipam.release_pool(pool)) for pool in pools))
    assert {outcome for outcome, _ in done} == {None}
    assert max(seconds for _, seconds in done) <= 2.0
    driver.store.is_away, driver.store.takes = False, 0.0
    await settle(10.0)
    assert (await driver.store.inner.load(driver.owner)).pools == ()


async def test_a_release_is_not_lost_whatever_the_store_raises(driver: Driver) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(repr(context["exception"]))
    )
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    driver.store.breaks_for = {"update"}
    assert await timed(driver.release(pool, cidr)) == (None, 0.0)
    assert ["RuntimeError" in each for each in told] == [True]
    assert len(driver.ipam.leasing.ledger.writes) == 1, "it is written when the store does that"
    driver.store.breaks_for = set()
    await settle()
    assert driver.freed == ["192.168.59.1"], "the server heard of it"
    assert await driver.stored() == {"192.168.59.1": LeaseState.FREED}


async def test_a_release_that_is_given_up_is_not_lost(driver: Driver) -> None:
    pool = await driver.pool()
    cidr = await driver.run(pool, A)
    driver.store.takes = 1.0
    call = asyncio.ensure_future(driver.release(pool, cidr))
    await settle(0.5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settle(10.0)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {"192.168.59.1": LeaseState.FREED}


async def test_a_return_that_is_given_up_leaves_the_release(driver: Driver) -> None:
    async with Driver(hold=GRACE) as held:
        pool = await held.pool()
        cidr = await held.run(pool, A)
        await held.release(pool, cidr)
        held.store.takes = 1.0
        call = asyncio.ensure_future(held.run(pool, A))
        await settle(0.5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await settle(2 * GRACE.total_seconds())
        assert held.freed == ["192.168.59.1"]
        assert await held.stored() == {"192.168.59.1": LeaseState.FREED}


async def test_a_request_that_is_given_up_leaves_nothing(driver: Driver) -> None:
    pool = await driver.pool()
    driver.store.takes = 1.0
    call = asyncio.ensure_future(driver.run(pool, A))
    await settle(0.5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settle(10.0)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {}
    driver.store.takes = 0.0
    assert await driver.run(pool, B)


async def test_a_network_whose_creation_is_given_up_is_used_by_nobody(driver: Driver) -> None:
    """The store may have it all the same, and would have it for ever."""
    driver.store.takes = 1.0
    call = asyncio.ensure_future(driver.pool())
    await settle(0.5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert driver.ipam.pools == []
    record = PoolRecord(pool=Pool.parse(NET), users=1)
    await driver.store.inner.save_pool(record, driver.owner)  # it was on its way
    await settle(10.0)
    assert (await driver.store.inner.load(driver.owner)).pools == ()


async def test_a_pool_that_could_not_be_stored_when_it_was_rebuilt_is_stored_later(
    driver: Driver,
) -> None:
    driver.store.away_for = {"save_pool"}
    with pytest.raises(StoreAway):
        await driver.run(NET, A)
    driver.store.away_for = set()
    await settle(10.0)
    (record,) = (await driver.store.inner.load(driver.owner)).pools
    assert record.users == 1

"""What Docker asks of the driver, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from d4d.domain.errors import (
    AddressInUse,
    BadRequest,
    LinkDown,
    NoAddress,
    PoolOverlap,
    StoreUnavailable,
    UnknownPool,
)
from d4d.domain.events import EventKind
from d4d.domain.lease_states import Standing
from d4d.domain.leases import LeaseState
from tests.support.driver_harness import NET, A, B, C, Driver
from tests.support.fake_ports import LINK_DOWN
from tests.support.virtual_time import settle

VIRTUAL_TIME = True

MINUTE = timedelta(minutes=1)
BOUND, RELEASED, FREED = LeaseState.BOUND, LeaseState.RELEASED, LeaseState.FREED


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    async with Driver() as opened:
        yield opened


@pytest.fixture
async def holding() -> AsyncIterator[Driver]:
    """A driver that holds what is released for a minute."""
    async with Driver(hold=MINUTE) as opened:
        yield opened


# Containers


async def test_a_container_gets_an_address_that_is_stored_by_then(driver: Driver) -> None:
    pool = await driver.pool()
    assert await driver.run(pool, A, name="web") == "192.168.59.1/24"
    assert await driver.stored() == {"192.168.59.1": BOUND}
    assert driver.kept == ["192.168.59.1"]
    assert driver.events.told == [("acquired", "192.168.59.1")]


async def test_the_same_mac_again_gets_the_same_lease(driver: Driver) -> None:
    pool = await driver.pool()
    first = await driver.run(pool, A)
    assert await driver.run(pool, A) == first
    assert await driver.run(pool, A, ip="192.168.59.1") == first
    assert len(driver.allocator.asked) == 1


async def test_the_same_mac_twice_at_once_is_allocated_once(driver: Driver) -> None:
    pool = await driver.pool()
    driver.allocator.allocate_takes = 1.0
    both = await asyncio.gather(driver.run(pool, A), driver.run(pool, A))
    assert set(both) == {"192.168.59.1/24"}
    assert len(driver.allocator.asked) == 1


async def test_containers_are_served_beside_each_other(driver: Driver) -> None:
    pool = await driver.pool()
    driver.allocator.allocate_takes = 10.0
    began = driver.clock()
    await asyncio.gather(driver.run(pool, A), driver.run(pool, B), driver.run(pool, C))
    assert driver.clock() - began < timedelta(seconds=11)


async def test_a_mac_that_has_an_address_cannot_have_another(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    with pytest.raises(AddressInUse, match=r"has 192\.168\.59\.1 .* release 192\.168\.59\.1 first"):
        await driver.run(pool, A, ip="192.168.59.9")


async def test_a_mac_of_two_names_is_refused(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A, name="web")
    with pytest.raises(AddressInUse, match="give one of them another --mac-address"):
        await driver.run(pool, A, name="db")


async def test_another_containers_ip_is_refused_by_name(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A, name="web", ip="192.168.59.9")
    with pytest.raises(AddressInUse, match=rf"192\.168\.59\.9 is leased to web \({A}\)"):
        await driver.run(pool, B, name="db", ip="192.168.59.9")
    assert len(driver.allocator.asked) == 1


async def test_a_new_mac_of_the_same_name_has_its_old_address_where_nobody_else_does(
    driver: Driver,
) -> None:
    """Docker's release got lost; the container is back under a new MAC. Or it was renamed."""
    pool = await driver.pool()
    await driver.run(pool, A, name="web", ip="192.168.59.9")
    with pytest.raises(AddressInUse, match=f"leased to web \\({A}\\)"):
        await driver.run(pool, B, name="web", ip="192.168.59.9")
    (lease,) = driver.ipam.leasing.leases
    driver.ipam.leasing.missing = frozenset({(lease.pool, lease.address, lease.generation)})
    assert await driver.run(pool, B, name="web", ip="192.168.59.9") == "192.168.59.9/24"
    assert [str(lease.endpoint.mac) for lease in driver.ipam.leasing.leases] == [B]


async def test_a_renamed_containers_old_name_does_not_share_its_address() -> None:
    """docker rename web old, which Docker's API tells; docker run --name web."""
    async with Driver() as driver:
        pool = await driver.pool()
        old = await driver.run(pool, A, name="web")
        (lease,) = driver.ipam.leasing.leases
        await driver.ipam.leasing.name(lease, "old")
        assert await driver.run(pool, B, name="web") != old


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("192.168.60.9", r"not in the pool's subnet 192\.168\.59\.0/24"),
        ("192.168.59.0", "network or broadcast address"),
        ("192.168.59.255", "network or broadcast address"),
    ],
)
async def test_an_address_that_no_host_may_have_is_refused(
    driver: Driver, address: str, why: str
) -> None:
    pool = await driver.pool()
    with pytest.raises(BadRequest, match=why):
        await driver.run(pool, A, ip=address)
    with pytest.raises(BadRequest, match=why):
        await driver.auxiliary(pool, address)
    with pytest.raises(BadRequest, match=why):
        await driver.gateway(pool, address)


async def test_an_ip_outside_the_ip_range_is_asked_for(driver: Driver) -> None:
    pool = await driver.pool(range_="192.168.59.64/28")
    assert await driver.run(pool, A, ip="192.168.59.9") == "192.168.59.9/24"
    assert await driver.run(pool, B) == "192.168.59.64/24"


async def test_a_failed_allocation_leaves_nothing(driver: Driver) -> None:
    pool = await driver.pool()
    driver.allocator.allocate_fails = NoAddress("nobody answered")
    with pytest.raises(NoAddress):
        await driver.run(pool, A)
    assert await driver.stored() == {}
    assert driver.kept == []
    assert driver.events.told == []
    driver.allocator.allocate_fails = None
    assert await driver.run(pool, A) == "192.168.59.1/24"


async def test_a_lease_that_cannot_be_stored_is_freed(driver: Driver) -> None:
    pool = await driver.pool()
    driver.store.away_for = {"add"}
    with pytest.raises(StoreUnavailable):
        await driver.run(pool, A)
    assert driver.freed == ["192.168.59.1"]
    assert (driver.kept, driver.allocator.bindings) == ([], {})
    driver.store.away_for = set()
    assert await driver.run(pool, B) == "192.168.59.1/24"


async def test_a_lease_that_can_neither_be_stored_nor_freed_is_reported_as_the_store(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    driver.store.away_for = {"add"}
    driver.allocator.free_fails = LINK_DOWN
    with pytest.raises(StoreUnavailable):
        await driver.run(pool, A)


async def test_a_lease_that_can_neither_be_stored_nor_freed_is_kept_no_longer(
    driver: Driver,
) -> None:
    """It runs out at the server only if nobody renews it."""
    pool = await driver.pool()
    driver.store.away_for = {"add"}
    driver.allocator.free_fails = LINK_DOWN
    with pytest.raises(StoreUnavailable):
        await driver.run(pool, A)
    assert driver.kept == []


async def test_a_call_cut_short_while_storing_frees_the_lease(driver: Driver) -> None:
    pool = await driver.pool()
    driver.store.takes = 10.0
    call = asyncio.ensure_future(driver.run(pool, A))
    await settle(1.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert driver.freed == ["192.168.59.1"]


async def test_an_address_of_a_held_release_whose_new_lease_cannot_be_stored_is_free_again(
    holding: Driver,
) -> None:
    """The server gave B what A had released, and then took it back from B."""
    pool = await holding.pool()
    address = await holding.run(pool, A, name="web")
    await holding.stop(pool, address)
    holding.store.away_for = {"add"}
    holding.allocator.bindings.clear()
    holding.clock.jump(timedelta(hours=2))  # the held lease has run out: no revival
    with pytest.raises(StoreUnavailable):
        await holding.run(pool, B, name="web")
    holding.store.away_for = set()
    await settle(120.0)
    assert await holding.run(pool, C, ip="192.168.59.1") == "192.168.59.1/24"


# Releases


async def test_a_release_is_answered_at_once_and_sent_behind(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.allocator.free_takes = 1.0
    began = driver.clock()
    await driver.release(pool, address)
    assert driver.clock() == began
    assert driver.freed == []
    assert await driver.stored() == {"192.168.59.1": RELEASED}
    await settle(2.0)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {"192.168.59.1": FREED}
    assert driver.events.told[-1] == ("released", "192.168.59.1")


async def test_a_release_is_sent_again_until_the_link_is_up(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.allocator.free_fails = LINK_DOWN
    await driver.stop(pool, address)
    await settle(10.0)
    assert await driver.stored() == {"192.168.59.1": RELEASED}
    driver.allocator.free_fails = None
    await settle(10.0)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {"192.168.59.1": FREED}


async def test_one_release_that_fails_does_not_keep_the_others_back(driver: Driver) -> None:
    here, there = await driver.pool(), await driver.pool("192.168.60.0/24")
    first, second = await driver.run(here, A), await driver.run(there, B)
    driver.allocator.free_takes = 60.0  # the turn of a MAC that is just being served
    await driver.release(here, first)
    await settle(1.0)
    driver.allocator.free_takes = 0.0
    await driver.release(there, second)
    await settle(3.0)
    assert "192.168.60.1" in driver.freed


async def test_a_release_while_the_store_is_away_is_not_lost(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.store.is_away = True
    await driver.stop(pool, address)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {"192.168.59.1": BOUND}
    driver.store.is_away = False
    await settle(5.0)
    assert await driver.stored() == {"192.168.59.1": FREED}


async def test_a_release_that_the_store_missed_is_stored_at_the_end(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.allocator.free_fails = LINK_DOWN
    driver.store.is_away = True
    await driver.release(pool, address)
    driver.store.is_away = False
    await driver.ipam.aclose()
    assert await driver.stored() == {"192.168.59.1": RELEASED}


async def test_a_repeated_release_and_an_unknown_one_change_nothing(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    await driver.stop(pool, address)
    await driver.stop(pool, address)
    await driver.stop(pool, "192.168.59.99/24")
    await driver.stop("192.168.77.0/24?parent=eth9", "192.168.77.9/24")
    await driver.stop("another driver's id", "192.168.77.9/24")
    assert driver.freed == ["192.168.59.1"]
    assert driver.events.told == [("acquired", "192.168.59.1"), ("released", "192.168.59.1")]


async def test_a_renewal_on_its_way_does_not_undo_a_release(driver: Driver) -> None:
    """The server's answer comes while the release is being written."""
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.store.takes = 0.02
    release = asyncio.ensure_future(driver.release(pool, address))
    await settle(0.01)
    driver.allocator.renews("192.168.59.1")
    await release
    await settle(5.0)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {"192.168.59.1": FREED}


async def test_a_renewal_while_the_release_is_sent_does_not_undo_it(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.allocator.free_takes = 1.0
    await driver.release(pool, address)
    await settle(0.5)
    driver.allocator.renews("192.168.59.1")
    await settle(10.0)
    assert driver.freed == ["192.168.59.1"]
    assert await driver.stored() == {"192.168.59.1": FREED}


async def test_a_renewal_that_the_store_missed_does_not_undo_a_release(holding: Driver) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    holding.store.is_away = True
    holding.allocator.renews("192.168.59.1")
    await settle(0.1)
    holding.store.is_away = False
    await holding.release(pool, address)
    await settle(5.0)
    assert await holding.stored() == {"192.168.59.1": RELEASED}


async def test_a_lease_that_ran_out_while_released_is_kept_no_longer(holding: Driver) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    await holding.release(pool, address)
    holding.clock.jump(timedelta(hours=2))
    await settle(5.0)
    assert await holding.stored() == {"192.168.59.1": FREED}
    assert holding.kept == []


# Hold, and coming back


async def test_a_mac_that_is_back_in_time_gets_its_address_without_asking(holding: Driver) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    await holding.release(pool, address)
    await settle(30.0)
    assert await holding.run(pool, A) == address
    await settle(120.0)
    assert (len(holding.allocator.asked), holding.freed) == (1, [])
    assert await holding.stored() == {"192.168.59.1": BOUND}


async def test_a_name_that_is_back_with_a_new_mac_gets_its_address_confirmed(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A, name="web")
    await holding.release(pool, address)
    assert await holding.run(pool, B, name="web") == address
    assert (len(holding.allocator.asked), holding.freed) == (1, [])
    assert holding.allocator.confirmed == [IPv4Address("192.168.59.1")]
    assert str((await holding.stored_lease("192.168.59.1")).endpoint.mac) == B


async def test_a_held_address_goes_to_nobody_else(holding: Driver) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A, name="web")
    await holding.release(pool, address)
    holding.allocator.bindings.clear()  # whatever the server thinks
    assert await holding.run(pool, B, name="db") == "192.168.59.2/24"
    with pytest.raises(AddressInUse, match="given back by web"):
        await holding.run(pool, C, name="cache", ip="192.168.59.1")


async def test_a_held_address_is_freed_when_its_hold_is_over(holding: Driver) -> None:
    pool = await holding.pool()
    await holding.release(pool, await holding.run(pool, A))
    await settle(59.0)
    assert holding.freed == []
    await settle(2.0)
    assert holding.freed == ["192.168.59.1"]


async def test_a_held_lease_that_has_run_out_is_asked_for_anew(holding: Driver) -> None:
    pool = await holding.pool()
    await holding.release(pool, await holding.run(pool, A))
    holding.clock.jump(timedelta(hours=2))
    assert await holding.run(pool, A) == "192.168.59.1/24"
    assert len(holding.allocator.asked) == 2


async def test_a_freed_address_is_hinted_at_when_its_container_is_back(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, B, name="db")
    await driver.stop(pool, await driver.run(pool, A, name="web"))
    await driver.restart()
    await driver.run(pool, C, name="web")
    assert driver.allocator.asked[-1][2] == IPv4Address("192.168.59.2")


async def test_an_address_got_anew_is_not_freed_by_the_old_release(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.allocator.free_fails = LINK_DOWN
    await driver.stop(pool, address)
    assert await driver.run(pool, A) == address
    driver.allocator.free_fails = None
    await settle(300.0)
    assert (driver.freed, await driver.stored()) == ([], {"192.168.59.1": BOUND})


async def test_a_container_that_is_back_while_its_release_is_sent_keeps_a_lease(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.allocator.free_takes = 1.0
    await driver.release(pool, address)
    await settle(0.5)
    again = await driver.run(pool, A)
    await settle(30.0)
    lease = await driver.stored_lease(again.partition("/")[0])
    assert lease.state is BOUND
    assert [str(address) for _, address in driver.allocator.bindings] == [str(lease.address)]


async def test_a_release_that_the_store_missed_does_not_undo_the_return(holding: Driver) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    holding.store.is_away = True
    await holding.release(pool, address)
    holding.store.is_away = False
    assert await holding.run(pool, A) == address
    await settle(5.0)
    assert await holding.stored() == {"192.168.59.1": BOUND}


async def test_a_return_that_cannot_be_stored_is_refused_and_the_release_goes_on(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    await holding.release(pool, address)
    holding.store.away_for = {"update"}
    with pytest.raises(StoreUnavailable):
        await holding.run(pool, A)
    holding.store.away_for = set()
    await settle(120.0)
    assert (holding.freed, await holding.stored()) == (["192.168.59.1"], {"192.168.59.1": FREED})


async def test_a_refused_return_does_not_forget_a_release_that_the_store_missed(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    holding.store.is_away = True
    await holding.release(pool, address)
    with pytest.raises(StoreUnavailable):
        await holding.run(pool, A)
    holding.store.is_away = False
    await settle(5.0)
    assert await holding.stored() == {"192.168.59.1": RELEASED}


@pytest.mark.parametrize("reserve", [Driver.gateway, Driver.auxiliary])
async def test_a_held_address_that_was_reserved_meanwhile_is_not_taken_back(
    holding: Driver, reserve: Callable[[Driver, str, str], Awaitable[str]]
) -> None:
    pool = await holding.pool()
    await holding.release(pool, await holding.run(pool, A))
    await reserve(holding, pool, "192.168.59.1")
    assert await holding.run(pool, A) == "192.168.59.2/24"


async def test_a_held_lease_that_another_host_has_by_now_is_asked_for_anew(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    await holding.release(pool, address)
    mine = await holding.stored_lease("192.168.59.1")
    await holding.store.inner.add(replace(mine, owner="host-b"))
    holding.allocator.bindings[next(iter(holding.allocator.bindings))] = b"host-b's"
    assert await holding.run(pool, A) == "192.168.59.2/24"
    await settle(120.0)
    assert "192.168.59.1" not in await holding.stored()


async def test_a_mac_with_a_new_address_keeps_it_when_its_old_one_is_freed(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    await holding.release(pool, await holding.run(pool, A))
    assert await holding.run(pool, A, ip="192.168.59.9") == "192.168.59.9/24"
    await settle(120.0)
    assert holding.freed == ["192.168.59.1"]
    assert await holding.run(pool, A) == "192.168.59.9/24"
    assert len(holding.allocator.asked) == 2


# Reservations


async def test_gateway_and_auxiliary_coincide_and_are_counted(driver: Driver) -> None:
    pool = await driver.pool()
    assert await driver.gateway(pool, "192.168.59.1") == "192.168.59.1/24"
    assert await driver.auxiliary(pool, "192.168.59.1") == "192.168.59.1/24"
    with pytest.raises(AddressInUse, match=r"192\.168\.59\.1 is reserved \(gateway\)"):
        await driver.run(pool, A, ip="192.168.59.1")
    await driver.release(pool, "192.168.59.1")
    with pytest.raises(AddressInUse, match="reserved"):
        await driver.run(pool, A, ip="192.168.59.1")
    await driver.release(pool, "192.168.59.1")
    assert await driver.run(pool, A, ip="192.168.59.1") == "192.168.59.1/24"


async def test_reserved_addresses_are_not_handed_out(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.gateway(pool, "192.168.59.1")
    await driver.auxiliary(pool, "192.168.59.2")
    assert await driver.run(pool, A) == "192.168.59.3/24"


async def test_reservations_outside_the_ip_range_are_fine(driver: Driver) -> None:
    pool = await driver.pool(range_="192.168.59.64/28")
    assert await driver.gateway(pool, "192.168.59.1") == "192.168.59.1/24"
    assert await driver.auxiliary(pool, "192.168.59.2") == "192.168.59.2/24"


async def test_reservations_outlive_the_process(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.gateway(pool, "192.168.59.1")
    await driver.auxiliary(pool, "192.168.59.1")
    await driver.crash()
    await driver.release(pool, "192.168.59.1")
    assert await driver.run(pool, A) == "192.168.59.2/24"


async def test_a_containers_address_cannot_become_the_gateway(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A, name="web")
    with pytest.raises(AddressInUse, match=rf"gateway 192\.168\.59\.1 is leased to web \({A}\)"):
        await driver.gateway(pool, "192.168.59.1")


async def test_a_gateway_that_the_network_names_leaves_the_one_of_the_pool_to_containers(
    driver: Driver,
) -> None:
    driver.allocator.router = IPv4Address("192.168.59.1")
    pool = await driver.pool()
    assert await driver.run(pool, A) == "192.168.59.2/24"
    await driver.gateway(pool, "192.168.59.254")
    assert await driver.run(pool, B) == "192.168.59.1/24"
    with pytest.raises(AddressInUse, match=r"192\.168\.59\.1, the gateway .* is leased to .*" + B):
        await driver.pool()  # one more network would have it as its gateway
    await driver.release(pool, "192.168.59.1")
    assert await driver.pool() == pool
    with pytest.raises(AddressInUse, match="reserved"):
        await driver.run(pool, B, ip="192.168.59.1")


async def test_the_servers_router_is_the_gateway_where_none_is_given(driver: Driver) -> None:
    driver.allocator.router = IPv4Address("192.168.59.254")
    pool = await driver.pool()
    assert await driver.gateway(pool) == "192.168.59.254/24"
    with pytest.raises(AddressInUse, match="reserved"):
        await driver.run(pool, A, ip="192.168.59.254")


async def test_a_router_that_is_named_only_later_is_the_gateway_too(driver: Driver) -> None:
    pool = await driver.pool()
    driver.allocator.router = IPv4Address("192.168.59.254")
    assert await driver.gateway(pool) == "192.168.59.254/24"


async def test_a_gateway_that_nobody_knows_is_an_error_that_says_what_to_give(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    with pytest.raises(NoAddress, match="give the network's gateway with --gateway"):
        await driver.gateway(pool)


async def test_a_reservation_that_cannot_be_stored_is_none(driver: Driver) -> None:
    pool = await driver.pool()
    driver.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await driver.auxiliary(pool, "192.168.59.1")
    driver.store.is_away = False
    assert await driver.run(pool, A, ip="192.168.59.1") == "192.168.59.1/24"


async def test_a_reservation_let_go_while_the_store_is_away_stays_let_go(driver: Driver) -> None:
    """Docker never repeats a release."""
    pool = await driver.pool()
    await driver.auxiliary(pool, "192.168.59.1")
    driver.store.is_away = True
    await driver.release(pool, "192.168.59.1")
    driver.store.is_away = False
    await settle(5.0)
    await driver.restart()
    assert await driver.run(pool, A, ip="192.168.59.1") == "192.168.59.1/24"


# Claims: a release undoes the request that it belongs to


async def test_the_release_of_a_second_container_of_the_same_mac_is_not_the_firsts(
    driver: Driver,
) -> None:
    """Docker asks, then refuses the second one itself, and gives back what it was answered."""
    pool = await driver.pool()
    address = await driver.run(pool, A)
    assert await driver.run(pool, A) == address
    await driver.stop(pool, address)
    assert driver.freed == []
    assert driver.kept == ["192.168.59.1"]


async def test_what_was_answered_twice_waits_for_a_proof_though_it_is_given_back_twice(
    driver: Driver,
) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    await driver.run(pool, A)
    for _ in range(3):
        await driver.stop(pool, address)
    (lease,) = driver.ipam.leasing.leases
    assert driver.ipam.leasing.is_given_back(lease)
    assert driver.freed == []
    await driver.ipam.leasing.give_up(lease, "no container has it", proven=True)
    await settle()
    assert driver.freed == ["192.168.59.1"]
    address = await driver.run(pool, A)
    await driver.stop(pool, address)
    assert driver.freed == ["192.168.59.1"] * 2, "the proof has ended the doubt"


@pytest.mark.parametrize("end", [Driver.crash, Driver.restart])
async def test_a_doubt_outlives_the_process(
    driver: Driver, end: Callable[[Driver], Awaitable[None]]
) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    await driver.run(pool, A)
    await end(driver)
    await driver.stop(pool, address)
    await end(driver)
    await driver.stop(pool, address)
    assert driver.freed == []
    (lease,) = driver.ipam.leasing.leases
    assert driver.ipam.leasing.is_given_back(lease)


async def test_a_doubt_is_stored_when_the_store_is_back(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.store.is_away = True
    assert await driver.run(pool, A) == address
    driver.store.is_away = False
    await settle(5.0)
    await driver.crash()
    await driver.stop(pool, address)
    assert driver.freed == []


async def test_a_container_that_comes_back_without_a_release_leaves_its_claim(
    driver: Driver,
) -> None:
    """Its release got lost, or it runs on under another name: nobody knows."""
    async with Driver(by_name=True) as named:
        pool = await named.pool()
        address = await named.run(pool, A, name="web")
        again = await named.run(pool, B, name="web")
        assert again != address, "a name takes over only what Docker gave back"
        await named.stop(pool, again)
        assert named.freed == [again.partition("/")[0]]
        assert named.kept == [address.partition("/")[0]]


async def test_the_late_release_of_who_had_the_address_before_is_not_its_holders(
    driver: Driver,
) -> None:
    """An operator released it, and Docker still had the container, or its stale endpoint."""
    pool = await driver.pool()
    address = await driver.run(pool, A)
    (lease,) = driver.ipam.leasing.leases
    await driver.ipam.leasing.give_up(lease, "an operator said so")
    await settle()
    await driver.crash()
    assert await driver.run(pool, B) == address
    await driver.stop(pool, address)
    assert driver.kept == ["192.168.59.1"]


async def test_a_late_release_that_was_heard_leaves_no_doubt(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    (lease,) = driver.ipam.leasing.leases
    await driver.ipam.leasing.give_up(lease, "an operator said so")
    await driver.stop(pool, address)
    await driver.stop(pool, await driver.run(pool, B))
    assert driver.freed == ["192.168.59.1"] * 2


async def test_a_start_that_was_refused_claims_nothing(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    for mac, ip in [(B, "192.168.59.1"), (A, "192.168.59.9")]:
        with pytest.raises(AddressInUse):
            await driver.run(pool, mac, ip=ip)
    with pytest.raises(AddressInUse):
        await driver.gateway(pool, "192.168.59.1")
    await driver.stop(pool, address)
    assert driver.freed == ["192.168.59.1"]


async def test_a_claim_is_no_reservation(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    await driver.run(pool, A)
    (record,) = driver.ipam.pools
    assert record.reserved == {}
    assert await driver.run(pool, A, ip="192.168.59.1") == address


async def test_a_restarted_container_that_asked_once_is_released_at_once(driver: Driver) -> None:
    async with Driver(hold=timedelta(minutes=1)) as holding:
        pool = await holding.pool()
        for _ in range(3):
            address = await holding.run(pool, A)
            await holding.release(pool, address)
        await settle(120.0)
        assert holding.freed == ["192.168.59.1"]


# Replay


async def test_a_container_is_not_replayed_as_what_is_answered_would_be_released(
    driver: Driver,
) -> None:
    """Docker sends this for the auxiliary address of a network, and releases it with that."""
    pool = await driver.pool()
    address = await driver.run(pool, A, name="web")
    await driver.crash()
    why = rf"auxiliary address 192\.168\.59\.1 is leased to web \({A}\): choose another"
    with pytest.raises(AddressInUse, match=why):
        await driver.auxiliary(pool, "192.168.59.1")
    assert driver.kept == ["192.168.59.1"]
    assert await driver.run(pool, A, name="web") == address


async def test_a_replayed_gateway_and_pool_are_answered(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.gateway(pool, "192.168.59.1")
    await driver.restart()
    assert await driver.pool() == pool
    assert await driver.gateway(pool, "192.168.59.1") == "192.168.59.1/24"


# Pools


async def test_a_pool_without_subnet_is_learnt(driver: Driver) -> None:
    pool = await driver.pool(None)
    assert pool == NET
    assert await driver.run(pool, A) == "192.168.59.1/24"


async def test_a_shared_pool_counts_its_networks(driver: Driver) -> None:
    first, second = await driver.pool(), await driver.pool()
    assert first == second
    await driver.gateway(first, "192.168.59.1")
    await driver.gateway(second, "192.168.59.1")
    await driver.ipam.release_pool(first)
    await driver.crash()
    with pytest.raises(AddressInUse, match="reserved"):
        await driver.run(second, A, ip="192.168.59.1")
    await driver.ipam.release_pool(second)
    assert (await driver.store.inner.load("host-a")).pools == ()


async def test_the_last_network_takes_the_reservations_with_it(driver: Driver) -> None:
    """A create that fails releases the pool, and not the gateway."""
    pool = await driver.pool()
    await driver.gateway(pool, "192.168.59.1")
    await driver.auxiliary(pool, "192.168.59.2")
    await driver.ipam.release_pool(pool)
    assert await driver.pool() == pool
    assert await driver.run(pool, A, ip="192.168.59.1") == "192.168.59.1/24"
    assert await driver.run(pool, B, ip="192.168.59.2") == "192.168.59.2/24"


async def test_the_pool_of_a_shared_subnet_stays_the_same_when_the_router_changes(
    driver: Driver,
) -> None:
    first = await driver.pool()
    driver.allocator.router = IPv4Address("192.168.59.254")
    assert await driver.pool() == first


async def test_release_of_a_pool_leaves_its_leases(driver: Driver) -> None:
    """Docker refused a replay and released the pool of a live network."""
    pool = await driver.pool()
    address = await driver.run(pool, A)
    await driver.ipam.release_pool(pool)
    await driver.crash()
    assert driver.kept == ["192.168.59.1"]
    await driver.stop(pool, address)
    assert driver.freed == ["192.168.59.1"]


async def test_a_repeated_pool_release_and_an_unknown_one_are_no_errors(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.ipam.release_pool(pool)
    await driver.ipam.release_pool(pool)
    await driver.ipam.release_pool("another driver's id")
    assert (await driver.store.inner.load("host-a")).pools == ()


async def test_a_pool_released_while_the_store_is_away_stays_released(driver: Driver) -> None:
    """Docker never repeats a release."""
    pool = await driver.pool()
    driver.store.is_away = True
    await driver.ipam.release_pool(pool)
    driver.store.is_away = False
    await settle(5.0)
    await driver.restart()
    assert await driver.pool(range_="192.168.59.64/28") == f"{NET}?range=192.168.59.64/28"


async def test_a_pool_that_cannot_be_stored_is_not_used(driver: Driver) -> None:
    driver.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await driver.pool()
    driver.store.is_away = False
    assert await driver.pool(range_="192.168.59.64/28") == f"{NET}?range=192.168.59.64/28"


async def test_overlapping_pools_are_refused_by_name(driver: Driver) -> None:
    await driver.pool(parent="eth0")
    with pytest.raises(
        PoolOverlap, match=r"192\.168\.59\.0/25.* overlaps 192\.168\.59\.0/24.*eth0"
    ):
        await driver.pool("192.168.59.0/25", parent="eth0")
    with pytest.raises(PoolOverlap):
        await driver.pool(NET, range_="192.168.59.64/28", parent="eth0")


async def test_the_same_subnet_on_another_parent_is_another_pool(driver: Driver) -> None:
    here, there = await driver.pool(parent="eth0"), await driver.pool(parent="eth1")
    assert here != there
    assert await driver.run(there, A) != await driver.run(here, B)


async def test_a_released_pool_overlaps_nothing(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.stop(pool, await driver.run(pool, A))
    await driver.ipam.release_pool(pool)
    await driver.pool("192.168.59.0/25")


async def test_a_pool_whose_lease_is_still_held_overlaps(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await driver.ipam.release_pool(pool)
    with pytest.raises(PoolOverlap):
        await driver.pool("192.168.59.0/25")


async def test_two_overlapping_pools_at_once_are_not_both_given(driver: Driver) -> None:
    driver.store.takes = 0.1
    results = await asyncio.gather(
        driver.pool("192.168.59.0/24"), driver.pool("192.168.59.0/25"), return_exceptions=True
    )
    assert [isinstance(result, PoolOverlap) for result in results].count(True) == 1


async def test_an_unknown_pool_is_rebuilt_from_its_id(driver: Driver) -> None:
    pool = "192.168.59.0/24?range=192.168.59.64/28&gateway=192.168.59.65"
    assert await driver.run(pool, A) == "192.168.59.64/24"
    with pytest.raises(AddressInUse, match="reserved"):
        await driver.run(pool, B, ip="192.168.59.65")
    await driver.crash()
    (record,) = (await driver.store.inner.load("host-a")).pools
    assert (record.pool.id, record.users) == (pool, 1)


@pytest.mark.parametrize(
    "pool",
    [
        "",
        "LocalDefault/192.168.59.0/24",
        "192.168.59.0",
        "192.168.59.0/24?colour=red",
        "192.168.59.0/24?allocator=gone",
    ],
)
async def test_a_pool_of_another_driver_is_refused_and_leaves_nothing(
    driver: Driver, pool: str
) -> None:
    with pytest.raises(UnknownPool, match="remove the network and create it again"):
        await driver.run(pool, A)
    assert await driver.store.inner.load("host-a") == await Driver().store.inner.load("host-a")


async def test_an_allocator_that_is_not_there_is_refused_by_name(driver: Driver) -> None:
    with pytest.raises(BadRequest, match="unknown allocator 'gone': known are fake"):
        await driver.pool(allocator="gone")


# What the allocator tells


async def test_a_renewal_is_stored_behind(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await settle(60.0)
    driver.allocator.renews("192.168.59.1")
    await settle(1.0)
    lease = await driver.stored_lease("192.168.59.1")
    assert lease.bound_at is not None
    assert lease.bound_at - lease.acquired_at >= timedelta(seconds=60)
    assert driver.events.told[-1] == ("renewed", "192.168.59.1")


async def test_a_late_renewal_is_told_and_not_stored(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    driver.store.writes.clear()
    driver.allocator.renews("192.168.59.1", kind=EventKind.LATE)
    await settle(5.0)
    assert driver.store.writes == []
    assert driver.events.told[-1] == ("late", "192.168.59.1")


async def test_news_of_an_older_lease_are_ignored(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    old = await driver.stored_lease("192.168.59.1")
    await driver.stop(pool, address)
    await driver.run(pool, A)
    told = list(driver.events.told)
    driver.ipam.leasing.changed(replace(old, standing=Standing.LOST), EventKind.LOST, "")
    await settle(5.0)
    assert (driver.events.told, await driver.stored()) == (told, {"192.168.59.1": BOUND})


async def test_news_of_what_nobody_has_are_ignored(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    stray = replace(await driver.stored_lease("192.168.59.1"), address=IPv4Address("192.168.59.7"))
    driver.ipam.leasing.changed(stray, EventKind.RENEWED, "")
    driver.ipam.leasing.changed(replace(stray, pool="10.0.0.0/8"), EventKind.RENEWED, "")  # type: ignore[arg-type]  # a pool id is text
    await settle(5.0)
    assert await driver.stored() == {"192.168.59.1": BOUND}


async def test_a_lost_lease_stays_its_containers(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    lost = replace(await driver.stored_lease("192.168.59.1"), standing=Standing.LOST)
    driver.ipam.leasing.changed(lost, EventKind.LOST, "DHCPNAK")
    await settle(1.0)
    assert await driver.stored() == {"192.168.59.1": LeaseState.LOST}
    assert await driver.run(pool, A) == address
    with pytest.raises(AddressInUse):
        await driver.run(pool, B, ip="192.168.59.1")


# Restart


async def test_a_restart_keeps_what_is_live_and_releases_none_of_it(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    await driver.run(pool, B)
    await driver.crash()
    await settle(600.0)
    assert (driver.kept, driver.freed) == (["192.168.59.1", "192.168.59.2"], [])


async def test_a_restart_confirms_all_leases(driver: Driver) -> None:
    """A clock may have been wrong, a server may have forgotten, a lease may not be granted yet."""
    pool = await driver.pool()
    used = [await driver.run(pool, A), await driver.run(pool, B)]
    await settle(600.0)
    await driver.restart()
    addresses = [address.partition("/")[0] for address in used]
    assert [str(each) for each in driver.allocator.confirmed] == addresses


async def test_a_restart_goes_on_with_releases_that_were_not_sent(driver: Driver) -> None:
    pool = await driver.pool()
    address = await driver.run(pool, A)
    driver.allocator.free_fails = LINK_DOWN
    await driver.release(pool, address)
    await driver.crash()
    assert driver.kept == []
    driver.allocator.free_fails = None
    await settle(5.0)
    assert (driver.freed, await driver.stored()) == (["192.168.59.1"], {"192.168.59.1": FREED})


async def test_a_restart_keeps_a_hold_going(holding: Driver) -> None:
    pool = await holding.pool()
    address = await holding.run(pool, A)
    await holding.release(pool, address)
    await settle(30.0)
    await holding.crash()
    await settle(20.0)
    assert holding.freed == []
    assert await holding.run(pool, A) == address
    await settle(600.0)
    assert holding.freed == []
    _, (_, _, hint) = holding.allocator.asked
    assert str(hint) == "192.168.59.1", "its RELEASE may have been heard: the server is asked"


async def test_the_end_frees_nothing(driver: Driver) -> None:
    pool = await driver.pool()
    await driver.run(pool, A)
    driver.allocator.free_fails = LINK_DOWN
    await driver.release(pool, await driver.run(pool, B))
    driver.allocator.free_fails = None
    await driver.ipam.aclose()
    await settle(600.0)
    assert driver.freed == []
    assert await driver.stored() == {"192.168.59.1": BOUND, "192.168.59.2": RELEASED}


async def test_a_dead_link_is_told_to_docker(driver: Driver) -> None:
    pool = await driver.pool()
    driver.allocator.allocate_fails = LINK_DOWN
    with pytest.raises(LinkDown):
        await driver.run(pool, A)

"""Writes that wait while the store is away: the newest of each, never an older one."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from d4d.domain.addressing import MacAddress
from d4d.domain.errors import StoreUnavailable, Superseded
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pools import Pool, PoolId, PoolRecord
from d4d.service_layer.ordered_writes import OrderedWrites
from d4d.service_layer.write_behind import WriteBehind
from tests.support.fake_ports import FailingStore
from tests.support.virtual_time import NOON, settle

VIRTUAL_TIME = True

POOL = Pool(subnet=IPv4Network("192.168.59.0/24"))


class Bench:
    """A store with one lease in it, and what writes behind."""

    def __init__(self) -> None:
        self.store = FailingStore()
        self.superseded: list[Lease] = []
        self.writes = WriteBehind(
            OrderedWrites(self.store), "host-a", on_superseded=self._supersede
        )

    async def _supersede(self, lease: Lease) -> None:
        self.superseded.append(lease)
        await self.store.reach("supersede")

    async def lease(self, address: str = "192.168.59.1") -> Lease:
        return await self.store.inner.add(
            Lease(
                pool=PoolId(POOL.id),
                address=IPv4Address(address),
                endpoint=Endpoint(mac=MacAddress.parse("02:42:0a:4d:10:01")),
                acquired_at=NOON,
                owner="host-a",
            )
        )

    async def stored(self) -> dict[str, LeaseState]:
        contents = await self.store.inner.load("host-a")
        return {str(lease.address): lease.state for lease in contents.leases}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def released(lease: Lease) -> Lease:
    return replace(lease, use=Use.RELEASED, released_at=NOON)


def renewed(lease: Lease, minutes: int = 1) -> Lease:
    return replace(lease, bound_at=NOON + timedelta(minutes=minutes))


async def test_nobody_waits_for_a_write(bench: Bench) -> None:
    lease = await bench.lease()
    bench.store.takes = 1.0
    bench.writes.add(released(lease))
    assert len(bench.writes) == 1
    await settle(2.0)
    assert len(bench.writes) == 0
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_a_store_that_was_away_gets_the_newest_of_each(bench: Bench) -> None:
    one, other = await bench.lease(), await bench.lease("192.168.59.2")
    bench.store.is_away = True
    bench.writes.add(renewed(one))
    bench.writes.add(renewed(other))
    await settle(10.0)
    bench.writes.add(released(one))
    assert len(bench.writes) == 2
    bench.store.is_away = False
    bench.store.writes.clear()
    await settle(2.0)
    assert await bench.stored() == {
        "192.168.59.1": LeaseState.RELEASED,
        "192.168.59.2": LeaseState.BOUND,
    }
    assert bench.store.writes == ["update", "update"]


async def test_what_waits_is_held_up_while_the_store_is_away_and_else_just_gathers(
    bench: Bench,
) -> None:
    lease = await bench.lease()
    bench.writes.add(renewed(lease))
    assert not bench.writes.is_held_up
    bench.store.is_away = True
    await settle(2.0)
    assert bench.writes.is_held_up
    bench.store.is_away = False
    await settle(2.0)
    assert not bench.writes.is_held_up


async def test_writes_that_come_one_after_the_other_soon_are_made_together(bench: Bench) -> None:
    leases = [await bench.lease(f"192.168.59.{n}") for n in range(1, 11)]
    for lease in leases:
        bench.writes.add(renewed(lease))
        await asyncio.sleep(0.001)
    assert bench.store.writes == []
    await settle(0.1)
    assert bench.store.writes == ["update"] * 10


async def test_what_is_added_while_writing_is_written_too(bench: Bench) -> None:
    lease = await bench.lease()
    bench.store.takes = 1.0
    bench.writes.add(renewed(lease))
    await settle(0.5)
    bench.writes.add(released(lease))
    await settle(5.0)
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}
    assert len(bench.writes) == 0


async def test_many_writes_are_made_together(bench: Bench) -> None:
    leases = [await bench.lease(f"192.168.59.{n}") for n in range(1, 101)]
    bench.store.takes = 1.0
    for lease in leases:
        bench.writes.add(released(lease))
    await settle(1.5)
    assert set((await bench.stored()).values()) == {LeaseState.RELEASED}


async def test_a_write_now_takes_the_place_of_what_waits(bench: Bench) -> None:
    lease = await bench.lease()
    bench.writes.add(renewed(lease))
    await bench.writes.now(released(lease))
    assert len(bench.writes) == 0
    await settle(5.0)
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_while_the_store_is_away_a_write_now_does_not_try_it_anew(bench: Bench) -> None:
    """Who writes behind learns when it is back: a call would wait for as long as it hangs."""
    lease = await bench.lease()
    bench.store.is_away, bench.store.takes = True, 2.0
    bench.writes.add(renewed(lease))
    await settle(2.5)
    began = asyncio.get_running_loop().time()
    for _ in range(40):
        with pytest.raises(StoreUnavailable, match="away"):
            await bench.writes.now(released(lease))
    assert asyncio.get_running_loop().time() == began
    bench.store.is_away = False
    await settle(6.0)
    await bench.writes.now(released(lease))
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_after_a_write_now_that_failed_the_next_tries_again_in_a_second(
    bench: Bench,
) -> None:
    lease = await bench.lease()
    bench.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await bench.writes.now(released(lease))
    bench.store.is_away = False
    with pytest.raises(StoreUnavailable):
        await bench.writes.now(released(lease))
    await settle(1.1)
    await bench.writes.now(released(lease))
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_a_pool_is_stored_behind_where_the_store_hangs(bench: Bench) -> None:
    bench.store.takes = 60.0
    record = PoolRecord(pool=POOL, users=1)
    began = asyncio.get_running_loop().time()
    await bench.writes.pool(record)
    assert asyncio.get_running_loop().time() - began <= 2.0
    bench.store.takes = 0.0
    await settle(120.0)
    assert (await bench.store.inner.load("host-a")).pools == (record,)
    assert len(bench.writes) == 0


async def test_a_write_now_is_not_undone_by_one_whose_turn_comes_then(bench: Bench) -> None:
    lease = await bench.lease()
    bench.writes.add(renewed(lease))
    for _ in range(4):  # from its addition to its end, wherever the older write stands
        await bench.writes.now(released(lease))
        await asyncio.sleep(0)
        assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_a_write_now_that_fails_leaves_what_waits(bench: Bench) -> None:
    lease = await bench.lease()
    bench.store.is_away = True
    bench.writes.add(released(lease))
    with pytest.raises(StoreUnavailable):
        await bench.writes.now(renewed(lease))
    bench.store.is_away = False
    await settle(5.0)
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_a_write_now_that_fails_does_not_undo_one_that_came_meanwhile(bench: Bench) -> None:
    lease = await bench.lease()
    bench.store.is_away = True
    bench.writes.add(renewed(lease))
    bench.store.takes = 1.0
    now = asyncio.ensure_future(bench.writes.now(renewed(lease, 2)))
    await settle(0.5)
    bench.writes.add(released(lease))
    with pytest.raises(StoreUnavailable):
        await now
    bench.store.is_away = False
    await settle(10.0)
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_a_write_now_of_what_is_anothers_is_refused(bench: Bench) -> None:
    lease = await bench.lease()
    await bench.store.inner.add(replace(lease, owner="host-b"))
    with pytest.raises(Superseded):
        await bench.writes.now(released(lease))


async def test_what_became_of_it_is_asked_until_the_store_tells(bench: Bench) -> None:
    lease = await bench.lease()
    await bench.store.inner.remove(lease)
    bench.store.away_for = {"supersede"}
    bench.writes.add(renewed(lease))
    await settle(2.5)
    assert len(bench.writes) == 1
    bench.store.away_for = set()
    await settle(2.0)
    assert len(bench.writes) == 0
    assert bench.superseded == [renewed(lease)] * 4


async def test_a_write_of_what_is_anothers_is_told_and_dropped(bench: Bench) -> None:
    lease = await bench.lease()
    await bench.store.inner.add(replace(lease, owner="host-b"))
    mine = renewed(lease)
    bench.writes.add(mine)
    await settle(5.0)
    assert bench.superseded == [mine]
    assert len(bench.writes) == 0


async def test_a_pool_is_stored_at_once_or_when_the_store_is_back(bench: Bench) -> None:
    await bench.writes.pool(PoolRecord(pool=POOL, users=1))
    assert [each.users for each in (await bench.store.inner.load("host-a")).pools] == [1]
    bench.store.is_away = True
    await bench.writes.pool(PoolRecord(pool=POOL, users=2))
    await bench.writes.pool(PoolRecord(pool=POOL, users=3))
    assert len(bench.writes) == 1
    bench.store.is_away = False
    await settle(5.0)
    assert [each.users for each in (await bench.store.inner.load("host-a")).pools] == [3]


async def test_the_end_stores_what_is_left_trying_once(bench: Bench) -> None:
    lease = await bench.lease()
    bench.store.is_away = True
    bench.writes.add(released(lease))
    await settle()
    bench.store.is_away = False
    await bench.writes.aclose()
    assert await bench.stored() == {"192.168.59.1": LeaseState.RELEASED}


async def test_the_end_does_not_wait_for_a_store_that_is_away(bench: Bench) -> None:
    lease = await bench.lease()
    bench.store.is_away = True
    bench.writes.add(released(lease))
    await settle()
    async with asyncio.timeout(0.5):
        await bench.writes.aclose()

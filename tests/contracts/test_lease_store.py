"""What every LeaseStore must do. An adapter joins by one line in STORES; one that needs a server
does so from its own module: import these tests there, and define ``store`` anew.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import AddressInUse, Superseded
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease, LeaseState, Terms
from d4d.domain.pools import Pool, PoolId, PoolRecord, Purpose, ReservedAddress
from d4d.domain.ports.stores import LeaseStore
from tests.support import strategies

STORES: dict[str, Callable[[Path], LeaseStore]] = {
    "memory": lambda _: MemoryLeaseStore(),
    "sqlite": lambda directory: SqliteLeaseStore(directory / "state" / "leases.db"),
}

NOW = datetime(2025, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
POOL = Pool(subnet=ip_network("192.168.59.0/24"))
MAC = MacAddress.parse("02:42:c0:a8:3b:0a")

one_store_for_all_examples = settings(
    max_examples=10,
    deadline=None,
    # Each example empties the store itself: opening a file for each would only be slower.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LeaseStore]:
    opened = STORES[request.param](tmp_path)
    yield opened
    await opened.aclose()


def a_lease(
    address: str = "192.168.59.10", *, owner: str = "host-a", pool: PoolId = POOL.id
) -> Lease:
    return Lease(
        pool=pool,
        address=ip_address(address),
        endpoint=Endpoint(mac=MAC, name="web"),
        acquired_at=NOW,
        owner=owner,
    )


async def leases_of(store: LeaseStore, owner: str = "host-a") -> list[Lease]:
    contents = await store.load(owner)
    return sorted(contents.leases, key=lambda lease: (lease.pool, str(lease.address)))


async def empty(store: LeaseStore, *owners: str) -> None:
    for owner in owners:
        contents = await store.load(owner)
        for lease in contents.leases:
            assert await store.remove(lease)
        for record in contents.pools:
            await store.save_pool(replace(record, users=0), owner)


async def test_an_unused_store_is_empty(store: LeaseStore) -> None:
    contents = await store.load("host-a")
    assert (contents.pools, contents.leases) == ((), ())


async def test_an_added_lease_is_loaded_with_its_generation(store: LeaseStore) -> None:
    added = await store.add(a_lease())
    assert added == replace(a_lease(), generation=added.generation)
    assert await leases_of(store) == [added]


async def test_generations_rise_also_after_a_removal(store: LeaseStore) -> None:
    first = await store.add(a_lease())
    assert await store.remove(first)
    second = await store.add(a_lease())
    third = await store.add(a_lease("192.168.59.11"))
    assert 0 < first.generation < second.generation < third.generation


async def test_an_added_lease_replaces_whoever_held_the_address(store: LeaseStore) -> None:
    await store.add(a_lease(owner="host-a"))
    later = await store.add(a_lease(owner="host-b"))
    assert await leases_of(store, "host-a") == []
    assert await leases_of(store, "host-b") == [later]


@pytest.mark.parametrize("unless_held", [False, True])
async def test_an_acquisition_that_is_stored_already_keeps_its_generation(
    store: LeaseStore, unless_held: bool
) -> None:
    """Its answer was lost, and it is asked again: nobody may be told that another has it."""
    first = await store.add(a_lease(), unless_held=unless_held)
    again = await store.add(replace(a_lease(), hostname="web"), unless_held=unless_held)
    assert again.generation == first.generation
    assert await leases_of(store) == [again]
    assert again.hostname == "web"


async def test_another_acquisition_of_the_same_owner_is_another_lease(store: LeaseStore) -> None:
    first = await store.add(a_lease())
    later = replace(a_lease(), acquired_at=NOW + timedelta(microseconds=1))
    with pytest.raises(AddressInUse, match="host-a"):
        await store.add(later, unless_held=True)
    second = await store.add(later)
    assert second.generation > first.generation
    with pytest.raises(Superseded):
        await store.update(first)


async def test_an_older_record_of_a_pool_takes_no_newers_place(store: LeaseStore) -> None:
    record = PoolRecord(pool=POOL, users=1, version=7)
    await store.save_pool(record, "host-a")
    for older in (replace(record, users=2, version=6), replace(record, users=0, version=6)):
        with pytest.raises(Superseded, match="newer"):
            await store.save_pool(older, "host-a")
    assert (await store.load("host-a")).pools == (record,)
    for newer in (replace(record, users=3), replace(record, users=4, version=8)):
        await store.save_pool(newer, "host-a")
        assert (await store.load("host-a")).pools == (newer,)
    await store.save_pool(replace(record, users=5, version=1), "host-b")
    await store.save_pool(replace(record, users=0, version=9), "host-a")
    assert (await store.load("host-a")).pools == ()


async def test_one_address_in_two_pools_is_two_leases(store: LeaseStore) -> None:
    here = await store.add(a_lease(pool=PoolId("192.168.59.0/24?parent=eth0")))
    there = await store.add(a_lease(pool=PoolId("192.168.59.0/24?parent=eth1")))
    assert await leases_of(store) == [here, there]


async def test_an_update_replaces_the_lease(store: LeaseStore) -> None:
    added = await store.add(a_lease())
    other = await store.add(a_lease("192.168.59.11"))
    terms = Terms(server=IPv4Address("192.168.59.2"), lease_time=timedelta.max)
    renewed = replace(added, use=Use.IN_USE, bound_at=NOW, terms=terms)
    await store.update(renewed)
    assert await leases_of(store) == [renewed, other]


async def test_a_removed_lease_is_gone_and_no_other(store: LeaseStore) -> None:
    added = await store.add(a_lease())
    other = await store.add(a_lease("192.168.59.11"))
    assert await store.remove(added) is True
    assert await leases_of(store) == [other]
    assert await store.remove(added) is False


def _another_owner(lease: Lease) -> Lease:
    return replace(lease, owner="host-b")


def _an_earlier_generation(lease: Lease) -> Lease:
    return replace(lease, generation=lease.generation - 1)


def _another_pool(lease: Lease) -> Lease:
    return replace(lease, pool=PoolId("10.0.0.0/8"))


def _another_address(lease: Lease) -> Lease:
    return replace(lease, address=ip_address("192.168.59.99"))


@pytest.mark.parametrize(
    "change", [_another_owner, _an_earlier_generation, _another_pool, _another_address]
)
async def test_a_late_writer_changes_nothing(
    store: LeaseStore, change: Callable[[Lease], Lease]
) -> None:
    held = await store.add(a_lease())
    late = replace(change(held), standing=Standing.LOST)
    with pytest.raises(Superseded):
        await store.update(late)
    assert await store.remove(late) is False
    assert await leases_of(store, "host-a") == [held]
    assert await leases_of(store, "host-b") == []


async def test_two_owners_stand_side_by_side(store: LeaseStore) -> None:
    mine = await store.add(a_lease("192.168.59.10", owner="host-a"))
    theirs = await store.add(a_lease("192.168.59.11", owner="host-b"))
    await store.save_pool(PoolRecord(pool=POOL, users=1), "host-a")
    await store.save_pool(PoolRecord(pool=POOL, users=2), "host-b")
    a, b = await store.load("host-a"), await store.load("host-b")
    assert (a.leases, a.pools) == ((mine,), (PoolRecord(pool=POOL, users=1),))
    assert (b.leases, b.pools) == ((theirs,), (PoolRecord(pool=POOL, users=2),))


async def test_what_an_owner_holds_is_counted_until_it_is_freed(store: LeaseStore) -> None:
    other_subnet = Pool(subnet=ip_network("fd00::/64")).id
    held = [
        await store.add(a_lease("192.168.59.10")),
        await store.add(a_lease("192.168.59.11", owner="host-b")),
        await store.add(a_lease("192.168.59.12")),
        await store.add(a_lease("fd00::10", pool=other_subnet)),
    ]
    assert [await store.count(owner) for owner in ("host-a", "host-b", "host-c")] == [3, 1, 0]
    await store.update(replace(held[0], use=Use.RELEASED))  # the server has it as ours yet
    await store.update(replace(held[2], use=Use.FREED))
    await store.remove(held[1])
    assert [await store.count(owner) for owner in ("host-a", "host-b", "host-c")] == [2, 0, 0]


async def test_a_pool_is_replaced_when_saved_again(store: LeaseStore) -> None:
    held = ReservedAddress(address=ip_address("192.168.59.1"), purpose=Purpose.GATEWAY, count=2)
    await store.save_pool(PoolRecord(pool=POOL, users=1), "host-a")
    await store.save_pool(PoolRecord(pool=POOL, users=2, reservations=(held,)), "host-a")
    contents = await store.load("host-a")
    assert contents.pools == (PoolRecord(pool=POOL, users=2, reservations=(held,)),)


async def test_a_pool_without_users_is_removed_and_its_leases_stay(store: LeaseStore) -> None:
    lease = await store.add(a_lease())
    for users in (1, 0, 0):
        await store.save_pool(PoolRecord(pool=POOL, users=users), "host-a")
    contents = await store.load("host-a")
    assert (contents.pools, contents.leases) == ((), (lease,))


async def test_64_leases_can_be_added_at_once(store: LeaseStore) -> None:
    wanted = [a_lease(f"192.168.59.{host}") for host in range(1, 65)]
    added = await asyncio.gather(*map(store.add, wanted))
    assert [lease.address for lease in added] == [lease.address for lease in wanted]
    assert len({lease.generation for lease in added}) == len(wanted)
    assert set(await leases_of(store)) == set(added)


async def test_of_64_writers_of_one_address_the_last_generation_holds(store: LeaseStore) -> None:
    added = await asyncio.gather(*(store.add(a_lease()) for _ in range(64)))
    assert await leases_of(store) == [max(added, key=lambda lease: lease.generation)]


async def test_writes_at_once_each_have_their_own_outcome(store: LeaseStore) -> None:
    held = await store.add(a_lease())
    late = replace(held, generation=held.generation - 1)
    outcomes = await asyncio.gather(
        store.update(late),
        store.add(a_lease("192.168.59.11")),
        store.remove(late),
        store.update(replace(held, hostname="web")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Superseded)
    assert (outcomes[2], outcomes[3]) == (False, None)
    assert await leases_of(store) == [replace(held, hostname="web"), outcomes[1]]


async def test_a_cancelled_writer_takes_no_other_along(store: LeaseStore) -> None:
    tasks = [asyncio.ensure_future(store.add(a_lease(f"192.168.59.{n}"))) for n in range(1, 65)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finished = {lease for lease in outcomes if isinstance(lease, Lease)}
    assert {lease.address for lease in finished} >= {
        ip_address(f"192.168.59.{n}") for n in range(2, 65, 2)
    }
    assert finished <= set(await leases_of(store))


async def test_a_store_may_be_closed_twice_or_unused(store: LeaseStore) -> None:
    await store.aclose()
    await store.aclose()


@one_store_for_all_examples
@given(
    leases=st.lists(
        strategies.leases, max_size=8, unique_by=lambda lease: (lease.pool, lease.address)
    ),
    records=st.lists(strategies.pool_records, max_size=4, unique_by=lambda record: record.pool.id),
)
async def test_whatever_is_stored_comes_back_the_same(
    store: LeaseStore, leases: list[Lease], records: list[PoolRecord]
) -> None:
    await empty(store, "host-a")
    added = await asyncio.gather(*map(store.add, leases))
    await asyncio.gather(*(store.save_pool(record, "host-a") for record in records))
    contents = await store.load("host-a")
    assert {replace(lease, generation=0) for lease in added} == set(leases)
    assert set(contents.leases) == set(added)
    assert set(contents.pools) == set(records)
    assert (len(contents.leases), len(contents.pools)) == (len(leases), len(records))


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An update or a removal of some lease that was added once, as another owner or as its own."""

    which: int
    owner: str | None
    hostname: str | None
    removes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SavePool:
    record: PoolRecord
    owner: str


Operation = Add | Change | SavePool
OWNERS = ("host-a", "host-b")
_owners = st.sampled_from(OWNERS)
_pools = st.sampled_from([POOL, Pool(subnet=ip_network("fd00::/64"))])
_operations: st.SearchStrategy[list[Operation]] = st.lists(
    st.builds(
        Add,
        lease=st.builds(
            lambda host, owner, pool: a_lease(f"192.168.59.{host}", owner=owner, pool=pool.id),
            st.integers(1, 2),
            _owners,
            _pools,
        ),
    )
    | st.builds(
        Change,
        which=st.integers(0, 20),
        owner=st.none() | _owners,
        hostname=st.none() | st.sampled_from(["web", "db"]),
        removes=st.booleans(),
    )
    | st.builds(
        SavePool,
        record=st.builds(PoolRecord, pool=_pools, users=st.integers(0, 2)),
        owner=_owners,
    ),
    max_size=20,
)


def is_same(one: Lease, other: Lease) -> bool:
    """Whether both are one acquisition."""
    return (one.owner, one.acquired_at) == (other.owner, other.acquired_at)


class Model:
    """The contract in plain dicts."""

    def __init__(self) -> None:
        self.leases: dict[tuple[str, str], Lease] = {}
        self.pools: dict[tuple[str, str], PoolRecord] = {}
        self.history: list[Lease] = []

    async def run(self, operation: Operation, store: LeaseStore) -> None:
        """Do ``operation`` here and at ``store``, and compare what comes of it."""
        match operation:
            case Add():
                added = await store.add(operation.lease)
                held = self.leases.get((added.pool, str(added.address)))
                if held is not None and held.is_held and is_same(held, added):
                    assert added.generation == held.generation, "it is stored already"
                else:
                    assert all(added.generation > earlier.generation for earlier in self.history)
                assert replace(added, generation=0) == operation.lease
                self.leases[added.pool, str(added.address)] = added
                self.history.append(added)
            case Change() if self.history:
                await self._change(operation, store)
            case SavePool():
                await store.save_pool(operation.record, operation.owner)
                key = operation.owner, operation.record.pool.id
                self.pools[key] = operation.record

    async def _change(self, change: Change, store: LeaseStore) -> None:
        known = self.history[change.which % len(self.history)]
        lease = replace(known, owner=change.owner or known.owner, hostname=change.hostname)
        key = lease.pool, str(lease.address)
        held = self.leases.get(key)
        same = held is not None and (held.owner, held.generation) == (lease.owner, lease.generation)
        if change.removes:
            assert await store.remove(lease) is same
            if same:
                del self.leases[key]
        elif same:
            await store.update(lease)
            self.leases[key] = lease
        else:
            with pytest.raises(Superseded):
                await store.update(lease)

    async def compare(self, store: LeaseStore) -> None:
        for owner in OWNERS:
            contents = await store.load(owner)
            assert set(contents.leases) == {x for x in self.leases.values() if x.owner == owner}
            held = [each for each in contents.leases if each.state is not LeaseState.FREED]
            assert await store.count(owner) == len(held)
            assert set(contents.pools) == {
                record
                for (whose, _), record in self.pools.items()
                if whose == owner and record.users
            }


@one_store_for_all_examples
@given(operations=_operations)
async def test_any_sequence_of_operations_agrees_with_the_model(
    store: LeaseStore, operations: list[Operation]
) -> None:
    await empty(store, *OWNERS)
    model = Model()
    for operation in operations:
        await model.run(operation, store)
    await model.compare(store)

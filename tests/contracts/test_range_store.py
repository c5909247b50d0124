"""What every RangeStore must do. Join as for the LeaseStore's contract."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import AddressInUse, NoAddress, Superseded
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pools import Pool, PoolOptions, PoolRecord, Purpose, ReservedAddress
from d4d.domain.ports.reservations import ReservationStore
from d4d.domain.ports.stores import RangeStore
from d4d.domain.reservations import Reservation, ReservationSet

STORES: dict[str, Callable[[Path], RangeStore]] = {
    "memory": lambda _: MemoryLeaseStore(),
    "sqlite": lambda directory: SqliteLeaseStore(directory / "state" / "leases.db"),
}

NOW = datetime(2025, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
REST = timedelta(seconds=60)
SECOND = timedelta(seconds=1)
POOL = Pool(subnet=ip_network("10.1.0.0/29"), gateway=ip_address("10.1.0.1"))
FREE = [f"10.1.0.{n}" for n in range(2, 7)]
ENDPOINT = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"))
ENDPOINTS = [
    ENDPOINT,
    Endpoint(mac=MacAddress.parse("02:42:0a:01:00:03"), name="web"),
    Endpoint(mac=MacAddress.parse("02:42:0a:01:00:04"), name="db"),
]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RangeStore]:
    opened = STORES[request.param](tmp_path)
    yield opened
    await opened.aclose()


def a_claim(
    address: str | None = None,
    *,
    hint: str | None = None,
    pool: Pool = POOL,
    owner: str = "host-a",
    at: datetime = NOW,
    reserved: tuple[str, ...] = (),
) -> AddressClaim:
    return AddressClaim(
        pool=pool,
        endpoint=ENDPOINT,
        owner=owner,
        at=at,
        rest=REST,
        address=ip_address(address) if address else None,
        hint=ip_address(hint) if hint else None,
        reserved=tuple(filter(None, (pool.gateway, *(ip_address(each) for each in reserved)))),
    )


async def take(store: RangeStore, count: int, claim: AddressClaim | None = None) -> list[Lease]:
    return [await store.take(claim or a_claim()) for _ in range(count)]


async def free(store: RangeStore, lease: Lease, at: datetime = NOW) -> Lease:
    freed = replace(lease, use=Use.FREED, released_at=at)
    await store.update(freed)
    return freed


def texts(leases: list[Lease]) -> list[str]:
    return [str(lease.address) for lease in leases]


def a_record(*reserved: str, pool: Pool = POOL, users: int = 1) -> PoolRecord:
    reservations = tuple(
        ReservedAddress(address=ip_address(each), purpose=Purpose.AUXILIARY) for each in reserved
    )
    return PoolRecord(pool=pool, users=users, reservations=reservations)


async def test_a_taken_lease_is_stored_as_it_is_returned(store: RangeStore) -> None:
    taken = await store.take(a_claim())
    assert taken == a_claim().lease(ip_address("10.1.0.2"), generation=taken.generation)
    assert taken.generation > 0
    assert (await store.load("host-a")).leases == (taken,)


async def test_never_used_addresses_go_in_their_order_without_edges_and_gateway(
    store: RangeStore,
) -> None:
    assert texts(await take(store, 5)) == FREE


async def test_a_full_pool_is_refused_with_its_figures(store: RangeStore) -> None:
    await store.save_pool(a_record("10.1.0.4"), "host-b")
    await take(store, 4)
    figures = r"10\.1\.0\.0/29.* of 6 .* 4 are leased, 2 reserved, 0 resting"
    with pytest.raises(NoAddress, match=figures):
        await store.take(a_claim())
    with pytest.raises(NoAddress, match=figures):
        await store.take(a_claim(owner="host-b"))


async def test_the_pools_gateway_is_free_where_its_only_network_named_another(
    store: RangeStore,
) -> None:
    named = ReservedAddress(address=ip_address("10.1.0.6"), purpose=Purpose.GATEWAY)
    record = PoolRecord(pool=POOL, users=1, reservations=(named,))
    anywhere = replace(a_claim(), reserved=())
    await store.save_pool(replace(record, users=2), "host-a")  # the other one may have named none
    assert texts(await take(store, 1, anywhere)) == ["10.1.0.2"]
    await store.save_pool(record, "host-a")
    await store.save_pool(replace(record, reservations=()), "host-b")  # nor did this host's
    assert texts(await take(store, 1, anywhere)) == ["10.1.0.3"]
    await store.save_pool(record, "host-b")
    assert sorted(texts(await take(store, 3, anywhere))) == ["10.1.0.1", "10.1.0.4", "10.1.0.5"]
    with pytest.raises(NoAddress):
        await store.take(anywhere)


async def test_the_last_free_address_is_found(store: RangeStore) -> None:
    leases = await take(store, 5)
    await free(store, leases[3])
    assert texts([await store.take(a_claim(at=NOW + REST))]) == [FREE[3]]
    with pytest.raises(NoAddress):
        await store.take(a_claim())


async def test_what_was_freed_first_goes_first_behind_the_never_used(store: RangeStore) -> None:
    leases = await take(store, 4)
    for seconds, index in enumerate((2, 0, 3)):
        await free(store, leases[index], NOW + seconds * SECOND)
    later = a_claim(at=NOW + 2 * REST)
    assert texts(await take(store, 4, later)) == [FREE[4], FREE[2], FREE[0], FREE[3]]


async def test_an_address_that_rests_goes_only_where_nothing_else_is_left(
    store: RangeStore,
) -> None:
    leases = await take(store, 4)
    await free(store, leases[0])
    assert texts(await take(store, 2, a_claim(at=NOW + SECOND))) == [FREE[4], FREE[0]]


async def test_a_released_lease_keeps_its_address_until_it_is_freed(store: RangeStore) -> None:
    leases = await take(store, 5)
    released = replace(leases[0], use=Use.RELEASED, released_at=NOW)
    await store.update(released)
    with pytest.raises(NoAddress):
        await store.take(a_claim(at=NOW + 2 * REST))
    await store.update(replace(released, use=Use.IN_USE, released_at=None))
    with pytest.raises(NoAddress):
        await store.take(a_claim(at=NOW + 2 * REST))


async def test_a_removed_lease_leaves_its_address_to_others(store: RangeStore) -> None:
    leases = await take(store, 5)
    assert await store.remove(leases[1])
    assert texts([await store.take(a_claim(owner="host-b"))]) == [FREE[1]]


async def test_a_freed_lease_is_forgotten_without_any_harm(store: RangeStore) -> None:
    leases = await take(store, 5)
    freed = await free(store, leases[1])
    again = await store.take(a_claim(owner="host-b"))
    assert again.address == freed.address
    assert not await store.remove(freed)
    with pytest.raises(Superseded):
        await store.update(freed)
    assert (await store.load("host-b")).leases == (again,)
    freed = await free(store, again)
    assert await store.remove(freed)
    assert texts([await store.take(a_claim())]) == [FREE[1]]


async def test_a_freed_lease_written_twice_rests_from_the_first_time(store: RangeStore) -> None:
    leases = await take(store, 5)
    await free(store, leases[0], NOW)
    await free(store, leases[1], NOW + SECOND)
    await free(store, leases[0], NOW + 2 * SECOND)
    assert texts([await store.take(a_claim())]) == [FREE[0]]


async def test_an_address_that_is_asked_for_is_had(store: RangeStore) -> None:
    assert texts([await store.take(a_claim("10.1.0.5"))]) == ["10.1.0.5"]
    assert texts(await take(store, 4)) == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.6"]


async def test_an_address_that_is_leased_is_refused_and_its_holder_named(
    store: RangeStore,
) -> None:
    await store.take(a_claim("10.1.0.5", owner="host-b"))
    with pytest.raises(AddressInUse, match=r"10\.1\.0\.5 is leased to 02:42.* host-b"):
        await store.take(a_claim("10.1.0.5"))


async def test_an_address_that_rests_is_had_by_who_asks_for_it(store: RangeStore) -> None:
    leases = await take(store, 2)
    await free(store, leases[0])
    assert texts([await store.take(a_claim(FREE[0]))]) == [FREE[0]]
    assert texts(await take(store, 3)) == FREE[2:]


async def test_a_hint_is_taken_where_it_is_free_and_else_passed_over(store: RangeStore) -> None:
    leases = await take(store, 2)
    await free(store, leases[0])
    assert texts([await store.take(a_claim(hint=FREE[0]))]) == [FREE[0]]
    assert texts([await store.take(a_claim(hint=FREE[0]))]) == [FREE[2]]
    assert texts([await store.take(a_claim(hint=FREE[4], reserved=(FREE[4],)))]) == [FREE[3]]


async def test_what_any_host_reserves_is_no_containers(store: RangeStore) -> None:
    other = replace(POOL, gateway=ip_address("10.1.0.6"), range=ip_network("10.1.0.0/30"))
    await store.save_pool(a_record("10.1.0.2", pool=other), "host-b")
    await store.save_pool(a_record("10.1.0.2", "10.1.0.3"), "host-c")
    for reserved in ("10.1.0.2", "10.1.0.6"):
        with pytest.raises(AddressInUse, match="reserved"):
            await store.take(a_claim(reserved))
    assert texts(await take(store, 2)) == ["10.1.0.4", "10.1.0.5"]
    with pytest.raises(NoAddress):
        await store.take(a_claim())


async def test_what_is_no_longer_reserved_is_found(store: RangeStore) -> None:
    await store.save_pool(a_record("10.1.0.2"), "host-b")
    await store.save_pool(a_record("10.1.0.2", "10.1.0.3"), "host-c")
    await take(store, 3)
    await store.save_pool(a_record("10.1.0.2"), "host-c")
    assert texts([await store.take(a_claim())]) == ["10.1.0.3"]
    await store.save_pool(a_record(users=0), "host-c")
    with pytest.raises(NoAddress):
        await store.take(a_claim())
    await store.save_pool(a_record(users=0), "host-b")
    assert texts([await store.take(a_claim())]) == ["10.1.0.2"]


async def test_what_the_claim_alone_reserves_is_anothers(store: RangeStore) -> None:
    mine = a_claim(reserved=("10.1.0.2",))
    assert texts(await take(store, 4, mine)) == FREE[1:]
    with pytest.raises(NoAddress, match="4 are leased, 2 reserved"):
        await store.take(mine)
    assert texts([await store.take(a_claim(owner="host-b"))]) == ["10.1.0.2"]


async def test_a_range_is_filled_and_no_more(store: RangeStore) -> None:
    part = replace(POOL, range=ip_network("10.1.0.4/30"))
    assert texts(await take(store, 3, a_claim(pool=part))) == FREE[2:]
    with pytest.raises(NoAddress, match=r"10\.1\.0\.4/30.* of 3"):
        await store.take(a_claim(pool=part))
    assert texts([await store.take(a_claim("10.1.0.2", pool=part))]) == ["10.1.0.2"]


async def test_ranges_that_overlap_share_their_addresses(store: RangeStore) -> None:
    lower = replace(POOL, range=ip_network("10.1.0.0/30"))
    whole = replace(POOL, gateway=None)
    (first,) = await take(store, 1, a_claim(pool=lower, owner="host-b"))
    assert texts([first]) == ["10.1.0.2"]
    assert texts(await take(store, 1, a_claim(pool=whole))) == ["10.1.0.3"]
    with pytest.raises(NoAddress):
        await store.take(a_claim(pool=lower, owner="host-b"))
    await free(store, first)
    # lower's gateway is none of whole's: it is passed over by lower, and left for the end
    assert texts(await take(store, 5, a_claim(pool=whole))) == [*FREE[2:], "10.1.0.1", "10.1.0.2"]


async def test_a_range_that_is_new_knows_what_rests(store: RangeStore) -> None:
    first, second = await take(store, 2)
    await free(store, first, NOW)
    await free(store, second, NOW + SECOND)
    lower = replace(POOL, range=ip_network("10.1.0.0/30"))
    assert texts(await take(store, 2, a_claim(pool=lower))) == ["10.1.0.2", "10.1.0.3"]
    assert texts(await take(store, 3)) == FREE[2:]


async def test_an_address_that_another_range_had_meanwhile_rests_anew(store: RangeStore) -> None:
    first, second, *_ = await take(store, 5)
    await free(store, first, NOW)
    await free(store, second, NOW + SECOND)
    upper = replace(POOL, range=ip_network("10.1.0.4/30"))
    outside = await store.take(a_claim(FREE[0], pool=upper, owner="host-b"))
    await free(store, outside, NOW + 2 * SECOND)
    assert texts(await take(store, 2, a_claim(at=NOW + 2 * REST))) == [FREE[1], FREE[0]]


async def test_a_freed_lease_does_not_come_alive_where_another_pool_has_its_address(
    store: RangeStore,
) -> None:
    lower = replace(POOL, range=ip_network("10.1.0.0/30"))
    freed = await free(store, await store.take(a_claim(FREE[0])))
    await store.take(a_claim(FREE[0], pool=lower, owner="host-b"))
    with pytest.raises(Superseded):
        await store.update(replace(freed, use=Use.IN_USE))
    await store.update(replace(freed, hostname="web"))
    assert await store.remove(replace(freed, hostname="web"))
    with pytest.raises(AddressInUse):
        await store.take(a_claim(FREE[0]))


async def test_a_lease_that_was_added_is_not_taken(store: RangeStore) -> None:
    adopted = await store.add(a_claim().lease(ip_address(FREE[0]), generation=0))
    assert texts([await store.take(a_claim())]) == [FREE[1]]
    await free(store, adopted)
    assert texts(await take(store, 4)) == [*FREE[2:], FREE[0]]


async def test_an_address_that_is_added_while_it_rests_rests_anew(store: RangeStore) -> None:
    first, second, *_ = await take(store, 5)
    freed = await free(store, first, NOW)
    await free(store, second, NOW + SECOND)
    again = await store.add(replace(freed, use=Use.IN_USE), unless_held=True)
    await free(store, again, NOW + 2 * SECOND)
    assert texts(await take(store, 2, a_claim(at=NOW + 2 * REST))) == [FREE[1], FREE[0]]


async def test_pools_on_two_parents_are_two(store: RangeStore) -> None:
    one, other = (replace(POOL, options=PoolOptions(parent=name)) for name in ("eth0", "eth1"))
    leases = [*await take(store, 1, a_claim(pool=one)), *await take(store, 1, a_claim(pool=other))]
    assert texts(leases) == [FREE[0], FREE[0]]


@pytest.mark.parametrize(
    ("subnet", "first", "last"),
    [
        ("10.0.0.0/8", "10.0.0.1", "10.255.255.254"),
        ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
        ("2000::/3", "2000::1", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("::/0", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("10.9.9.8/31", "10.9.9.8", "10.9.9.9"),
        ("fd00::7/128", "fd00::7", "fd00::7"),
    ],
)
async def test_a_pool_of_any_size_costs_nothing(
    store: RangeStore, subnet: str, first: str, last: str
) -> None:
    pool = Pool(subnet=ip_network(subnet))
    assert texts([await store.take(a_claim(pool=pool))]) == [first]
    if first != last:
        assert texts([await store.take(a_claim(last, pool=pool))]) == [last]
    if pool.subnet.num_addresses > 2:
        (second,) = await take(store, 1, a_claim(pool=pool))
        assert int(second.address) == int(ip_address(first)) + 1
    else:
        with pytest.raises(NoAddress):
            await store.take(a_claim(pool=pool))


async def test_a_carry_runs_through_all_digits(store: RangeStore) -> None:
    pool = Pool(subnet=ip_network("fd00::/64"), range=ip_network("fd00::ffff:ffff:fffe/127"))
    assert texts(await take(store, 2, a_claim(pool=pool))) == [
        "fd00::ffff:ffff:fffe",
        "fd00::ffff:ffff:ffff",
    ]
    wide = Pool(subnet=ip_network("fd00::/64"), range=ip_network("fd00::ffff:ffff:fffe:0/111"))
    await store.take(a_claim(pool=replace(wide, range=ip_network("fd00::/65"))))
    leases = await asyncio.gather(*(store.take(a_claim(pool=wide)) for _ in range(300)))
    numbers = sorted(int(lease.address) for lease in leases)
    assert wide.range is not None
    assert numbers == [*range(numbers[0], numbers[0] + 300)]
    assert numbers[0] == int(wide.range.network_address)


async def test_takers_at_once_get_each_address_once(store: RangeStore) -> None:
    pool = Pool(subnet=ip_network("10.2.0.0/25"), gateway=ip_address("10.2.0.1"))
    outcomes = await asyncio.gather(
        *(store.take(a_claim(pool=pool, owner=f"host-{n % 8}")) for n in range(140)),
        return_exceptions=True,
    )
    leases = [each for each in outcomes if isinstance(each, Lease)]
    refused = [each for each in outcomes if isinstance(each, NoAddress)]
    assert (len(leases), len(refused)) == (125, 15)
    assert len({lease.address for lease in leases}) == 125
    stored = [lease for n in range(8) for lease in (await store.load(f"host-{n}")).leases]
    assert set(stored) == set(leases)


async def test_what_is_held_is_not_added_again_if_so_told(store: RangeStore) -> None:
    held = await store.take(a_claim(owner="host-a"))
    other = replace(held, owner="host-b", generation=0)
    with pytest.raises(AddressInUse, match="on host host-a"):
        await store.add(other, unless_held=True)
    assert (await store.load("host-b")).leases == ()
    await store.update(replace(held, use=Use.FREED, released_at=NOW))
    added = await store.add(other, unless_held=True)
    assert (await store.load("host-b")).leases == (added,)
    assert (await store.load("host-a")).leases == ()


# Any order of events


class World:
    """Hosts that take, release, crash and forget, an operator who reserves, and the contract in
    plain dicts.
    """

    def __init__(self, store: RangeStore, random: Random) -> None:
        self._store = store
        self._random = random
        self._now = NOW
        self.pools = [
            Pool(subnet=POOL.subnet, gateway=POOL.gateway),
            Pool(subnet=POOL.subnet, gateway=POOL.gateway, range=ip_network("10.1.0.4/30")),
        ]
        self.usable = {ip_address(each) for each in FREE}
        self.holders: dict[object, Lease] = {}
        self.ended: list[Lease] = []
        self.reserved = ReservationSet()

    @property
    def reservations(self) -> ReservationStore:
        return self._store  # type: ignore[return-value]  # every store of ours serves both ports

    async def step(self) -> None:
        self._now += timedelta(seconds=self._random.choice([0, 1, 30, 100]))
        await self._random.choice([*[self._take] * 3, self._end, self._late, self._reserve])()

    async def _reserve(self) -> None:
        """An operator reserves an address, or takes that back."""
        address = self._random.choice([*self.usable])
        if self.reserved.at(address) is not None or self._random.random() < 0.3:
            taken_away = await self.reservations.unreserve(a_claim().segment, address)
            assert taken_away == self.reserved.at(address)
            self.reserved = ReservationSet(
                each for each in self.reserved if each.address != address
            )
            return
        endpoint = self._random.choice([None, *ENDPOINTS])
        by_mac = endpoint is not None and self._random.random() < 0.5
        made = Reservation(
            segment=a_claim().segment,
            address=address,
            made_at=self._now,
            mac=endpoint.mac if endpoint and by_mac else None,
            name=endpoint.name if endpoint and not by_mac else None,
        )
        try:
            is_held = await self.reservations.reserve(made)
        except AddressInUse:
            with pytest.raises(AddressInUse):
                self.reserved.plus(made)
            return
        self.reserved = self.reserved.plus(made)
        assert is_held == (address in self.holders)

    async def _take(self) -> None:
        pool = self._random.choice(self.pools)
        address = self._random.choice([None, None, None, *self.usable])
        claim = replace(
            a_claim(pool=pool, owner=self._random.choice(["host-a", "host-b"]), at=self._now),
            address=address,
            endpoint=self._random.choice(ENDPOINTS),
        )
        may_have = self.usable - self.holders.keys() - self.reserved.kept_from(claim.endpoint)
        free = {each for each in may_have if each in claim.window}
        own = self.reserved.of(claim.endpoint)
        if address is not None:
            free = {address} & may_have
        elif own is not None and own.address in may_have:
            free = {own.address}
        try:
            lease = await self._store.take(claim)
        except (NoAddress, AddressInUse):
            assert not free, "refused, though there was a free one"
            return
        assert lease.address in free, "one address for two"
        self.holders[lease.address] = lease

    async def _end(self) -> None:
        if not self.holders:
            return
        lease = self._random.choice([*self.holders.values()])
        if self._random.random() < 0.3:
            assert await self._store.remove(lease)
        else:
            await free(self._store, lease, self._now)
        del self.holders[lease.address]
        self.ended.append(lease)

    async def _late(self) -> None:
        """A host that slept through its lease's end says something of it."""
        if not self.ended:
            return
        lease = self._random.choice(self.ended)
        if self._random.random() < 0.5:
            await self._store.remove(replace(lease, use=Use.FREED, released_at=self._now))
            return
        try:
            await free(self._store, lease, self._now)
        except Superseded:
            return

    async def check(self) -> None:
        live = [
            lease
            for owner in ("host-a", "host-b")
            for lease in (await self._store.load(owner)).leases
            if lease.state is not LeaseState.FREED
        ]
        assert {lease.address: lease for lease in live} == self.holders
        assert len(live) == len(self.holders)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example empties the store
)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
async def test_no_address_is_ever_given_twice(store: RangeStore, seed: int, steps: int) -> None:
    for owner in ("host-a", "host-b"):
        for lease in (await store.load(owner)).leases:
            assert await store.remove(lease)
    world = World(store, Random(seed))
    for each in await world.reservations.reservations():
        await world.reservations.unreserve(each.segment, each.address)
    for _ in range(steps):
        await world.step()
    await world.check()


async def test_hosts_at_once_never_hold_one_address_and_lose_none(store: RangeStore) -> None:
    """Eight hosts on a pool that is nearly full; a host that crashes leaves its leases behind."""
    pool = Pool(subnet=ip_network("10.3.0.0/27"), gateway=ip_address("10.3.0.1"))
    held: dict[object, str] = {}

    async def host(name: str, random: Random) -> None:
        mine: list[Lease] = []
        for _ in range(60):
            if mine and random.random() < 0.45:
                lease = mine.pop(random.randrange(len(mine)))
                del held[lease.address]
                await free(store, lease)
            elif mine and random.random() < 0.1:  # it starts anew, and asks what is its own
                loaded = (await store.load(name)).leases
                live = {each for each in loaded if each.state is not LeaseState.FREED}
                assert live == set(mine)
            else:
                try:
                    lease = await store.take(a_claim(pool=pool, owner=name))
                except NoAddress:
                    continue
                assert lease.address not in held, f"{held[lease.address]} and {name} have it"
                held[lease.address] = name
                mine.append(lease)

    await asyncio.gather(*(host(f"host-{n}", Random(n)) for n in range(8)))
    rest = 29 - len(held)
    assert rest >= 0
    await take(store, rest, a_claim(pool=pool))
    with pytest.raises(NoAddress):
        await store.take(a_claim(pool=pool))

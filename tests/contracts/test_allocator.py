"""What every Allocator must do, whoever it has its addresses from.

An adapter joins by one line in ALLOCATORS; one that needs a server does so from its own module:
import these tests there, and define ``bench`` anew. What is beyond an allocator (a DHCP server's
database, a range's store) is looked at from there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random
from typing import Protocol

import pytest

from d4d.adapters.dhcp.allocator import DhcpAllocator
from d4d.adapters.dhcp.conflict_detection import ArpMonitor, OnConflict, OwnerOf
from d4d.adapters.dhcp.policy import DhcpPolicy
from d4d.adapters.dhcp.routes import Routes
from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.errors import AddressInUse, NoAddress
from d4d.domain.events import EventKind
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pools import Pool, PoolOptions, PoolRequest
from d4d.domain.ports.allocator import Allocator
from d4d.domain.ports.stores import RangeStore
from tests.support.allocation import asks
from tests.support.fake_dhcp_server import ROUTER, SUBNET, FakeDhcpServer, FakeInterfaces, interface
from tests.support.fake_ports import RecordingEvents

HOST = "host-a"
RANGE = ip_network("10.78.0.0/28")
_PATIENCE = 15.0  # seconds
_PAUSE = 0.002


class ClosableAllocator(Allocator, Protocol):
    """As those are whose makers close them."""

    async def aclose(self) -> None:
        """Let go of what it has open."""


class Recorder:
    """Who hears of the leases (ports.Holder)."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def changed(self, lease: Lease, kind: EventKind, detail: str) -> None:
        self.told.append(f"{kind.value} {lease.address}")


@dataclass(slots=True, kw_only=True)
class Bench:
    """An allocator of one host, and who is beyond it."""

    allocator: ClosableAllocator
    request: PoolRequest
    gateway: Address
    usable: list[Address]
    """All that can be had of the pool."""
    held: Callable[[], Awaitable[set[Address]]]
    """What is nobody else's, as the other side has it."""
    holder: Recorder = field(default_factory=Recorder)
    _generation: int = 0
    _pool: Pool | None = None

    async def pool(self) -> Pool:
        """It is opened once, as IpamService does."""
        if self._pool is None:
            opened = await self.allocator.open(self.request)
            self._pool = replace(opened, gateway=self.gateway)
        return self._pool

    async def allocate(
        self,
        endpoint: Endpoint | None = None,
        *,
        address: Address | None = None,
        hint: Address | None = None,
        taken: Collection[Address] = (),
    ) -> Lease:
        """A lease as LeaseService has it: with owner and generation, and kept."""
        lease = await self.allocator.allocate(
            asks(
                await self.pool(),
                endpoint or container(1),
                address=address,
                hint=hint,
                taken={self.gateway, *taken},
            )
        )
        self._generation += 1
        lease = replace(lease, owner=HOST, generation=lease.generation or self._generation)
        self.allocator.maintain(lease, self.holder)
        return lease

    async def free(self, lease: Lease) -> None:
        """As ReleaseQueue does."""
        released = replace(lease, use=Use.RELEASED, released_at=datetime.now(UTC))
        await self.allocator.free(released)

    async def await_held(self, *addresses: Address) -> None:
        """Wait until the other side has exactly these."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while (held := await self.held()) != {*addresses}:
            assert asyncio.get_running_loop().time() < deadline, f"held: {held}"
            await asyncio.sleep(_PAUSE)


def container(number: int) -> Endpoint:
    return Endpoint(mac=MacAddress(bytes([2, 66, 0, 0, 0, number])), name=f"c{number}")


@asynccontextmanager
async def over_dhcp(_: Path) -> AsyncIterator[Bench]:
    server = FakeDhcpServer()
    policy = DhcpPolicy(
        deadline=timedelta(seconds=2), host=HOST, conflict_probe=timedelta(0), window=64
    )
    allocator = DhcpAllocator(
        routes=Routes(interfaces=FakeInterfaces([interface("eth0", "10.77.0.9/16")])),
        link=server.link,
        watch=_no_watch,
        policy=policy,
        events=RecordingEvents(),
        clock=lambda: datetime.now(UTC),
        random=Random(26),
    )

    async def held() -> set[Address]:
        return {*server.bindings}

    yield Bench(
        allocator=allocator,
        request=PoolRequest(subnet=SUBNET, options=PoolOptions(parent="eth0")),
        gateway=ROUTER,
        usable=[*server.free],
        held=held,
    )


def _no_watch(parent: str, ours: OwnerOf, on_conflict: OnConflict) -> ArpMonitor:
    raise AssertionError("nobody asked for a probe")


def over_store(store: RangeStore) -> Bench:
    """A range allocator's bench; the store is to be closed by who opened it."""

    async def held() -> set[Address]:
        contents = await store.load(HOST)
        return {lease.address for lease in contents.leases if lease.is_live}

    return Bench(
        allocator=RangeAllocator(store=store, owner=HOST, clock=lambda: datetime.now(UTC)),
        request=PoolRequest(subnet=RANGE),
        gateway=ip_address("10.78.0.1"),
        usable=[*RANGE.hosts()][1:],
        held=held,
    )


@asynccontextmanager
async def over_memory(_: Path) -> AsyncIterator[Bench]:
    yield over_store(MemoryLeaseStore())


@asynccontextmanager
async def over_sqlite(directory: Path) -> AsyncIterator[Bench]:
    store = SqliteLeaseStore(directory / "leases.db")
    yield over_store(store)
    await store.aclose()


ALLOCATORS: dict[str, Callable[[Path], AbstractAsyncContextManager[Bench]]] = {
    "dhcp": over_dhcp,
    "range over memory": over_memory,
    "range over sqlite": over_sqlite,
}


@pytest.fixture(params=ALLOCATORS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with ALLOCATORS[request.param](tmp_path) as made:
        yield made
        await made.allocator.aclose()


# Pools


async def test_opening_a_pool_takes_no_address_and_says_the_same_each_time(bench: Bench) -> None:
    first, second = [await bench.allocator.open(bench.request) for _ in range(2)]
    assert first == second
    assert first.subnet == bench.request.subnet
    assert Pool.parse(first.id).id == first.id
    assert await bench.held() == set()


# Leases


async def test_a_lease_is_of_the_pool_and_of_the_endpoint(bench: Bench) -> None:
    lease = await bench.allocate(container(1))
    assert lease.address in bench.usable
    assert (lease.pool, lease.endpoint) == ((await bench.pool()).id, container(1))
    assert lease.state is LeaseState.BOUND
    assert await bench.held() == {lease.address}


async def test_as_an_allocator_an_address_that_is_asked_for_is_had(bench: Bench) -> None:
    wanted = bench.usable[4]
    assert (await bench.allocate(address=wanted)).address == wanted


async def test_an_address_that_another_has_is_refused(bench: Bench) -> None:
    first = await bench.allocate(container(1))
    with pytest.raises((AddressInUse, NoAddress), match=str(first.address)):
        await bench.allocate(container(2), address=first.address)
    await bench.await_held(first.address)


async def test_an_address_that_is_taken_is_refused_though_it_is_asked_for(bench: Bench) -> None:
    wanted = bench.usable[2]
    with pytest.raises((AddressInUse, NoAddress), match=str(wanted)):
        await bench.allocate(address=wanted, taken={wanted})
    await bench.await_held()


async def test_a_hint_is_followed_where_it_is_free(bench: Bench) -> None:
    hint = bench.usable[5]
    first = await bench.allocate(container(1), hint=hint)
    second = await bench.allocate(container(2), hint=hint)
    assert first.address == hint != second.address


async def test_what_is_taken_is_not_handed_out(bench: Bench) -> None:
    taken = {*bench.usable[:2]}
    lease = await bench.allocate(taken=taken)
    assert lease.address not in taken
    await bench.await_held(lease.address)


async def test_those_who_ask_at_once_have_all_there_is_and_no_address_twice(bench: Bench) -> None:
    everyone = [container(number) for number, _ in enumerate(bench.usable)]
    leases = await asyncio.gather(*map(bench.allocate, everyone))
    assert {lease.endpoint for lease in leases} == {*everyone}
    assert sorted(lease.address for lease in leases) == sorted(bench.usable)
    assert bench.gateway not in bench.usable
    with pytest.raises(NoAddress):
        await bench.allocate(container(99))
    await bench.await_held(*bench.usable)


@pytest.mark.parametrize("after", range(8))
async def test_a_call_that_is_cut_short_leaves_nothing(bench: Bench, after: int) -> None:
    calling = asyncio.ensure_future(bench.allocate())
    for _ in range(after):
        await asyncio.sleep(after * 0.0001)
    if calling.done():
        await bench.free(calling.result())
    else:
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    await bench.await_held()
    everyone = [container(number) for number, _ in enumerate(bench.usable)]
    again = await asyncio.gather(*map(bench.allocate, everyone))
    assert {lease.address for lease in again} == {*bench.usable}


async def test_a_freed_address_is_had_by_another_when_nothing_else_is_left(bench: Bench) -> None:
    everyone = [container(number) for number, _ in enumerate(bench.usable)]
    leases = await asyncio.gather(*map(bench.allocate, everyone))
    await bench.free(leases[3])
    await bench.await_held(*({*bench.usable} - {leases[3].address}))
    assert (await bench.allocate(container(99))).address == leases[3].address


async def test_a_lease_that_could_not_be_stored_is_freed_as_it_was_returned(bench: Bench) -> None:
    lease = await bench.allocator.allocate(
        asks(await bench.pool(), container(1), address=None, hint=None, taken=())
    )
    await bench.allocator.free(lease)
    await bench.await_held()


async def test_freeing_twice_or_late_does_no_harm(bench: Bench) -> None:
    first = await bench.allocate(container(1))
    await bench.free(first)
    await bench.free(first)
    await bench.await_held()
    second = await bench.allocate(container(2), address=first.address)
    await bench.free(first)
    await bench.await_held(second.address)


# Kept


async def test_an_adopted_lease_is_of_what_is_used_and_nobody_is_asked(bench: Bench) -> None:
    pool, used = await bench.pool(), bench.usable[3]
    lease = bench.allocator.adopt(pool, container(1), used, at=datetime.now(UTC))
    assert (lease.pool, lease.endpoint, lease.address) == (pool.id, container(1), used)
    assert (lease.state, lease.owner, lease.generation) == (LeaseState.BOUND, "", 0)
    assert await bench.held() == set()


async def test_a_renamed_lease_is_the_same_lease_under_another_name(bench: Bench) -> None:
    lease = await bench.allocate(container(1))
    renamed = bench.allocator.rename(lease, "other")
    assert renamed.endpoint == replace(lease.endpoint, name="other")
    assert (renamed.pool, renamed.address) == (lease.pool, lease.address)
    assert (renamed.owner, renamed.generation) == (lease.owner, lease.generation)
    await bench.free(renamed)
    await bench.await_held()


async def test_a_lease_of_an_earlier_process_is_kept_and_freed(bench: Bench) -> None:
    lease = await bench.allocate(container(1))
    bench.allocator.forget(lease)
    bench.allocator.maintain(lease, bench.holder)
    assert await bench.held() == {lease.address}
    await bench.free(lease)
    await bench.await_held()


async def test_a_forgotten_lease_is_left_alone(bench: Bench) -> None:
    lease = await bench.allocate(container(1))
    bench.allocator.forget(lease)
    bench.allocator.forget(lease)
    await asyncio.sleep(_PAUSE)
    assert await bench.held() == {lease.address}
    assert bench.holder.told == []


async def test_after_closing_nothing_runs_and_nothing_was_given_back(bench: Bench) -> None:
    before = asyncio.all_tasks()
    leases = [await bench.allocate(container(number)) for number in range(3)]
    await bench.allocator.aclose()
    await bench.allocator.aclose()
    assert asyncio.all_tasks() <= before
    assert await bench.held() == {lease.address for lease in leases}
    assert bench.holder.told == []

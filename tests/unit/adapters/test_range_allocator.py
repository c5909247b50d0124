"""The range allocator: pools without a server, and claims whose answer was lost."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from d4d.adapters.range_allocator import RangeAllocator
from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.errors import AddressInUse, BadRequest, D4DError, NoAddress, StoreUnavailable
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.policies import Mode
from d4d.domain.pools import Pool, PoolOptions, PoolRequest
from d4d.domain.stored import StoreContents
from tests.support.allocation import asks
from tests.support.virtual_time import FakeClock, settle

VIRTUAL_TIME = True

REQUEST = PoolRequest(subnet=ip_network("10.1.0.0/29"))
GATEWAY = ip_address("10.1.0.1")
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:02"), name="web")
DB = Endpoint(mac=MacAddress.parse("02:42:0a:01:00:03"), name="db")


class LossyStore(MemoryLeaseStore):
    """Its answers may be late, or lost on their way: what was asked for is done all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.takes = 0.0
        self.arrives_after = 0.0
        self.loses_answers = False
        self.is_away = False

    async def take(self, claim: AddressClaim) -> Lease:
        if self.loses_answers:
            self._arrive(claim, self.arrives_after)
            raise StoreUnavailable("no answer")
        return await asyncio.shield(self._arrive(claim, self.takes))

    async def load(self, owner: str) -> StoreContents:
        self._reach()
        return await super().load(owner)

    async def update(self, lease: Lease) -> None:
        self._reach()
        await super().update(lease)

    async def remove(self, lease: Lease) -> bool:
        self._reach()
        return await super().remove(lease)

    def _reach(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")

    def _arrive(self, claim: AddressClaim, after: float) -> asyncio.Task[Lease]:
        async def arrive() -> Lease:
            await asyncio.sleep(after)
            return await MemoryLeaseStore.take(self, claim)

        self._arrived = asyncio.create_task(arrive())
        return self._arrived


class Bench:
    """An allocator of host-a over a store of its own."""

    def __init__(self) -> None:
        self.store = LossyStore()
        self.clock = FakeClock()
        self.allocator = RangeAllocator(store=self.store, owner="host-a", clock=self.clock)

    async def pool(self, request: PoolRequest = REQUEST) -> Pool:
        return await self.allocator.open(request)

    async def allocate(
        self,
        endpoint: Endpoint = WEB,
        *,
        address: str | None = None,
        hint: str | None = None,
        taken: Collection[Address] = (GATEWAY,),
    ) -> Lease:
        return await self.allocator.allocate(
            asks(
                await self.pool(),
                endpoint,
                address=ip_address(address) if address else None,
                hint=ip_address(hint) if hint else None,
                taken=taken,
            )
        )

    async def stored(self, state: LeaseState = LeaseState.BOUND) -> list[str]:
        self.store.is_away = False
        leases = (await self.store.load("host-a")).leases
        return [str(lease.address) for lease in leases if lease.state is state]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("subnet", "gateway"),
    [
        ("10.1.0.0/29", "10.1.0.1"),
        ("fd00::/64", "fd00::1"),
        ("10.1.0.2/31", "10.1.0.2"),
        ("10.1.0.2/32", "10.1.0.2"),
    ],
)
async def test_the_gateway_is_the_first_address_that_a_host_may_have(
    bench: Bench, subnet: str, gateway: str
) -> None:
    pool = await bench.pool(PoolRequest(subnet=ip_network(subnet)))
    assert pool.gateway == ip_address(gateway)
    assert Pool.parse(pool.id) == pool


async def test_a_pool_stays_the_range_allocators_whatever_the_settings_say_later(
    bench: Bench,
) -> None:
    assert (await bench.pool()).options.allocator == "range"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (PoolRequest(), "--subnet"),
        (replace(REQUEST, options=PoolOptions(mode=Mode.RELAY)), "mode= are for DHCP"),
        (
            replace(REQUEST, options=PoolOptions.parse({"server": "10.1.0.2"})),
            "server= and mode= are for DHCP",
        ),
        (replace(REQUEST, range=ip_network("10.1.0.0/32")), "10.1.0.0/32 has only the network"),
    ],
)
async def test_what_it_can_not_serve_is_refused_with_what_to_do(
    bench: Bench, request_: PoolRequest, why: str
) -> None:
    with pytest.raises(BadRequest, match=why):
        await bench.pool(request_)


async def test_a_lease_is_stored_when_it_is_returned(bench: Bench) -> None:
    lease = await bench.allocate()
    assert (str(lease.address), lease.owner, lease.expires_at) == ("10.1.0.2", "host-a", None)
    assert lease.generation > 0
    assert (await bench.store.load("host-a")).leases == (lease,)


async def test_a_freed_address_is_had_by_others_and_remembered_for_its_container(
    bench: Bench,
) -> None:
    lease = await bench.allocate(address="10.1.0.4")
    await bench.allocator.free(lease)
    assert await bench.stored(LeaseState.FREED) == ["10.1.0.4"]
    again = await bench.allocate(DB, address="10.1.0.4")
    await bench.allocator.free(lease)
    assert (await bench.store.load("host-a")).leases == (again,)


async def test_its_container_has_a_freed_address_again(bench: Bench) -> None:
    lease = await bench.allocate(address="10.1.0.4")
    await bench.allocator.free(lease)
    assert (await bench.allocate(hint="10.1.0.4")).address == lease.address
    assert str((await bench.allocate(DB, hint="10.9.9.9")).address) == "10.1.0.2"


async def test_a_freed_address_rests_from_its_release_on(bench: Bench) -> None:
    one, two = await bench.allocate(), await bench.allocate(DB)
    for _ in range(3):
        await bench.allocate()
    released = replace(one, released_at=bench.clock() - timedelta(seconds=5))
    await bench.allocator.free(two)
    await bench.allocator.free(released)
    assert (await bench.allocate()).address == one.address


async def test_a_store_that_is_away_frees_nothing(bench: Bench) -> None:
    lease = await bench.allocate()
    bench.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await bench.allocator.free(lease)
    assert await bench.stored() == ["10.1.0.2"]


async def test_the_first_address_is_a_containers_where_the_gateway_is_another(
    bench: Bench,
) -> None:
    assert (await bench.allocate(taken=(ip_address("10.1.0.6"),))).address == GATEWAY


async def test_what_the_caller_knows_to_be_taken_is_not_handed_out(bench: Bench) -> None:
    taken = {ip_address(f"10.1.0.{n}") for n in (1, 2, 3, 5)}
    with pytest.raises(AddressInUse):
        await bench.allocate(address="10.1.0.3", taken=taken)
    assert str((await bench.allocate(hint="10.1.0.2", taken=taken)).address) == "10.1.0.4"
    assert str((await bench.allocate(DB, taken=taken)).address) == "10.1.0.6"
    assert await bench.stored() == ["10.1.0.4", "10.1.0.6"]
    with pytest.raises(NoAddress):
        await bench.allocate(taken=taken)
    assert await bench.stored() == ["10.1.0.4", "10.1.0.6"]


class Changing(Collection[Address]):
    """Whatever is looked at is taken by then."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> "Changing":
        return self

    def __next__(self) -> Address:
        raise StopIteration

    def __len__(self) -> int:
        return 0


async def test_a_caller_that_turns_everything_down_gets_an_error_and_leaves_nothing(
    bench: Bench,
) -> None:
    with pytest.raises(NoAddress, match="6 reserved"):
        await bench.allocate(taken=Changing())
    assert await bench.stored() == []


async def test_an_adopted_lease_is_still_to_be_stored(bench: Bench) -> None:
    pool = await bench.pool()
    lease = bench.allocator.adopt(pool, WEB, ip_address("10.1.0.5"), at=datetime.now(UTC))
    assert (lease.pool, lease.endpoint, lease.owner, lease.generation) == (pool.id, WEB, "", 0)
    assert bench.allocator.rename(lease, "api").endpoint == replace(WEB, name="api")


# Answers that are lost


async def test_a_claim_that_is_given_up_is_given_back_when_the_store_has_it(bench: Bench) -> None:
    bench.store.takes = 3.0
    asking = asyncio.ensure_future(bench.allocate())
    await settle(1.0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await settle(2.5)
    assert await bench.stored() == ["10.1.0.2"]
    await settle(10.0)
    assert await bench.stored() == []
    assert str((await bench.allocate(address="10.1.0.2")).address) == "10.1.0.2"


async def test_an_address_that_a_lost_claim_has_is_no_obstacle_to_the_next(bench: Bench) -> None:
    """``--ip``: the container asks again while nobody knows yet what the first one came to."""
    bench.store.loses_answers = True
    with pytest.raises(StoreUnavailable):
        await bench.allocate(address="10.1.0.9")
    bench.store.loses_answers = False
    await settle(0.5)
    lease = await bench.allocate(address="10.1.0.9")
    assert str(lease.address) == "10.1.0.9"
    with pytest.raises(AddressInUse):
        await bench.allocate(DB, address="10.1.0.9")
    await settle(20.0)
    assert (await bench.store.load("host-a")).leases == (lease,)


@pytest.mark.parametrize("arrives_after", [0.0, 0.5, 4.0])
async def test_a_claim_whose_answer_was_lost_is_given_back(
    bench: Bench, arrives_after: float
) -> None:
    kept = await bench.allocate()
    bench.store.loses_answers, bench.store.arrives_after = True, arrives_after
    with pytest.raises(StoreUnavailable):
        await bench.allocate(DB)
    await settle(arrives_after + 0.1)
    bench.store.loses_answers = False
    assert await bench.stored() == ["10.1.0.2", "10.1.0.3"]
    await settle(10.0)
    assert (await bench.store.load("host-a")).leases == (kept,)


async def test_while_the_store_is_away_claims_stay_in_doubt(bench: Bench) -> None:
    bench.store.loses_answers = True
    for endpoint in (WEB, DB):
        with pytest.raises(StoreUnavailable):
            await bench.allocate(endpoint)
    bench.store.is_away = True
    await settle(3600.0)
    assert await bench.stored() == ["10.1.0.2", "10.1.0.3"]
    bench.store.loses_answers = False
    await settle(10.0)
    assert await bench.stored() == []


async def test_a_lease_that_was_had_after_a_lost_one_is_not_given_back(bench: Bench) -> None:
    bench.store.loses_answers = True
    with pytest.raises(StoreUnavailable):
        await bench.allocate()
    bench.store.loses_answers = False
    await settle(0.5)
    again = await bench.allocate()
    await settle(60.0)
    assert (await bench.store.load("host-a")).leases == (again,)


async def test_closing_gives_nothing_back(bench: Bench) -> None:
    kept = await bench.allocate()
    bench.store.loses_answers = True
    with pytest.raises(D4DError):
        await bench.allocate(DB)
    await bench.allocator.aclose()
    await settle(60.0)
    assert (await bench.store.load("host-a")).leases[0] == kept
    assert len(await bench.stored()) == 2

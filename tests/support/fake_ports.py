"""What the domain calls out to, in memory: fakes that behave, fail when told to, and remember."""

import asyncio
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.domain.addressing import Address, MacAddress, Subnet
from d4d.domain.errors import AddressInUse, LinkDown, NoAddress, NotAsked, StoreAway
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint, Lease, Terms
from d4d.domain.pools import Pool, PoolRecord, PoolRequest
from d4d.domain.ports.allocator import AllocationRequest
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import LeaseObserver
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.stored import StoreContents
from d4d.domain.verdicts import Judge

SUBNET = IPv4Network("192.168.59.0/24")
HOUR = timedelta(hours=1)


class FakeAllocator:
    """Hands out addresses as a DHCP server would: the same to the same client, the lowest first."""

    def __init__(self, clock: Clock, *, by_name: bool = False) -> None:
        self._clock = clock
        self._by_name = by_name
        self.router: Address | None = None
        self.learns: Subnet = SUBNET
        self.lease_time = HOUR
        self.allocate_takes = 0.0
        self.free_takes = 0.0
        self.allocate_fails: Exception | None = None
        self.free_fails: Exception | None = None
        self.bindings: dict[tuple[Subnet, Address], bytes] = {}
        """The server's own records."""
        self.opened: list[PoolRequest] = []
        self.allocated: list[Lease] = []
        self.asked: list[tuple[Endpoint, Address | None, Address | None]] = []
        """Of each allocation: who, which address, which hint."""
        self.freed: list[Address] = []
        self.kept: dict[tuple[str, Address], Lease] = {}
        self.confirmed: list[Address] = []
        self.is_closed = False
        self.silent: dict[str, str] = {}
        """By link, for a driver's health."""
        self.terms_routers: tuple[IPv4Address, ...] = ()
        """What a lease says of routers."""
        self._holders: dict[tuple[str, Address], LeaseObserver] = {}

    # The port

    async def open(self, request: PoolRequest) -> Pool:
        self.opened.append(request)
        return Pool(
            subnet=request.subnet or self.learns,
            range=request.range,
            gateway=self.router,
            options=request.options,
        )

    async def allocate(self, request: AllocationRequest) -> Lease:
        pool, endpoint, address = request.pool, request.endpoint, request.address
        hint = request.reserved or request.hint
        self.asked.append((endpoint, address, hint))
        await asyncio.sleep(self.allocate_takes)
        if self.allocate_fails is not None:
            raise self.allocate_fails
        client = self._client(endpoint)
        chosen = self._choose(pool, client, address or hint, request.judge)
        if chosen is None or (address is not None and chosen != address):
            raise AddressInUse(f"{address}: none") if address else NoAddress("none left")
        self.bindings[pool.subnet, chosen] = client
        now = self._clock()
        lease = Lease(
            pool=pool.id,
            address=chosen,
            endpoint=endpoint,
            acquired_at=request.at,
            client_id=client,
            bound_at=now,
            renew_at=now + self.lease_time / 2,
            expires_at=now + self.lease_time,
            terms=Terms(
                server=IPv4Address("192.168.59.2"),
                lease_time=self.lease_time,
                routers=self.terms_routers,
            ),
        )
        self.allocated.append(lease)
        self.kept[lease.pool, lease.address] = lease
        return lease

    def maintain(self, lease: Lease, holder: LeaseObserver, *, confirm: bool = False) -> None:
        self.kept[lease.pool, lease.address] = lease
        self._holders[lease.pool, lease.address] = holder
        if confirm:
            self.confirmed.append(lease.address)

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address, *, at: datetime) -> Lease:
        return Lease(pool=pool.id, address=address, endpoint=endpoint, acquired_at=at)

    def rename(self, lease: Lease, name: str) -> Lease:
        return replace(lease, endpoint=replace(lease.endpoint, name=name), hostname=name)

    def forget(self, lease: Lease) -> None:
        self.kept.pop((lease.pool, lease.address), None)

    async def free(self, lease: Lease) -> None:
        await asyncio.sleep(self.free_takes)
        if self.free_fails is not None:
            raise self.free_fails
        key = (Pool.parse(lease.pool).subnet, lease.address)
        if self.bindings.get(key) == lease.client_id:
            del self.bindings[key]
        self.kept.pop((lease.pool, lease.address), None)
        self.freed.append(lease.address)

    async def aclose(self) -> None:
        self.is_closed = True

    def silences(self) -> dict[str, str]:
        return self.silent

    # What a test makes the server do

    def renews(self, address: str, *, kind: EventKind = EventKind.RENEWED) -> Lease:
        """The server confirms the lease that is kept of ``address``."""
        (key,) = (key for key in self.kept if key[1] == IPv4Address(address))
        now = self._clock()
        lease = replace(self.kept[key], bound_at=now, expires_at=now + self.lease_time)
        self.kept[key] = lease
        self._holders[key].changed(lease, kind, "")
        return lease

    def _client(self, endpoint: Endpoint) -> bytes:
        return endpoint.name.encode() if self._by_name and endpoint.name else endpoint.mac

    def _choose(
        self,
        pool: Pool,
        client: bytes,
        wish: Address | None,
        judge: Judge,
    ) -> Address | None:
        def is_free(address: Address) -> bool:
            holder = self.bindings.get((pool.subnet, address), client)
            return holder == client and judge(address).is_free and not pool.is_edge(address)

        if wish is not None and is_free(wish):
            return wish
        own = [
            address
            for (subnet, address), holder in self.bindings.items()
            if subnet == pool.subnet and holder == client
        ]
        candidates = [*own, *pool.assignable]
        return next(
            (each for each in candidates if each in pool.assignable and is_free(each)), None
        )


class FakeNeighbours:
    """The wire: who answers for which address, and why nobody can be asked."""

    def __init__(self) -> None:
        self.answers: dict[str, MacAddress] = {}
        self.asked: list[str] = []
        self.unasked = ""
        self.takes = 0.0

    async def who_has(self, pool: Pool, address: Address) -> MacAddress | None:
        if self.unasked:
            raise NotAsked(self.unasked)
        self.asked.append(str(address))
        await asyncio.sleep(self.takes)
        return self.answers.get(str(address))


class RecordingEvents:
    def __init__(self) -> None:
        self.all: list[LeaseEvent] = []

    def record(self, event: LeaseEvent) -> None:
        self.all.append(event)

    @property
    def told(self) -> list[tuple[str, str]]:
        """What happened to which address, in short."""
        return [(event.kind.value, str(event.address)) for event in self.all]


class FailingStore:
    """A store that is away while ``is_away``, or for writes of one kind only."""

    def __init__(self, store: MemoryLeaseStore | None = None) -> None:
        self.inner = store or MemoryLeaseStore()
        self.is_away = False
        self.away_for: set[str] = set()
        """Names of methods that fail."""
        self.breaks_for: set[str] = set()
        """Names of methods that raise what nobody thought of."""
        self.takes = 0.0
        self.writes: list[str] = []

    def as_it_is_now(self) -> "FailingStore":
        """A copy that what is written to this one from now on does not reach."""
        copy = FailingStore(deepcopy(self.inner))
        copy.is_away, copy.away_for, copy.takes = self.is_away, self.away_for, self.takes
        return copy

    async def load(self, owner: str) -> StoreContents:
        await self.reach("load")
        return await self.inner.load(owner)

    async def count(self, owner: str) -> int:
        await self.reach("count")
        return await self.inner.count(owner)

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        await self.reach("save_pool")
        await self.inner.save_pool(record, owner)

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        await self.reach("add")
        return await self.inner.add(lease, unless_held=unless_held)

    async def update(self, lease: Lease) -> None:
        await self.reach("update")
        await self.inner.update(lease)

    async def remove(self, lease: Lease) -> bool:
        await self.reach("remove")
        return await self.inner.remove(lease)

    async def reserve(self, reservation: Reservation) -> bool:
        await self.reach("reserve")
        return await self.inner.reserve(reservation)

    async def unreserve(self, segment: str, address: Address) -> Reservation | None:
        await self.reach("unreserve")
        return await self.inner.unreserve(segment, address)

    async def reserved(self, segment: str) -> ReservationSet:
        self._refuse_away("reserved")
        return await self.inner.reserved(segment)

    async def reservations(self) -> tuple[Reservation, ...]:
        self._refuse_away("reservations")
        return await self.inner.reservations()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def reach(self, method: str) -> None:
        if self.takes:
            await asyncio.sleep(self.takes)
        self._refuse_away(method)
        self.writes.append(method)

    def _refuse_away(self, method: str) -> None:
        if self.is_away or method in self.away_for:
            raise StoreAway("the store is away")
        if method in self.breaks_for:
            raise RuntimeError("unable to perform operation; the handler is closed")


LINK_DOWN = LinkDown("eth0: can't send: Network is down (ENETDOWN)")

"""The verbs of Docker's IPAM protocol, on pools, reservations and leases.

Docker repeats itself, asks again after a crash, forgets to tell, and never tells twice. So every
verb may be repeated; what is handed out is in the store before Docker hears of it; and a pool that
nobody remembers is rebuilt from its id.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

from d4d.domain.errors import (
    AddressInUse,
    BadRequest,
    LinkDown,
    NoAddress,
    PoolOverlap,
    StoreUnavailable,
    Superseded,
    UnknownPool,
)
from d4d.domain.giving_back import GivingBack
from d4d.domain.holdings import Holdings, is_held, is_live
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pools import (
    Address,
    Network,
    Pool,
    PoolId,
    PoolRecord,
    PoolRequest,
    Purpose,
    parse_address,
)
from d4d.domain.ports import Allocator, Clock, Event, EventKind, Events, LeaseStore
from d4d.domain.write_behind import WriteBehind

_BARE_ADDRESS = re.compile(r"[0-9.]+")


class Ipam:
    """The driver: what Docker asks, and what becomes of it."""

    def __init__(
        self,
        *,
        store: LeaseStore,
        allocators: Mapping[str, Allocator],
        default_allocator: str,
        events: Events,
        clock: Clock,
        owner: str,
        hold: timedelta = timedelta(0),
        subnet_at: Callable[[Address], Network | None] = lambda _: None,
    ) -> None:
        """``subnet_at`` finds this host's subnet of a network address, for the seed's pool ids."""
        self._store = store
        self._allocators = allocators
        self._default_allocator = default_allocator
        self._events = events
        self._clock = clock
        self._owner = owner
        self._subnet_at = subnet_at
        self._pools: dict[PoolId, Holdings] = {}
        self._aliases: dict[str, PoolId] = {}
        self._compared: set[tuple[PoolId, tuple[IPv4Address, ...]]] = set()
        self._opening = asyncio.Lock()
        self._writes = WriteBehind(store, owner, on_superseded=self._disown)
        self._giving_back = GivingBack(give_back=self._give_back, clock=clock, hold=hold)

    async def open(self) -> None:
        """Take up what the store holds: pools, leases with their timers, releases still to send."""
        contents = await self._store.load(self._owner)
        for record in contents.pools:
            self._pools[record.pool.id] = Holdings(record)
        for lease in sorted(contents.leases, key=lambda lease: lease.generation):
            self._holdings(lease.pool).put(lease)
        for holdings in self._pools.values():
            for lease in holdings.leases():
                if is_live(lease):
                    self._allocator(holdings.pool).keep(lease, self)
                elif is_held(lease):
                    self._giving_back.add(lease)
        self._giving_back.start()

    async def aclose(self) -> None:
        """Stop. Nothing is released: the containers go on using their addresses."""
        await self._giving_back.aclose()
        await self._writes.aclose()

    # Pools

    async def request_pool(self, request: PoolRequest) -> Pool:
        """The pool for ``request``, used by one network more.

        Raises BadRequest, PoolOverlap, NoAddress where subnet or gateway can't be learnt.
        """
        allocator = self._allocator_named(request.options.allocator)
        pool = await allocator.open(request)
        async with self._opening:
            holdings = self._alike(pool)
            if holdings is None:
                self._refuse_overlap(pool)
                holdings = self._holdings(pool.id)
            users = holdings.users + 1
            await self._store.save_pool(replace(holdings.record, users=users), self._owner)
            holdings.users = users
        return holdings.pool

    async def release_pool(self, pool_id: str) -> None:
        """One network less uses the pool; with the last one its reservations go.

        Leases stay: they go when Docker releases them, or when their containers prove to be gone.
        An unknown pool is no error.
        """
        holdings = self._find(pool_id)
        if holdings is None:
            return
        async with self._opening:
            holdings.users = max(holdings.users - 1, 0)
            if not holdings.users:
                holdings.clear_reservations()
            await self._writes.pool(holdings.record)

    # Reservations

    async def request_gateway(self, pool_id: str, address: Address | None) -> str:
        """Reserve the network's gateway; without ``address`` it is the DHCP server's router.

        Returns it in CIDR. Raises UnknownPool, BadRequest, AddressInUse, NoAddress.
        """
        holdings = await self._known(pool_id)
        address = address or holdings.pool.gateway or await self._learn_gateway(holdings.pool)
        lease = holdings.lease(address)
        if lease is not None:
            raise AddressInUse(f"gateway {address} is leased to {lease.endpoint}: choose another")
        return await self._reserve(holdings, address, Purpose.GATEWAY)

    async def request_auxiliary(self, pool_id: str, address: Address) -> str:
        """Reserve an auxiliary address, or answer for a container's that Docker replays.

        Returns it in CIDR. Raises UnknownPool, BadRequest.
        """
        holdings = await self._known(pool_id)
        if holdings.lease(address) is not None:
            return holdings.pool.cidr(address)
        return await self._reserve(holdings, address, Purpose.AUXILIARY)

    # Endpoints

    async def request_address(
        self, pool_id: str, endpoint: Endpoint, address: Address | None
    ) -> str:
        """A lease for ``endpoint``: the one it has, or a new one, of ``address`` if given.

        Returns it in CIDR, once it is durable. Raises UnknownPool, BadRequest, AddressInUse,
        NoAddress, LinkDown, StoreUnavailable.
        """
        holdings = await self._known(pool_id)
        if address is not None:
            self._refuse_unusable(holdings, endpoint, address)
        async with holdings.turn(endpoint):
            lease = await self._again(holdings, endpoint, address)
            if lease is None:
                lease = await self._allocate(holdings, endpoint, address)
        return holdings.pool.cidr(lease.address)

    async def release_address(self, pool_id: str, address: Address) -> None:
        """Docker has no use for the address any more; what is unknown is no error.

        A lease is marked in the store, and the server is told behind the answer.
        """
        holdings = self._find(pool_id)
        if holdings is None:
            return
        lease = holdings.lease(address)
        if lease is not None:
            await self._release(holdings, lease)
        elif holdings.unreserve(address):
            await self._writes.pool(holdings.record)

    # What Docker's API tells, outside of its calls

    @property
    def pools(self) -> list[PoolRecord]:
        """Every pool that a network uses, or of which leases are held."""
        return [holdings.record for holdings in self._pools.values() if holdings.is_used]

    @property
    def leases(self) -> list[Lease]:
        """Every lease in any state, the freed ones that are remembered included."""
        return [lease for holdings in self._pools.values() for lease in holdings.leases()]

    def current(self, lease: Lease) -> Lease | None:
        """What became of ``lease``; None where Docker uses it no more, or it was got anew."""
        holdings = self._pools.get(lease.pool)
        now = holdings.lease(lease.address) if holdings else None
        return now if now is not None and now.generation == lease.generation else None

    async def adopt_pool(self, request: PoolRequest, reserved: Mapping[Address, Purpose]) -> PoolId:
        """The pool of a network that Docker has, as it was before our store was lost.

        Raises what ``request_pool`` does.
        """
        pool = await self._allocator_named(request.options.allocator).open(request)
        holdings = self._alike(pool)
        if holdings is None:
            self._refuse_overlap(pool)
            holdings = self._holdings(pool.id)
            holdings.users = 1
            for address, purpose in reserved.items():
                holdings.reserve(address, purpose)
            await self._store.save_pool(holdings.record, self._owner)
        return holdings.pool.id

    async def adopt(
        self, pool_id: PoolId, endpoint: Endpoint, address: Address, *, named: bool
    ) -> None:
        """Take up the lease of a running container that we know nothing of, and confirm it.

        ``named`` says whether its engine gave its name when it asked, which its client id tells.
        """
        holdings = await self._known(pool_id)
        async with holdings.turn(endpoint):
            if holdings.lease(address) is not None or address not in holdings.pool:
                return
            if holdings.reservation(address) is not None:
                return
            asked = endpoint if named else replace(endpoint, name=None)
            lease = self._allocator(holdings.pool).adopt(holdings.pool, asked, address)
            stored = await self._store.add(replace(lease, owner=self._owner))
            replaced = holdings.latest(address)
            if replaced is not None:
                self._giving_back.discard(replaced)
            holdings.put(stored)
            self._allocator(holdings.pool).keep(stored, self, confirm=True)
            self.note(EventKind.ADOPTED, stored, "in use by a container, but not in the store")

    async def name(self, lease: Lease, name: str) -> None:
        """The container of ``lease`` has this name, which its engine did not give."""
        current = self.current(lease)
        if current is None or current.endpoint.name is not None:
            return
        holdings = self._holdings(current.pool)
        named = self._allocator(holdings.pool).rename(current, name)
        holdings.put(named)
        self._writes.add(named)

    async def give_up(self, lease: Lease, reason: str) -> None:
        """Release a lease without Docker asking: its container is gone, or an operator says so."""
        current = self.current(lease)
        if current is not None:
            await self._release(self._holdings(current.pool), current, reason)

    async def forget_freed(self, age: timedelta) -> None:
        """Forget freed addresses whose containers did not come back within ``age``."""
        for holdings in tuple(self._pools.values()):
            for lease in holdings.leases():
                freed_for = self._clock() - (lease.released_at or lease.acquired_at)
                if lease.state is LeaseState.FREED and freed_for > age:
                    await self._store.remove(lease)
                    if holdings.latest(lease.address) is lease:
                        holdings.discard(lease.address)

    # What the allocators tell

    def changed(self, lease: Lease, kind: EventKind, detail: str) -> None:
        """Take in what became of a lease that is kept alive (ports.Holder)."""
        holdings = self._pools.get(lease.pool)
        current = holdings.latest(lease.address) if holdings else None
        if holdings is None or current is None or current.generation != lease.generation:
            return
        if is_live(current):
            holdings.put(lease)
        else:  # held over its release: its times are news, its state is not
            lease = replace(lease, state=current.state, released_at=current.released_at)
            holdings.put(lease)
        self.note(kind, lease, detail)
        if kind is not EventKind.LATE:
            self._writes.add(lease)

    def note(self, kind: EventKind, lease: Lease, detail: str) -> None:
        """Let it be known that this happened to ``lease``."""
        event = Event(
            kind=kind,
            at=self._clock(),
            pool=lease.pool,
            address=lease.address,
            endpoint=lease.endpoint,
            detail=detail,
        )
        self._events.record(event)

    # Within

    async def _again(
        self, holdings: Holdings, endpoint: Endpoint, address: Address | None
    ) -> Lease | None:
        """The lease that ``endpoint`` has already, or gave back a moment ago; None without one."""
        lease = holdings.of_mac(endpoint.mac)
        if lease is not None and is_live(lease):
            other = lease.endpoint.name
            if endpoint.name and other and other != endpoint.name:
                raise AddressInUse(
                    f"MAC {endpoint.mac} of {endpoint.name} is {other}'s, which has "
                    f"{lease.address} by it: give one of them another --mac-address"
                )
            if address in (None, lease.address):
                return lease
            raise AddressInUse(
                f"{endpoint} has {lease.address} in {holdings.pool.subnet}, and can't have "
                f"{address} at the same time: release {lease.address} first"
            )
        lease = lease or holdings.of_name(endpoint.name)
        if lease is None or lease.state is not LeaseState.RELEASED:
            return None
        if address not in (None, lease.address) or self._has_expired(lease):
            return None
        return await self._revive(holdings, lease, endpoint)

    async def _revive(self, holdings: Holdings, lease: Lease, endpoint: Endpoint) -> Lease | None:
        """Take back a lease whose release the server has not heard of."""
        same_mac = lease.endpoint.mac == endpoint.mac
        revived = replace(lease, endpoint=endpoint, state=LeaseState.BOUND, released_at=None)
        self._giving_back.discard(lease)
        try:
            await self._writes.now(revived)
        except Superseded:
            self._disown(lease)
            return None
        except StoreUnavailable:
            self._giving_back.add(lease)
            raise
        holdings.put(revived)
        self._allocator(holdings.pool).keep(revived, self, confirm=not same_mac)
        self.note(EventKind.ACQUIRED, revived, "taken back before its release was sent")
        return revived

    async def _allocate(
        self, holdings: Holdings, endpoint: Endpoint, address: Address | None
    ) -> Lease:
        allocator = self._allocator(holdings.pool)
        previous = holdings.of_name(endpoint.name) or holdings.of_mac(endpoint.mac)
        lease = await allocator.allocate(
            holdings.pool,
            endpoint,
            address=address,
            hint=previous.address if previous else None,
            taken=holdings.taken_by_others(endpoint),
        )
        stored = lease if lease.generation else await self._add(allocator, lease)
        replaced = holdings.latest(lease.address)
        if replaced is not None:
            self._giving_back.discard(replaced)
        holdings.put(stored)
        allocator.keep(stored, self)
        self.note(EventKind.ACQUIRED, stored, "")
        self._compare_router(holdings, stored)
        return stored

    async def _add(self, allocator: Allocator, lease: Lease) -> Lease:
        """Store a new lease, or give it back: Docker won't hear of it then."""
        lease = replace(lease, owner=self._owner)
        try:
            return await self._store.add(lease)
        except BaseException:
            with suppress(LinkDown):  # then the lease runs out by itself
                await allocator.free(lease)
            raise

    def _compare_router(self, holdings: Holdings, lease: Lease) -> None:
        """Report a router of the server's that is not the network's gateway, once for each."""
        routers = lease.terms.routers if lease.terms else ()
        if not routers or any(holdings.is_gateway(router) for router in routers):
            return
        if (holdings.pool.id, routers) not in self._compared:
            self._compared.add((holdings.pool.id, routers))
            named = ", ".join(map(str, routers))
            detail = f"the DHCP server names router {named}, which is not the network's gateway"
            self.note(EventKind.MISMATCH, lease, detail)

    async def _release(self, holdings: Holdings, lease: Lease, reason: str = "") -> None:
        released = replace(lease, state=LeaseState.RELEASED, released_at=self._clock())
        holdings.put(released)
        try:
            await self._writes.now(released)
        except StoreUnavailable:
            self._writes.add(released)  # Docker never asks twice: the release must not be lost
        except Superseded:
            self._disown(released)
        latest = holdings.latest(lease.address)
        if latest is not None and _is_released(latest, lease.generation):
            self._giving_back.add(latest, reason)

    async def _give_back(self, lease: Lease, reason: str) -> None:
        """Tell the server of a release, and remember the address for its container's return."""
        holdings = self._holdings(lease.pool)
        async with holdings.turn(lease.endpoint):  # its container must not come back meanwhile
            current = holdings.latest(lease.address)
            if current is None or not _is_released(current, lease.generation):
                return
            if self._clock() < self._giving_back.due(current):
                self._giving_back.add(current, reason)  # renewed meanwhile: it is held on
                return
            await self._allocator(holdings.pool).free(current)
            current = holdings.latest(lease.address)
            if current is None or not _is_released(current, lease.generation):
                return
            self._giving_back.discard(current)
            freed = replace(current, state=LeaseState.FREED)
            holdings.put(freed)
            self.note(EventKind.RELEASED, freed, reason)
            self._writes.add(freed)

    def _disown(self, lease: Lease) -> None:
        """Another host has the address by now, as the store says: let go without a word."""
        holdings = self._pools.get(lease.pool)
        current = holdings.latest(lease.address) if holdings else None
        if holdings is None or current is None or current.generation != lease.generation:
            return
        self._giving_back.discard(current)
        self._allocator(holdings.pool).forget(current)
        holdings.discard(current.address)
        if is_live(current):
            self.note(EventKind.LOST, current, "another host has it in the store by now")

    async def _reserve(self, holdings: Holdings, address: Address, purpose: Purpose) -> str:
        self._refuse_outside(holdings.pool, address)
        holdings.reserve(address, purpose)
        try:
            await self._store.save_pool(holdings.record, self._owner)
        except StoreUnavailable:
            holdings.unreserve(address)
            raise
        return holdings.pool.cidr(address)

    async def _learn_gateway(self, pool: Pool) -> Address:
        request = PoolRequest(subnet=pool.subnet, range=pool.range, options=pool.options)
        learnt = await self._allocator(pool).open(request)
        if learnt.gateway is None:
            raise NoAddress(
                f"no DHCP server on {pool.options.parent or 'the way to it'} named a router of "
                f"{pool.subnet}: give the network's gateway with --gateway"
            )
        return learnt.gateway

    def _refuse_unusable(self, holdings: Holdings, endpoint: Endpoint, address: Address) -> None:
        self._refuse_outside(holdings.pool, address)
        holder = holdings.who_has(address, but=endpoint)
        if holder is not None:
            raise AddressInUse(f"{address} is {holder}: choose an address that is free")

    def _refuse_outside(self, pool: Pool, address: Address) -> None:
        if address not in pool:
            raise BadRequest(f"{address} is not in the pool's subnet {pool.subnet}")
        if pool.is_edge(address):
            raise BadRequest(
                f"{address} is the network or broadcast address of {pool.subnet}: "
                f"no host may have it"
            )

    def _refuse_overlap(self, pool: Pool) -> None:
        for holdings in self._pools.values():
            if holdings.is_used and holdings.pool.overlaps(pool):
                where = f" on {pool.options.parent}" if pool.options.parent else ""
                raise PoolOverlap(
                    f"{pool.id} overlaps {holdings.pool.id}{where}, which another network uses: "
                    f"use the same --subnet, --ip-range and --ipam-opt to share the pool, or "
                    f"another subnet or parent"
                )

    def _alike(self, pool: Pool) -> Holdings | None:
        """The pool that another network has by the same request, whatever the router was then."""
        for holdings in self._pools.values():
            if holdings.is_used and replace(holdings.pool, gateway=pool.gateway) == pool:
                return holdings
        return None

    def _find(self, pool_id: str) -> Holdings | None:
        """The pool of that id, or one that differs by the router that was learnt for it."""
        holdings = self._pools.get(self._aliases.get(pool_id, PoolId(pool_id)))
        if holdings is None:
            try:
                holdings = self._alike(self._parse(pool_id))
            except BadRequest:
                return None
            if holdings is not None:
                self._aliases[pool_id] = holdings.pool.id
        return holdings

    async def _known(self, pool_id: str) -> Holdings:
        """The pool of that id, rebuilt from it if nobody remembers. Raises UnknownPool."""
        holdings = self._find(pool_id)
        if holdings is None:
            try:
                pool = self._parse(pool_id)
                self._allocator(pool)
            except BadRequest as error:
                raise UnknownPool(
                    f"pool id {pool_id!r} is none of ours ({error}): remove the network and "
                    f"create it again"
                ) from error
            holdings = self._holdings(pool.id)
            self._aliases[pool_id] = pool.id
            holdings.users = 1
            await self._store.save_pool(holdings.record, self._owner)
        return holdings

    def _parse(self, pool_id: str) -> Pool:
        """The pool that an id prints; the seed printed the bare network address."""
        if _BARE_ADDRESS.fullmatch(pool_id):
            subnet = self._subnet_at(parse_address(pool_id, what="pool id"))
            if subnet is not None:
                return Pool(subnet=subnet)
        return Pool.parse(pool_id)

    def _holdings(self, pool_id: PoolId) -> Holdings:
        holdings = self._pools.get(pool_id)
        if holdings is None:
            holdings = Holdings(PoolRecord(pool=Pool.parse(pool_id), users=0))
            self._pools[pool_id] = holdings
        return holdings

    def _allocator(self, pool: Pool) -> Allocator:
        return self._allocator_named(pool.options.allocator)

    def _allocator_named(self, name: str | None) -> Allocator:
        name = name or self._default_allocator
        allocator = self._allocators.get(name)
        if allocator is None:
            known = ", ".join(sorted(self._allocators))
            raise BadRequest(f"unknown allocator {name!r}: known are {known}")
        return allocator

    def _has_expired(self, lease: Lease) -> bool:
        return lease.expires_at is not None and lease.expires_at <= self._clock()


def _is_released(lease: Lease, generation: int) -> bool:
    return lease.generation == generation and lease.state is LeaseState.RELEASED

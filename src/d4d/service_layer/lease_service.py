"""The life of leases: allocated, stored, kept alive, released, remembered; adopted when lost.

What is handed out is in the store first. What Docker tells once is never lost, though the store be
away. A lease's container, its server and another host may all speak of it at the same time: owner
and generation tell which of them is late.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address

from d4d.domain.addressing import Address
from d4d.domain.errors import AddressInUse, D4DError, StoreUnavailable, Superseded
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint, Lease, LeaseState
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import PoolId
from d4d.domain.ports.allocator import Allocator
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import EventSink
from d4d.domain.ports.hosts import NameRegistry
from d4d.domain.ports.stores import LeaseStore, ReservationStore, StoreContents
from d4d.domain.segments import segment_of
from d4d.service_layer.concurrency.keyed_lock import KeyedLock, KeyedLocks
from d4d.service_layer.concurrency.patience import patiently
from d4d.service_layer.concurrency.supervised_task import its_own, report_failure
from d4d.service_layer.pool_registry import PoolRegistry
from d4d.service_layer.release_queue import ReleaseQueue
from d4d.service_layer.write_behind import WAIT, WriteBehind

_AT_ONCE = timedelta(seconds=2)
"""A release that is sent so soon after it was stored needs no second look at the store."""
_UNANSWERED = timedelta(minutes=2)
"""Longer than any server is waited for: an older record is of a lease that was granted."""


class LeaseService:
    """Every lease of this host."""

    def __init__(
        self,
        *,
        pools: PoolRegistry,
        store: LeaseStore,
        events: EventSink,
        clock: Clock,
        owner: str,
        hold: timedelta,
        names: NameRegistry | None,
        reservations: ReservationStore | None = None,
    ) -> None:
        """``names`` are those that hosts share, if they do."""
        self._reservations = reservations
        self._pools = pools
        self._store = store
        self._events = events
        self._clock = clock
        self._owner = owner
        self._names = names
        self._turns = KeyedLocks()
        self._compared: set[tuple[PoolId, tuple[IPv4Address, ...]]] = set()
        self._giving_back = ReleaseQueue(give_back=self._give_back, clock=clock, hold=hold)
        self.writes = WriteBehind(store, owner, on_superseded=self._settle)
        """What is stored behind."""

    def open(self, leases: tuple[Lease, ...]) -> None:
        """Take up stored leases with their timers, and the releases still to send.

        A lease may be stored before its server grants it, and D4D killed in between. Such a record
        is among the newest, so these are confirmed.
        """
        for lease in sorted(leases, key=lambda lease: lease.generation):
            self._pools.at(lease.pool).put(lease)
        newest = max((lease.acquired_at for lease in leases), default=self._clock())
        for lease in self.leases:
            if lease.is_live:
                is_young = lease.bound_at == lease.acquired_at > newest - _UNANSWERED
                with its_own(f"taking up {lease.address}"):
                    self._allocator(lease).keep(lease, self, confirm=is_young)
            elif lease.is_held:
                self._giving_back.add(lease)
        self._giving_back.start()

    async def compare(self, contents: StoreContents) -> None:
        """Hold what is held here against what the store holds, after nobody heard of this host.

        Raises StoreUnavailable.
        """
        stored = {(lease.pool, lease.address): lease for lease in contents.leases}
        for lease in self.leases:
            kept = stored.get((lease.pool, lease.address))
            same = kept is not None and kept.generation == lease.generation and kept.is_held
            if lease.is_held and not same:
                await self._settle(lease, was_drained=kept is not None)
        records = {record.pool.id: record for record in contents.pools}
        for holdings in self._pools:
            if holdings.users and records.get(holdings.pool.id) != holdings.record:
                await self.writes.pool(holdings.record)

    async def aclose(self) -> None:
        """Stop. Nothing is released: the containers go on using their addresses."""
        await self._giving_back.aclose()
        await self.writes.aclose()

    @property
    def leases(self) -> list[Lease]:
        """Every lease in any state, the freed ones that are remembered included."""
        return [lease for holdings in self._pools for lease in holdings.leases()]

    def current(self, lease: Lease) -> Lease | None:
        """What became of ``lease``; None where Docker uses it no more, or it was got anew."""
        _, now = self._known(lease)
        return now if now is not None and now.is_live else None

    # Docker's wishes

    async def request(
        self, holdings: PoolState, endpoint: Endpoint, address: Address | None
    ) -> Lease:
        """The lease that ``endpoint`` has, or a new one, of ``address`` if given: durable.

        Raises AddressInUse, NoAddress, LinkDown, StoreUnavailable.
        """
        async with self._turn(holdings, endpoint):
            lease = await patiently(self._again, holdings, endpoint, address)
            return lease or await self._allocate(holdings, endpoint, address)

    async def release(self, holdings: PoolState, lease: Lease, reason: str = "") -> None:
        """Docker has no use for ``lease``: the server is told behind the answer.

        ``reason`` is why, where it was not Docker's wish.
        """
        released = lease.given_back(self._clock())
        holdings.put(released)
        is_settled = False
        try:
            async with asyncio.timeout(WAIT):
                await self._store_released(released)
            is_settled = True
        except (StoreUnavailable, TimeoutError):
            pass  # it is stored behind
        except Exception as error:  # a bug of the store's must not reach Docker, who asks once
            report_failure(error, "storing a release")
        finally:  # Docker never asks twice: whatever the store did, the release must not be lost
            latest = self._released(lease)
            if latest is not None:
                if not is_settled:
                    self.writes.add(latest)
                self._giving_back.add(latest, reason)

    async def _store_released(self, released: Lease) -> None:
        try:
            await self.writes.now(released)
        except Superseded:
            await self._settle(released)

    # What Docker's API and an operator tell

    async def adopt(
        self, holdings: PoolState, endpoint: Endpoint, address: Address, *, named: bool
    ) -> bool:
        """Take up the lease of a running container that we know nothing of, and confirm it.

        ``named`` says whether its engine gave its name when it asked, which its client id tells.
        False where the address is known, or can't be a container's. Raises AddressInUse where the
        store says that another has it.
        """
        async with self._turn(holdings, endpoint):
            if holdings.lease(address) is not None or address not in holdings.pool:
                return False
            if holdings.reservation(address) is not None:
                return False
            allocator = self._pools.allocator(holdings.pool)
            asked = endpoint if named else replace(endpoint, name=None)
            lease = allocator.adopt(holdings.pool, asked, address)
            owned = replace(lease, owner=self._owner)
            stored = await self._store.add(owned, unless_held=True)
            self._take_in(holdings, stored)
            allocator.keep(stored, self, confirm=True)
            self.note(EventKind.ADOPTED, stored, "in use by a container, but not in the store")
            return True

    async def name(self, lease: Lease, name: str) -> None:
        """The container of ``lease`` has this name: its engine did not give it, or it is new."""
        current = self.current(lease)
        if current is None or current.endpoint.name == name:
            return
        holdings = self._pools.at(current.pool)
        named = self._pools.allocator(holdings.pool).rename(current, name)
        holdings.put(named)
        self.writes.add(named)

    async def give_up(self, lease: Lease, reason: str, *, proven: bool = False) -> None:
        """Release a lease without Docker asking: its container is gone, or an operator says so.

        ``proven`` says that no container has the address. Else one may, and Docker may release it
        late, when it is another's: it is doubtful from now on.
        """
        current = self.current(lease)
        if current is None:
            return
        holdings = self._pools.at(current.pool)
        if not proven:
            holdings.claims.doubt(current.address)
            await self.writes.pool(holdings.record)
            current = self.current(current)
            if current is not None:
                await self.release(holdings, current, reason)
            return
        was_doubtful = holdings.claims.forget(current.address)
        await self.release(holdings, current, reason)  # at once: the proof is of this moment
        if was_doubtful:
            await self.writes.pool(holdings.record)

    async def forget_claims(self, is_gone: Callable[[PoolId, Address], bool]) -> None:
        """Let go of doubts about addresses without a lease, which ``is_gone`` shows to be free."""
        for holdings in self._pools:
            doubted = [each.address for each in holdings.claims.stored]
            gone = [
                address
                for address in doubted
                if holdings.lease(address) is None and is_gone(holdings.pool.id, address)
            ]
            for address in gone:
                holdings.claims.forget(address)
            if gone:
                await self.writes.pool(holdings.record)

    def answered_at(self, lease: Lease) -> datetime:
        """When Docker was last answered with the address of ``lease``."""
        again = self._pools.at(lease.pool).claims.answered_at(lease.address)
        return max(again, lease.acquired_at) if again else lease.acquired_at

    def is_given_back(self, lease: Lease) -> bool:
        """Whether Docker released it as often as it asked, and it waits for a proof."""
        return self._pools.at(lease.pool).claims.is_given_back(lease.address)

    async def forget_freed(self, age: timedelta) -> None:
        """Forget freed addresses whose containers did not come back within ``age``."""
        for holdings in self._pools:
            for lease in holdings.leases():
                freed_for = self._clock() - (lease.released_at or lease.acquired_at)
                if lease.state is LeaseState.FREED and freed_for > age:
                    await self._store.remove(lease)
                    if holdings.latest(lease.address) is lease:
                        holdings.discard(lease.address)

    # What the allocators tell

    def changed(self, lease: Lease, kind: EventKind, detail: str) -> None:
        """Take in what became of a lease that is kept alive (ports.Holder)."""
        holdings, current = self._known(lease)
        if current is None:
            return
        # held over its release: what the server says is news, what Docker does is not
        lease = replace(lease, use=current.use, released_at=current.released_at)
        holdings.put(lease)
        self.note(kind, lease, detail)
        if kind is not EventKind.LATE:
            self.writes.add(lease)

    def note(self, kind: EventKind, lease: Lease, detail: str) -> None:
        """Let it be known that this happened to ``lease``."""
        event = LeaseEvent(
            kind=kind,
            at=self._clock(),
            pool=lease.pool,
            address=lease.address,
            endpoint=lease.endpoint,
            detail=detail,
        )
        self._events.record(event)

    # Within

    def _turn(self, holdings: PoolState, endpoint: Endpoint) -> KeyedLock:
        """To be alone with this MAC and this name in its pool, within ``async with``."""
        known = filter(None, (endpoint.mac, endpoint.name))
        return self._turns.of(*((holdings.pool.id, each) for each in known))

    async def _again(
        self, holdings: PoolState, endpoint: Endpoint, address: Address | None
    ) -> Lease | None:
        """The lease that ``endpoint`` has already, or gave back a moment ago; None without one."""
        lease = holdings.of_mac(endpoint.mac)
        if lease is not None and lease.is_live:
            other = lease.endpoint.name
            if endpoint.name and other and other != endpoint.name:
                raise AddressInUse(
                    f"MAC {endpoint.mac} of {endpoint.name} is {other}'s, which has "
                    f"{lease.address} by it: give one of them another --mac-address"
                )
            if address in (None, lease.address):
                holdings.claims.answer(lease.address, self._clock(), live=True)
                await self.writes.pool(holdings.record)
                return lease
            raise AddressInUse(
                f"{endpoint} has {lease.address} in {holdings.pool.subnet}, and can't have "
                f"{address} at the same time: release {lease.address} first"
            )
        lease = lease or holdings.of_name(endpoint.name)
        if lease is None or lease.state is not LeaseState.RELEASED:
            return None
        if holdings.reservation(lease.address) is not None:
            return None
        if address not in (None, lease.address) or self._has_expired(lease):
            return None
        if await self._is_elsewhere(lease, endpoint):
            await self._free(holdings, lease, "an operator's reservation")
            return None
        return await self._revive(holdings, lease, endpoint)

    async def _is_elsewhere(self, lease: Lease, endpoint: Endpoint) -> bool:
        """Whether an operator has reserved the address for another, or another for ``endpoint``."""
        if self._reservations is None:
            return False
        reserved = await self._reservations.reserved(segment_of(lease.pool))
        own = reserved.of(endpoint)
        is_moved = own is not None and own.address != lease.address
        return is_moved or reserved.against(lease.address, endpoint) is not None

    async def _revive(self, holdings: PoolState, lease: Lease, endpoint: Endpoint) -> Lease | None:
        """Take back a lease whose release the server has not heard of."""
        same_mac = lease.endpoint.mac == endpoint.mac
        if same_mac and endpoint.name is None:
            endpoint = lease.endpoint  # its name was learnt from Docker's API, and holds
        revived = lease.taken_back(endpoint)
        self._giving_back.discard(lease)
        try:
            await self.writes.now(revived)
        except Superseded:
            self._disown(lease)
            return None
        except BaseException:  # it stays released, also where the store has heard otherwise
            latest = self._released(lease)
            if latest is not None:
                self.writes.add(latest)
                self._giving_back.add(latest)
            raise
        holdings.put(revived)
        holdings.claims.revive(revived.address, self._clock())
        if holdings.claims.is_doubtful(revived.address):
            await self.writes.pool(holdings.record)
        self._pools.allocator(holdings.pool).keep(revived, self, confirm=not same_mac)
        self.note(EventKind.ACQUIRED, revived, "taken back before its release was sent")
        return revived

    async def _allocate(
        self, holdings: PoolState, endpoint: Endpoint, address: Address | None
    ) -> Lease:
        allocator = self._pools.allocator(holdings.pool)
        previous = holdings.of_name(endpoint.name) or holdings.of_mac(endpoint.mac)
        hint = previous.address if previous else None
        if self._names is not None and endpoint.name:
            claimed = await patiently(
                self._names.claim_name, holdings.pool.id, endpoint.name, self._owner
            )
            hint = claimed or hint
        lease = await patiently(  # no server is asked twice by it: the store is asked first
            allocator.allocate,
            holdings.pool,
            endpoint,
            address=address,
            hint=hint,
            taken=holdings.taken_by_others(endpoint),
        )
        stored = lease if lease.generation else await self._add(allocator, lease)
        if self._names is not None and endpoint.name:
            await self._settle_name(self._names, stored)
        self._take_in(holdings, stored)
        is_doubtful = holdings.claims.answer(stored.address, self._clock(), live=False)
        allocator.keep(stored, self)
        self.note(EventKind.ACQUIRED, stored, "")
        self._compare_router(holdings, stored)
        if is_doubtful:
            await self.writes.pool(holdings.record)
        return stored

    async def _add(self, allocator: Allocator, lease: Lease) -> Lease:
        """Store a new lease, or give it back: Docker won't hear of it then."""
        lease = replace(lease, owner=self._owner)
        try:
            return await patiently(self._store.add, lease)
        except BaseException:
            try:
                await allocator.free(lease)
            except D4DError:  # the link is down, or its way is gone
                allocator.forget(lease)  # it runs out by itself
            raise

    async def _settle_name(self, names: NameRegistry, lease: Lease) -> None:
        """Let hosts know what this one's claim came to, or give the lease back."""
        try:
            await patiently(names.settle_name, lease)
        except BaseException:
            released = lease.given_back(self._clock())
            self._pools.at(lease.pool).put(released)
            self.writes.add(released)
            self._giving_back.add(released, "its name could not be claimed")
            raise

    def _take_in(self, holdings: PoolState, lease: Lease) -> None:
        """A new lease, in place of whatever had its address."""
        replaced = holdings.latest(lease.address)
        if replaced is not None:
            self._giving_back.discard(replaced)
            if replaced.is_live:  # its container came back with another MAC: no release was heard
                holdings.claims.doubt(lease.address)
        holdings.put(lease)

    def _compare_router(self, holdings: PoolState, lease: Lease) -> None:
        """Report a router of the server's that is not the network's gateway, once for each.

        Nor an auxiliary address: with Docker's bridge driver the gateway is the host's own.
        """
        routers = lease.terms.routers if lease.terms else ()
        if not routers or any(
            holdings.is_gateway(router) or holdings.reservation(router) for router in routers
        ):
            return
        if (holdings.pool.id, routers) not in self._compared:
            self._compared.add((holdings.pool.id, routers))
            named = ", ".join(map(str, routers))
            detail = f"the DHCP server names router {named}, which is not the network's gateway"
            self.note(EventKind.MISMATCH, lease, detail)

    async def _give_back(self, lease: Lease, reason: str) -> None:
        """Tell the server of a release, and remember the address for its container's return."""
        holdings = self._pools.at(lease.pool)
        async with self._turn(holdings, lease.endpoint):  # it must not come back meanwhile
            current = self._released(lease)
            if current is None:
                return
            if self._clock() < self._giving_back.due(current):
                self._giving_back.add(current, reason)  # renewed meanwhile: it is held on
                return
            if self._clock() - (current.released_at or current.acquired_at) > _AT_ONCE:
                try:
                    await self.writes.now(current)
                except Superseded:
                    await self._settle(current)
                    return
            await self._free(holdings, current, reason)

    async def _free(self, holdings: PoolState, lease: Lease, reason: str) -> None:
        """Tell the server of a release; within the turn of its container."""
        await self._pools.allocator(holdings.pool).free(lease)
        current = self._released(lease)
        if current is None:
            return
        self._giving_back.discard(current)
        freed = current.freed()
        holdings.put(freed)
        self.note(EventKind.RELEASED, freed, reason)
        self.writes.add(freed)

    async def _settle(self, lease: Lease, *, was_drained: bool = False) -> None:
        """The store has not this acquisition any more: it lost it, or gave it to another host.

        Raises StoreUnavailable.
        """
        holdings, current = self._known(lease)
        if current is None or not current.is_held:
            return
        try:
            stored = await self._store.add(current, unless_held=True)
        except AddressInUse:
            self._disown(current)
            return
        if self._names is not None and stored.endpoint.name:
            try:
                await self._names.settle_name(stored)
            except AddressInUse as error:
                self.note(EventKind.CONFLICT, stored, str(error))
        holdings, latest = self._known(current)
        if latest is None:  # its container got it anew while the store was asked
            await self._store.remove(stored)
            return
        regained = replace(latest, generation=stored.generation)
        holdings.put(regained)
        if latest is not current:
            self.writes.add(regained)
        if not regained.is_live:
            self._giving_back.add(regained)
            return
        allocator = self._allocator(regained)
        if was_drained:  # its server was told that it is free
            allocator.forget(regained)
        allocator.keep(regained, self, confirm=was_drained)

    def _disown(self, lease: Lease) -> None:
        """Another host has the address by now, as the store says: let go without a word."""
        holdings, current = self._known(lease)
        if current is None:
            return
        self._giving_back.discard(current)
        self._pools.allocator(holdings.pool).forget(current)
        holdings.discard(current.address)
        if current.is_live:
            self.note(EventKind.LOST, current, "another host has it in the store by now")

    def _known(self, lease: Lease) -> tuple[PoolState, Lease | None]:
        """The pool of ``lease``, and what this acquisition is now; None where it is no more."""
        holdings = self._pools.at(lease.pool)
        latest = holdings.latest(lease.address)
        same = latest is not None and latest.generation == lease.generation
        return holdings, latest if same else None

    def _released(self, lease: Lease) -> Lease | None:
        """What ``lease`` is now, if it is released and its server has not been told."""
        _, current = self._known(lease)
        return current if current and current.state is LeaseState.RELEASED else None

    def _allocator(self, lease: Lease) -> Allocator:
        return self._pools.allocator(self._pools.at(lease.pool).pool)

    def _has_expired(self, lease: Lease) -> bool:
        return lease.expires_at is not None and lease.expires_at <= self._clock()

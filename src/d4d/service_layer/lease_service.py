"""The life of leases: allocated, stored, kept alive, released, remembered; adopted when lost.

What is handed out is in the store first. What Docker tells once is never lost, though the store be
away. A lease's container, its server and another host may all speak of it at the same time: owner
and generation tell which of them is late.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Address

from d4d.domain.addressing import Address
from d4d.domain.errors import AddressInUse, D4DError, LinkDown, StoreUnavailable, Superseded
from d4d.domain.events import EventKind
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import PoolId
from d4d.domain.ports.allocator import AllocationRequest, Allocator
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.hosts import NameRegistry
from d4d.domain.ports.reservations import ReservationStore
from d4d.domain.reservations import ReservationSet
from d4d.domain.reuse import Acquire, Answer, Asked, Decision, Refuse, TakeBack, decide
from d4d.domain.segments import segment_of
from d4d.domain.stored import StoreContents
from d4d.domain.verdicts import Judge, judge
from d4d.service_layer.concurrency.keyed_lock import KeyedLock, KeyedLocks
from d4d.service_layer.concurrency.patience import patiently
from d4d.service_layer.concurrency.supervised_task import its_own, report_failure
from d4d.service_layer.ledger import Ledger
from d4d.service_layer.pool_registry import PoolRegistry
from d4d.service_layer.provisional_lease import ProvisionalLease
from d4d.service_layer.release_queue import ReleaseQueue
from d4d.service_layer.write_behind import WAIT

_AT_ONCE = timedelta(seconds=2)
"""A release that is sent so soon after it was stored needs no second look at the store."""


class LeaseService:
    """Every lease of this host."""

    def __init__(
        self,
        *,
        pools: PoolRegistry,
        ledger: Ledger,
        clock: Clock,
        hold: timedelta,
        names: NameRegistry | None,
        reservations: ReservationStore | None = None,
        honouring: Collection[str] = (),
    ) -> None:
        """``names`` are those that hosts share, if they do.

        ``honouring`` are the allocators whose store sees to reservations as it chooses.
        """
        self._honouring = honouring
        self._reservations = reservations
        self._pools = pools
        self._clock = clock
        self._names = names
        self._turns = KeyedLocks()
        self._compared: set[tuple[PoolId, tuple[IPv4Address, ...]]] = set()
        self._releases = ReleaseQueue(give_back=self._give_back, clock=clock, hold=hold)
        self._removals: set[asyncio.Task[None]] = set()
        self.ledger = ledger
        """What is held, and the only way to the store."""
        ledger.settle_by(self._restore_in_store)
        self.missing: frozenset[tuple[PoolId, Address, int]] = frozenset()
        """Leases in use of which Docker's API showed no container at the last look.

        By generation; one that Docker was answered with since is none of them.
        """
        self.quarantined: dict[tuple[PoolId, Address], str] = {}
        """Leases that nobody here can keep alive, and why: they are left alone."""

    def open(self, leases: tuple[Lease, ...]) -> None:
        """Take up stored leases, and the releases still to send.

        Nobody knows what happened while D4D was down, so each is confirmed: in turn, and paced.
        """
        for lease in sorted(leases, key=lambda lease: lease.generation):
            with its_own(f"taking up {lease.address}"):
                self._take_up(lease)
        self._releases.start()

    def _take_up(self, lease: Lease) -> None:
        if lease.use is Use.RELEASED and lease.terms is not None:
            lease = lease.doubted()  # its RELEASE may have been sent, and not stored
        try:
            allocator = self._allocator(lease)
        except D4DError as error:
            self.quarantined[lease.pool, lease.address] = str(error)
            self.ledger.note(EventKind.LATE, lease, f"nobody keeps it alive: {error}")
            return
        self._pools.at(lease.pool).put(lease)
        if lease.is_live:
            allocator.maintain(lease, self, confirm=True)
        elif lease.is_held:
            self._releases.add(lease)

    async def compare(self, contents: StoreContents) -> None:
        """Hold what is held here against what the store holds, after nobody heard of this host.

        Raises StoreUnavailable.
        """
        stored = {(lease.pool, lease.address): lease for lease in contents.leases}
        for lease in self.leases:
            kept = stored.get((lease.pool, lease.address))
            same = kept is not None and kept.generation == lease.generation and kept.is_held
            if lease.is_held and not same:
                await self._restore_in_store(lease, was_drained=kept is not None)
        records = {record.pool.id: record for record in contents.pools}
        for holdings in self._pools:
            if holdings.users and records.get(holdings.pool.id) != holdings.record:
                await self.ledger.save_pool(holdings)

    async def aclose(self) -> None:
        """Stop. Nothing is released: the containers go on using their addresses."""
        await self._releases.aclose()
        await asyncio.gather(*self._removals, return_exceptions=True)
        await self.ledger.aclose()

    @property
    def leases(self) -> list[Lease]:
        """Every lease in any state, the freed ones that are remembered included."""
        return self.ledger.leases

    def current(self, lease: Lease) -> Lease | None:
        """What became of ``lease``; None where Docker uses it no more, or it was got anew."""
        _, now = self.ledger.known(lease)
        return now if now is not None and now.is_live else None

    # Docker's wishes

    async def request(
        self, holdings: PoolState, endpoint: Endpoint, address: Address | None
    ) -> Lease:
        """The lease that ``endpoint`` has, or a new one, of ``address`` if given: durable.

        Raises AddressInUse, NoAddress, LinkDown, StoreUnavailable.
        """
        async with self._turn(holdings, endpoint):
            self._give_back_missing(holdings, endpoint)
            reserved = await self._reserved_for(holdings, endpoint)
            decision = self._decide(holdings, endpoint, address, reserved)
            if isinstance(decision, TakeBack):
                revived = await patiently(self._reclaim_released, holdings, decision, endpoint)
                if revived is not None:
                    return revived
                decision = Acquire()  # another host has it by now
            if isinstance(decision, Refuse):
                raise AddressInUse(decision.why)
            if isinstance(decision, Answer):
                self.missing -= {_key(decision.lease)}
                holdings.claims.answer(decision.lease.address, self._clock(), live=True)
                await self.ledger.save_pool(holdings)
                return decision.lease
            return await self._acquire(holdings, endpoint, address, reserved, decision)

    async def release(self, holdings: PoolState, lease: Lease, reason: str = "") -> None:
        """Docker has no use for ``lease``: the server is told behind the answer.

        ``reason`` is why, where it was not Docker's wish.
        """
        released = lease.given_back(self._clock())
        self.ledger.put(released)
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
                    self.ledger.save_soon(latest)
                self._releases.add(latest, reason)

    async def _store_released(self, released: Lease) -> None:
        try:
            await self.ledger.save(released)
        except Superseded:
            await self._restore_in_store(released)

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
            at = self.ledger.next_instant()
            lease = allocator.adopt(holdings.pool, asked, address, at=at)
            stored = await self.ledger.add(lease, unless_held=True)
            self._replace_at_address(holdings, stored)
            allocator.maintain(stored, self, confirm=True)
            self.ledger.note(
                EventKind.ADOPTED, stored, "in use by a container, but not in the store"
            )
            return True

    async def name(self, lease: Lease, name: str) -> None:
        """The container of ``lease`` has this name: its engine did not give it, or it is new."""
        current = self.current(lease)
        if current is None or current.endpoint.name == name:
            return
        holdings = self._pools.at(current.pool)
        named = self._pools.allocator(holdings.pool).rename(current, name)
        self.ledger.put(named)
        self.ledger.save_soon(named)

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
            await self.ledger.save_pool(holdings)
            current = self.current(current)
            if current is not None:
                await self.release(holdings, current, reason)
            return
        was_doubtful = holdings.claims.forget(current.address)
        await self.release(holdings, current, reason)  # at once: the proof is of this moment
        if was_doubtful:
            await self.ledger.save_pool(holdings)

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
                await self.ledger.save_pool(holdings)

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
                if lease.use is Use.FREED and freed_for > age:
                    await self.ledger.remove(lease)
                    if holdings.latest(lease.address) is lease:
                        holdings.discard(lease.address)

    # What the allocators tell

    def changed(self, lease: Lease, kind: EventKind, detail: str) -> None:
        """Take in what became of a lease that is kept alive (see ``LeaseObserver``)."""
        _, current = self.ledger.known(lease)
        if current is None:
            return
        # held over its release: what the server says is news, what Docker does is not
        lease = replace(lease, use=current.use, released_at=current.released_at)
        if kind is EventKind.LATE:
            lease = replace(lease, standing=current.standing)
        self.ledger.put(lease)
        self.ledger.note(kind, lease, detail)
        if kind is not EventKind.LATE:
            self.ledger.save_soon(lease)

    def _offered_though_in_use(self, holdings: PoolState, address: Address) -> None:
        """A server offered what a container of ours has: it forgot that, so remind it at once."""
        lease = holdings.lease(address)
        if lease is None or lease.standing is not Standing.GRANTED:
            return  # it is being asked already
        doubted = lease.doubted()
        self.ledger.put(doubted)
        self.ledger.save_soon(doubted)
        self._allocator(doubted).maintain(doubted, self, confirm=True)

    # Within

    def _turn(self, holdings: PoolState, endpoint: Endpoint) -> KeyedLock:
        """To be alone with this MAC and this name in its pool, within ``async with``."""
        known = filter(None, (endpoint.mac, endpoint.name))
        return self._turns.of(*((holdings.pool.id, each) for each in known))

    def _give_back_missing(self, holdings: PoolState, endpoint: Endpoint) -> None:
        """What the name had, if no container was seen with it since: that release was not heard."""
        lease = holdings.of_name(endpoint.name)
        if lease is None or not lease.is_live or lease.endpoint.mac == endpoint.mac:
            return
        if _key(lease) in self.missing:
            released = lease.given_back(self._clock())
            holdings.claims.doubt(lease.address)
            self.ledger.put(released)
            self.ledger.save_soon(released)
            self._releases.add(released, "its container is gone, and Docker did not say so")

    async def _reserved_for(self, holdings: PoolState, endpoint: Endpoint) -> ReservationSet:
        """What operators reserved, where that matters: who has a lease is answered without it."""
        known = (holdings.of_mac(endpoint.mac), holdings.of_name(endpoint.name))
        own = known[0]
        if own is not None and own.is_live and own.standing is not Standing.LOST:
            return ReservationSet()
        is_returning = any(each is not None and each.use is Use.RELEASED for each in known)
        if not is_returning and self._pools.allocator_name(holdings.pool) in self._honouring:
            return ReservationSet()  # its store sees to them, in the step in which it chooses
        return await patiently(self._reserved, holdings)

    async def _reserved(self, holdings: PoolState) -> ReservationSet:
        """What operators reserved where the pool is. Raises StoreUnavailable."""
        if self._reservations is None:
            return ReservationSet()
        return await self._reservations.reserved(segment_of(holdings.pool.id))

    def _decide(
        self,
        holdings: PoolState,
        endpoint: Endpoint,
        address: Address | None,
        reserved: ReservationSet,
    ) -> Decision:
        own = reserved.of(endpoint)
        return decide(
            Asked(
                endpoint=endpoint,
                address=address,
                by_mac=holdings.of_mac(endpoint.mac),
                by_name=holdings.of_name(endpoint.name),
                reserved=own.address if own else None,
                judge=self._judge(holdings, endpoint, address, reserved),
                now=self._clock(),
            )
        )

    def _judge(
        self,
        holdings: PoolState,
        endpoint: Endpoint,
        address: Address | None,
        reserved: ReservationSet,
    ) -> Judge:
        own = reserved.of(endpoint)
        asked = (address, own.address if own else None)
        return lambda each: judge(each, endpoint, holdings, reserved, asked=asked)

    async def _reclaim_released(
        self, holdings: PoolState, decision: TakeBack, endpoint: Endpoint
    ) -> Lease | None:
        """Take back a lease whose release no server has heard of; None where another has it."""
        lease = decision.lease
        same_mac = lease.endpoint.mac == endpoint.mac
        if same_mac and endpoint.name is None:
            endpoint = lease.endpoint  # its name was learnt from Docker's API, and holds
        revived = lease.taken_back(endpoint)
        self._releases.discard(lease)
        try:
            await self.ledger.save(revived)
        except Superseded:
            self._drop_silently(lease)
            return None
        except BaseException:  # it stays released, also where the store has heard otherwise
            latest = self._released(lease)
            if latest is not None:
                self.ledger.save_soon(latest)
                self._releases.add(latest)
            raise
        self.ledger.put(revived)
        self.missing -= {_key(revived)}
        holdings.claims.revive(revived.address, self._clock())
        if holdings.claims.is_doubtful(revived.address):
            await self.ledger.save_pool(holdings)
        self._pools.allocator(holdings.pool).maintain(revived, self, confirm=not same_mac)
        self.ledger.note(EventKind.ACQUIRED, revived, "taken back before its release was sent")
        return revived

    async def _acquire(
        self,
        holdings: PoolState,
        endpoint: Endpoint,
        address: Address | None,
        reserved: ReservationSet,
        decision: Acquire,
    ) -> Lease:
        """A new lease: allocated, stored, kept alive."""
        allocator = self._pools.allocator(holdings.pool)
        before = decision.instead_of
        if before is not None and decision.is_moved:
            await self._free(holdings, before, "an operator's reservation")
        judged = self._judge(holdings, endpoint, address, reserved)
        if address is not None:
            _refuse_taken(address, endpoint, judged, reserved)
        own = reserved.of(endpoint)
        request = AllocationRequest(
            pool=holdings.pool,
            endpoint=endpoint,
            at=self.ledger.next_instant(),
            owner=self.ledger.owner,
            address=address,
            reserved=own.address if own else None,
            hint=await self._claim_name(holdings, endpoint, judged) or decision.hint,
            judge=judged,
            on_forgotten=partial(self._offered_though_in_use, holdings),
        )
        if before is not None:
            allocator.forget(before)
        try:
            stored = await self._allocate(allocator, request)
        except BaseException:
            if before is not None and (current := self.current(before)) is not None:
                allocator.maintain(current, self, confirm=True)
            raise
        self._end_lost(holdings, before, stored)
        await self._hand_out(holdings, stored, request)
        return stored

    async def _hand_out(
        self, holdings: PoolState, lease: Lease, request: AllocationRequest
    ) -> None:
        """Hold a new lease, and keep it alive."""
        self._replace_at_address(holdings, lease)
        is_doubtful = holdings.claims.answer(lease.address, self._clock(), live=False)
        self._pools.allocator(holdings.pool).maintain(lease, self)
        self.ledger.note(EventKind.ACQUIRED, lease, "")
        self._compare_with_server(holdings, lease, request)
        if is_doubtful:
            await self.ledger.save_pool(holdings)

    async def _claim_name(
        self, holdings: PoolState, endpoint: Endpoint, judged: Judge
    ) -> Address | None:
        """What the name had last, on whatever host; where hosts share names, it is claimed."""
        if self._names is None or not endpoint.name:
            return None
        claim = self._names.claim_name
        last = await patiently(claim, holdings.pool.id, endpoint.name, self.ledger.owner)
        return last if last is not None and judged(last).is_free else None

    async def _allocate(self, allocator: Allocator, request: AllocationRequest) -> Lease:
        """A lease that is granted and stored, under a name that is ours."""
        provisional = ProvisionalLease(self.ledger, self._removals)
        asked = replace(request, on_offer=provisional.offered)
        try:
            # no server is asked twice by it: the store is asked first
            lease = await patiently(allocator.allocate, asked)
            stored = await self._store_granted(allocator, provisional, lease)
        finally:
            provisional.discard()
        if self._names is not None and request.endpoint.name:
            await self._settle_name(self._names, stored)
        return stored

    async def _store_granted(
        self, allocator: Allocator, provisional: ProvisionalLease, lease: Lease
    ) -> Lease:
        """Store a new lease, or give it back: Docker won't hear of it then."""
        if lease.generation:
            return lease  # its allocator stored it
        try:
            stored = await provisional.stored(lease)
            return stored if stored.generation else await patiently(provisional.add, lease)
        except BaseException:
            try:
                await allocator.free(lease)
            except D4DError:  # the link is down, or its way is gone
                allocator.forget(lease)  # it runs out by itself
            raise

    def _end_lost(self, holdings: PoolState, lost: Lease | None, new: Lease) -> None:
        """``new`` is in the place of ``lost``, which no server counts as ours any more."""
        current = self.current(lost) if lost is not None else None
        if current is None or current.address == new.address:
            return
        self._pools.allocator(holdings.pool).forget(current)
        freed = current.given_back(self._clock()).freed()
        self.ledger.put(freed)
        self.ledger.save_soon(freed)

    async def _settle_name(self, names: NameRegistry, lease: Lease) -> None:
        """Let hosts know what this one's claim came to, or give the lease back."""
        try:
            await patiently(names.settle_name, lease)
        except BaseException:
            released = lease.given_back(self._clock())
            self.ledger.put(released)
            self.ledger.save_soon(released)
            self._releases.add(released, "its name could not be claimed")
            raise

    def _replace_at_address(self, holdings: PoolState, lease: Lease) -> None:
        """A new lease, in place of whatever had its address."""
        replaced = holdings.latest(lease.address)
        if replaced is not None:
            self._releases.discard(replaced)
            if replaced.is_live:  # its container came back with another MAC: no release was heard
                holdings.claims.doubt(lease.address)
        self.ledger.put(lease)

    def _compare_with_server(
        self, holdings: PoolState, lease: Lease, request: AllocationRequest
    ) -> None:
        """Report what the server gave that is not what an operator or the network has."""
        kept = request.reserved
        if request.address is None and kept not in (None, lease.address):
            detail = f"reserved for it, but the DHCP server gave it {lease.address}"
            self.ledger.note(EventKind.MISMATCH, lease, detail, at=kept)
        self._compare_router(holdings, lease)

    def _compare_router(self, holdings: PoolState, lease: Lease) -> None:
        """Report a router of the server's that is not the network's gateway, once for each.

        Nor an auxiliary address: with Docker's bridge driver the gateway is the host's own.
        """
        routers = lease.terms.default_routers if lease.terms else ()
        if not routers or any(
            holdings.is_gateway(router) or holdings.reservation(router) for router in routers
        ):
            return
        if (holdings.pool.id, routers) not in self._compared:
            self._compared.add((holdings.pool.id, routers))
            named = ", ".join(map(str, routers))
            detail = f"the DHCP server names router {named}, which is not the network's gateway"
            self.ledger.note(EventKind.MISMATCH, lease, detail)

    async def _give_back(self, lease: Lease, reason: str) -> None:
        """Tell the server of a release, and remember the address for its container's return."""
        holdings = self._pools.at(lease.pool)
        async with self._turn(holdings, lease.endpoint):  # it must not come back meanwhile
            current = self._released(lease)
            if current is None:
                return
            if self._clock() < self._releases.due(current):
                self._releases.add(current, reason)  # renewed meanwhile: it is held on
                return
            if self._clock() - (current.released_at or current.acquired_at) > _AT_ONCE:
                try:
                    await self.ledger.save(current)
                except Superseded:
                    await self._restore_in_store(current)
                    current = self._released(lease)
                    if current is None:
                        return
            await self._free(holdings, current, reason)

    async def _free(self, holdings: PoolState, lease: Lease, reason: str) -> None:
        """Tell the server of a release; within the turn of its container."""
        allocator = self._pools.allocator(holdings.pool)
        if lease.terms is not None:
            self.ledger.put(lease.doubted())  # from now on the server may have heard of it
        try:
            if lease.standing is Standing.LOST:
                allocator.forget(lease)  # it is nobody's, or another's: there is nothing to release
            else:
                await allocator.free(lease)
        except LinkDown:  # nothing was sent
            _, current = self.ledger.known(lease)
            if current is not None and current.use is Use.RELEASED:
                self.ledger.put(replace(current, standing=lease.standing))
            raise
        current = self._released(lease)
        if current is None:
            return
        self._releases.discard(current)
        freed = current.freed()
        self.ledger.put(freed)
        self.ledger.note(EventKind.RELEASED, freed, reason)
        self.ledger.save_soon(freed)

    async def _restore_in_store(self, lease: Lease, *, was_drained: bool = False) -> None:
        """The store has not this acquisition any more: it lost it, or gave it to another host.

        Raises StoreUnavailable.
        """
        _, current = self.ledger.known(lease)
        if current is None or not current.is_held:
            return
        try:
            stored = await self.ledger.add(current, unless_held=True)
        except AddressInUse:
            self._drop_silently(current)
            return
        if self._names is not None and stored.endpoint.name:
            try:
                await self._names.settle_name(stored)
            except AddressInUse as error:
                self.ledger.note(EventKind.CONFLICT, stored, str(error))
        _, latest = self.ledger.known(current)
        if latest is None:  # its container got it anew while the store was asked
            await self.ledger.remove(stored)
            return
        regained = replace(latest, generation=stored.generation)
        self.ledger.put(regained)
        if latest is not current:
            self.ledger.save_soon(regained)
        if not regained.is_live:
            self._releases.add(regained)
            return
        allocator = self._allocator(regained)
        if was_drained:  # its server was told that it is free
            allocator.forget(regained)
        allocator.maintain(regained, self, confirm=was_drained)

    def _drop_silently(self, lease: Lease) -> None:
        """Another host has the address by now, as the store says: let go without a word."""
        holdings, current = self.ledger.known(lease)
        if current is None:
            return
        self._releases.discard(current)
        self._pools.allocator(holdings.pool).forget(current)
        self.ledger.discard(current)
        if current.is_live:
            detail = "another host has it in the store by now"
            self.ledger.note(EventKind.LOST, current, detail)

    def _released(self, lease: Lease) -> Lease | None:
        """What ``lease`` is now, if it is released and its server has not been told."""
        _, current = self.ledger.known(lease)
        return current if current and current.use is Use.RELEASED else None

    def _allocator(self, lease: Lease) -> Allocator:
        return self._pools.allocator(self._pools.at(lease.pool).pool)


def _key(lease: Lease) -> tuple[PoolId, Address, int]:
    return lease.pool, lease.address, lease.generation


def _refuse_taken(
    address: Address, endpoint: Endpoint, judged: Judge, reserved: ReservationSet
) -> None:
    """Raises AddressInUse where ``endpoint`` can't have what ``--ip`` names."""
    found = judged(address)
    if found.is_free:
        return
    if (kept := reserved.against(address, endpoint)) is not None:
        kept.refuse()
    raise AddressInUse(f"{found.why}: choose an address that is free")

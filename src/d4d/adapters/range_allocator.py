"""Addresses from the pool itself, chosen by the store: for networks without a DHCP server.

No lease runs out here, so none is kept alive. Hosts that share a store share the pool: which
address is free is decided there, in one step, and a lease is in the store when it is returned.
"""

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import Address, Subnet
from d4d.domain.errors import AddressInUse, BadRequest, NoAddress, StoreUnavailable, Superseded
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRequest
from d4d.domain.ports.allocator import AllocationRequest
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import LeaseObserver
from d4d.domain.ports.stores import RangeStore
from d4d.domain.segments import window_of
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import spawn

_RETRY = 1.0  # seconds until a store that was away is asked what became of a claim
_SETTLED = 5.0  # seconds in which a claim that was on its way to the store arrives there
_TRIES = 8  # to get an address that the caller does not turn down
_MOST_TAKEN = 4096  # addresses in a row that are passed over at once
_TICK = timedelta(microseconds=1)  # what stores keep of an instant


class RangeAllocator:
    """An Allocator over a RangeStore. Its leases have their owner and generation already."""

    def __init__(
        self,
        *,
        store: RangeStore,
        owner: str,
        clock: Clock,
        rest: timedelta = timedelta(seconds=60),
        name: str = "range",
    ) -> None:
        """``name`` is what pools call this allocator by, whatever the settings say later."""
        self._store = store
        self._owner = owner
        self._clock = clock
        self._rest = rest
        self._name = name
        self._last = datetime.min.replace(tzinfo=UTC)
        """The instant of the last attempt, which tells it from others."""
        self._doubts: list[AddressClaim] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<RangeAllocator {self._store!r} rest={self._rest} doubts={len(self._doubts)}>"

    async def open(self, request: PoolRequest) -> Pool:
        """The pool for ``request``; its gateway is the subnet's first address."""
        subnet, options = request.subnet, request.options
        if subnet is None:
            raise BadRequest(
                "the range allocator hands out addresses of a subnet, and asks no server which: "
                "create the network with --subnet"
            )
        if options.server or options.mode:
            raise BadRequest(
                "--ipam-opt server= and mode= are for DHCP: leave them out, or take the DHCP "
                "allocator with --ipam-opt allocator=dhcp"
            )
        pool = Pool(
            subnet=subnet,
            range=request.range,
            gateway=_first_host(subnet),
            options=replace(options, allocator=options.allocator or self._name),
        )
        window_of(pool)  # raises where the range has no address
        return pool

    async def allocate(self, request: AllocationRequest) -> Lease:
        """A lease that is stored. Raises NoAddress, AddressInUse, StoreUnavailable."""
        pool, address = request.pool, request.address
        if address is not None and not (found := request.judge(address)).is_free:
            raise AddressInUse(f"{found.why}: choose an address that is free")
        claim = self._claim(request)
        if pool.gateway is not None and not request.judge(pool.gateway).is_free:
            claim = replace(claim, reserved=(pool.gateway,))  # a network may have named another
        for _ in range(_TRIES):
            try:
                lease = await self._store.take(claim)
            except (StoreUnavailable, asyncio.CancelledError):
                self._doubt(claim)  # the caller's task may be given up when the store has done it
                raise
            except AddressInUse:
                if not await self._is_doubted(claim):
                    raise
                continue
            if request.judge(lease.address).is_free:
                return lease
            # The caller knows of more than the store: of a reservation that is just being made,
            # or of everything, where the store was lost.
            await self._drop(lease, claim)
            more = _taken_from(lease.address, request)
            again = replace(claim, hint=None, reserved=(*claim.reserved, *more))
            claim = replace(again, at=self._next_instant(claim.at))
        raise NoAddress(
            f"what is taken in {pool.subnet} changes too fast: {_TRIES} addresses that "
            f"{self._store!r} chose were taken by then: try again"
        )

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address, *, at: datetime) -> Lease:
        """The lease as it must have been, but for its instants. It is still to be stored."""
        request = AllocationRequest(pool=pool, endpoint=endpoint, at=at, address=address)
        return replace(self._claim(request), owner="", at=at).lease(address, generation=0)

    def rename(self, lease: Lease, name: str) -> Lease:
        """The lease under the container's name."""
        return replace(lease, endpoint=replace(lease.endpoint, name=name))

    def maintain(self, lease: Lease, observer: LeaseObserver, *, confirm: bool = False) -> None:
        """Nothing: the lease does not run out."""

    def forget(self, lease: Lease) -> None:
        """Nothing: nobody kept it alive."""

    async def free(self, lease: Lease) -> None:
        """Let the address rest, unless it is another's by now. Raises StoreUnavailable."""
        released = lease.given_back(self._clock()) if lease.is_live else lease
        with suppress(Superseded):  # whoever has the address now frees it
            await self._store.update(released.freed())

    async def aclose(self) -> None:
        """Stop. Claims that are still in doubt are in the store with their owner, or nowhere."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _claim(self, request: AllocationRequest) -> AddressClaim:
        """One attempt, which no other is taken for: also one more of the same request."""
        hint = request.reserved or request.hint
        return AddressClaim(
            pool=request.pool,
            endpoint=request.endpoint,
            owner=self._owner,
            at=self._next_instant(request.at),
            rest=self._rest,
            address=request.address,
            hint=hint if hint is not None and hint in request.pool else None,
        )

    def _next_instant(self, at: datetime) -> datetime:
        self._last = max(at, self._last + _TICK)
        return self._last

    # Claims whose outcome nobody heard of

    async def _drop(self, lease: Lease, claim: AddressClaim) -> None:
        """Remove a lease that nobody was told of."""
        try:
            await self._store.remove(lease)
        except StoreUnavailable:
            self._doubt(claim)
        except asyncio.CancelledError:
            self._doubt(claim)
            raise

    async def _is_doubted(self, claim: AddressClaim) -> bool:
        """Whether it was an earlier claim, whose answer got lost, that has the address: no more."""
        doubted = [
            each
            for each in self._doubts
            if (each.pool, each.endpoint, each.address)
            == (claim.pool, claim.endpoint, claim.address)
        ]
        await self._remove_of(doubted)
        return bool(doubted)

    def _doubt(self, claim: AddressClaim) -> None:
        """Ask the store later what became of ``claim``: its answer may have been lost."""
        self._doubts.append(claim)
        if len(self._doubts) == 1:
            self._begin(self._resolve())

    async def _resolve(self) -> None:
        """Remove what the store did for claims in doubt, and look again when all has settled."""
        while self._doubts:
            await asyncio.sleep(_RETRY)
            settled = tuple(self._doubts)
            try:
                await self._remove_of(settled)
                await asyncio.sleep(_SETTLED)
                await self._remove_of(settled)
            except StoreUnavailable as error:
                log.claims_in_doubt(claims=len(self._doubts), error=str(error))
                continue
            self._doubts = self._doubts[len(settled) :]

    async def _remove_of(self, claims: Collection[AddressClaim]) -> None:
        made = {(claim.pool.id, claim.endpoint, claim.at) for claim in claims}
        contents = await self._store.load(self._owner)
        for lease in contents.leases:
            if (lease.pool, lease.endpoint, lease.acquired_at) in made:
                await self._store.remove(lease)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = spawn(work, "claims in doubt")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _taken_from(address: Address, request: AllocationRequest) -> list[Address]:
    """``address``, and those behind it that can't be had either: a lost store knows of none."""
    taken = [address]
    while len(taken) < _MOST_TAKEN and not request.judge(taken[-1] + 1).is_free:
        if taken[-1] + 1 not in request.pool:
            break
        taken.append(taken[-1] + 1)
    return taken


def _first_host(subnet: Subnet) -> Address:
    """The lowest address that a host may have."""
    lowest = subnet.network_address
    return lowest + 1 if Pool(subnet=subnet).is_edge(lowest) else lowest

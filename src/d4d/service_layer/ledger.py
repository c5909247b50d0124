"""What this host holds, in memory and in the store: the only one that calls lease and pool stores.

What Docker is told is stored first. What Docker tells once is written behind while the store is
away. For each lease and each pool one write is in flight, in the order in which things happened.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from d4d.domain.addressing import Address
from d4d.domain.errors import Superseded
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Lease
from d4d.domain.pool_state import PoolState
from d4d.domain.pools import PoolRecord
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import EventSink
from d4d.domain.ports.stores import LeaseStore
from d4d.domain.stored import StoreContents
from d4d.service_layer.concurrency.patience import patiently
from d4d.service_layer.ordered_writes import OrderedWrites
from d4d.service_layer.pool_registry import PoolRegistry
from d4d.service_layer.write_behind import WriteBehind

_TICK = timedelta(microseconds=1)  # what stores keep of an instant


class Ledger:
    """Pools and leases of this host, and what becomes of them."""

    def __init__(
        self,
        *,
        store: LeaseStore,
        pools: PoolRegistry,
        events: EventSink,
        clock: Clock,
        owner: str,
    ) -> None:
        self.owner = owner
        self._store = store
        self._pools = pools
        self._events = events
        self._clock = clock
        self._last = datetime.min.replace(tzinfo=clock().tzinfo)
        self._ordered = OrderedWrites(store)
        self._settle: Callable[[Lease], Awaitable[None]] | None = None
        self.writes = WriteBehind(self._ordered, owner, on_superseded=self._superseded)
        """What is stored behind."""

    def __repr__(self) -> str:
        return repr(self._store)  # errors name what the operator chose

    def settle_by(self, settle: Callable[[Lease], Awaitable[None]]) -> None:
        """``settle`` finds out what became of a lease that the store has not any more.

        It raises StoreUnavailable to be asked again.
        """
        self._settle = settle

    async def _superseded(self, lease: Lease) -> None:
        assert self._settle is not None, "leases are written before their service is there"
        await self._settle(lease)

    def next_instant(self) -> datetime:
        """Now, and later than all that were given before: so it names one acquisition."""
        self._last = max(self._clock(), self._last + _TICK)
        return self._last

    # What is held

    @property
    def leases(self) -> list[Lease]:
        """Every lease in any state, the freed ones that are remembered included."""
        return [lease for state in self._pools for lease in state.leases()]

    def known(self, lease: Lease) -> tuple[PoolState, Lease | None]:
        """The pool of ``lease``, and what this acquisition is now; None where it is no more."""
        state = self._pools.at(lease.pool)
        latest = state.latest(lease.address)
        same = latest is not None and latest.generation == lease.generation
        return state, latest if same else None

    def put(self, lease: Lease) -> None:
        """Take in what became of a lease, in memory. InvariantError where it can't be so."""
        state = self._pools.at(lease.pool)
        held = state.latest(lease.address)
        assert (
            held is None
            or not held.is_live
            or held.endpoint.mac == lease.endpoint.mac
            or (held.generation != lease.generation)
        ), f"{held} would become {lease}: no two live endpoints hold one address"
        state.put(lease)

    def discard(self, lease: Lease) -> None:
        """Hold ``lease`` no longer, in memory."""
        self._pools.at(lease.pool).discard(lease.address)

    # What is stored

    async def load(self, host: str | None = None) -> StoreContents:
        """All that ``host``, or this one, stored. Raises StoreUnavailable."""
        return await self._store.load(host or self.owner)

    async def count(self, host: str) -> int:
        """How many addresses ``host`` holds. Raises StoreUnavailable."""
        return await self._store.count(host)

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        """Store a new acquisition; with its generation. Raises StoreUnavailable, AddressInUse."""
        owned = replace(lease, owner=self.owner)
        return await self._ordered.add(owned, unless_held=unless_held)

    async def save(self, lease: Lease) -> None:
        """Store what became of ``lease``. Raises StoreUnavailable, Superseded."""
        await self.writes.now(lease)

    def save_soon(self, lease: Lease) -> None:
        """Store what became of ``lease``, as soon as the store takes it."""
        self.writes.add(lease)

    async def remove(self, lease: Lease) -> bool:
        """Remove an acquisition. Raises StoreUnavailable."""
        return await self._ordered.remove(lease)

    async def save_pool(self, state: PoolState) -> None:
        """Store a pool; while the store is away, as soon as it is back."""
        await self.writes.pool(self._next_record(state))

    async def save_pool_first(self, state: PoolState, undo: Callable[[], object]) -> None:
        """Store a pool before Docker hears of it. Raises StoreUnavailable, when ``undo`` is done.

        The store may have it then, or an older state than is true by now: that is stored behind.
        """
        record = self._next_record(state)
        try:
            await patiently(self._save_pool, record)
        except BaseException:
            undo()
            self.writes.add_pool(self._next_record(state))
            raise
        if state.record != record:
            self.writes.add_pool(self._next_record(state))

    async def _save_pool(self, record: PoolRecord) -> None:
        try:
            await self._ordered.save_pool(record, self.owner)
        except Superseded:
            return  # a newer record is stored

    def _next_record(self, state: PoolState) -> PoolRecord:
        state.version += 1
        return state.record

    # Other hosts' leases, where one of them is drained

    async def update_of_another(self, lease: Lease) -> None:
        """Store what became of another host's lease. Raises StoreUnavailable, Superseded."""
        await self._ordered.update(lease)

    async def empty_pool_of(self, host: str, record: PoolRecord) -> None:
        """No network of ``host`` uses the pool. Raises StoreUnavailable."""
        empty = replace(record, users=0, version=record.version + 1)
        await self._ordered.save_pool(empty, host)

    # What is told

    def note(
        self, kind: EventKind, lease: Lease, detail: str, *, at: Address | None = None
    ) -> None:
        """Let it be known that this happened to ``lease``, or to the address ``at``."""
        event = LeaseEvent(
            kind=kind,
            at=self._clock(),
            pool=lease.pool,
            address=at or lease.address,
            endpoint=lease.endpoint,
            detail=detail,
        )
        self._events.record(event)

    async def aclose(self) -> None:
        """Store what is left, trying once."""
        await self.writes.aclose()

"""Pools and leases in this process only: for tests, and for hosts that need no memory of them."""

from collections import defaultdict
from dataclasses import replace

from d4d.adapters.stores.memory.segments import MemorySegment
from d4d.domain.address_selection import AddressClaim, freed_at, refuse_leased, select_address
from d4d.domain.addressing import Address
from d4d.domain.errors import Superseded
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolId, PoolRecord
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.segments import segment_of
from d4d.domain.stored import StoreContents


class MemoryLeaseStore:
    """A RangeStore, with Reservations and Hosts, that dies with the process.

    No change awaits anything, so each is whole.
    """

    def __init__(self) -> None:
        self._pools: dict[tuple[str, PoolId], PoolRecord] = {}
        self._leases: dict[tuple[PoolId, Address], Lease] = {}
        self._segments: defaultdict[str, MemorySegment] = defaultdict(MemorySegment)
        self._generation = 0

    def __repr__(self) -> str:
        return f"<MemoryLeaseStore pools={len(self._pools)} leases={len(self._leases)}>"

    async def load(self, owner: str) -> StoreContents:
        """Everything that ``owner`` stored."""
        return StoreContents(
            pools=tuple(record for (whose, _), record in self._pools.items() if whose == owner),
            leases=tuple(lease for lease in self._leases.values() if lease.owner == owner),
        )

    async def count(self, owner: str) -> int:
        """How many addresses ``owner`` holds."""
        return sum(lease.owner == owner and lease.is_held for lease in self._leases.values())

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """Insert or replace ``owner``'s record of a pool; one without users is removed."""
        key = owner, record.pool.id
        stored = self._pools.get(key)
        if stored is not None and stored.version > record.version:
            raise Superseded(f"a newer record of pool {record.pool.id} is stored")
        if record.users > 0:
            self._pools[key] = record
        else:
            self._pools.pop(key, None)

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        """Store a new acquisition; returns it with its generation. Raises AddressInUse."""
        stored = self._leases.get((lease.pool, lease.address))
        if stored is not None and stored.is_held and _is_same(stored, lease):
            again = replace(lease, generation=stored.generation)
            await self.update(again)
            return again
        holder = self._segment(lease).holder(lease.address)
        if unless_held and holder is not None:
            refuse_leased(lease.address, holder)
        self._generation += 1
        added = replace(lease, generation=self._generation)
        self._leases[lease.pool, lease.address] = added
        if lease.is_held:
            self._segment(lease).occupy(added)
        return added

    async def take(self, claim: AddressClaim) -> Lease:
        """Choose an address and store its lease. Raises AddressInUse, NoAddress."""
        segment = self._segments[claim.segment]
        segment.reservations = {
            address
            for record in self._pools.values()
            if segment_of(record.pool.id) == claim.segment
            for address in record.reserved
        }
        address = select_address(claim, segment)
        return await self.add(claim.lease(address, generation=0))

    async def update(self, lease: Lease) -> None:
        """Replace the lease of the same pool, address, owner, generation. Raises Superseded."""
        held, segment = self._held(lease), self._segment(lease)
        holder = segment.holder(lease.address)
        is_another = holder is not None and holder.generation != lease.generation
        is_freed = not lease.is_held
        if held is None or (not held.is_held and not is_freed and is_another):
            raise Superseded(
                f"lease {lease.address} of {lease.owner!r}, generation {lease.generation}, "
                "is not the stored one"
            )
        self._leases[lease.pool, lease.address] = lease
        if is_freed:
            segment.vacate(lease, freed_at(lease))
        elif not is_another:
            segment.occupy(lease)

    async def remove(self, lease: Lease) -> bool:
        """Remove the lease of the same pool, address, owner and generation, if there is one."""
        if self._held(lease) is None:
            return False
        del self._leases[lease.pool, lease.address]
        self._segment(lease).vacate(lease, freed_at(lease))
        return True

    async def reserve(self, reservation: Reservation) -> bool:
        """Store a reservation; returns whether a lease holds its address. Raises AddressInUse."""
        segment = self._segments[reservation.segment]
        segment.operators = segment.operators.plus(reservation)
        return segment.holder(reservation.address) is not None

    async def unreserve(self, segment: str, address: Address) -> Reservation | None:
        """Take away the reservation of ``address``, and return it."""
        operators = self._segments[segment].operators
        self._segments[segment].operators = ReservationSet(
            each for each in operators if each.address != address
        )
        return operators.at(address)

    async def reserved(self, segment: str) -> ReservationSet:
        """Those of one segment."""
        return self._segments[segment].operators

    async def reservations(self) -> tuple[Reservation, ...]:
        """Those of all segments."""
        return tuple(each for segment in self._segments.values() for each in segment.operators)

    async def aclose(self) -> None:
        """There is nothing to let go of."""

    def _segment(self, lease: Lease) -> MemorySegment:
        return self._segments[segment_of(lease.pool)]

    def _held(self, lease: Lease) -> Lease | None:
        """The stored lease that ``lease`` speaks of."""
        held = self._leases.get((lease.pool, lease.address))
        same = held is not None and (held.owner, held.generation) == (
            lease.owner,
            lease.generation,
        )
        return held if same else None


def _is_same(one: Lease, other: Lease) -> bool:
    """Whether both are one acquisition."""
    return (one.owner, one.acquired_at) == (other.owner, other.acquired_at)

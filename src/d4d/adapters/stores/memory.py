"""Pools and leases in this process only: for tests, and for hosts that need no memory of them."""

from dataclasses import replace

from d4d.domain.errors import Superseded
from d4d.domain.leases import Lease
from d4d.domain.pools import Address, PoolId, PoolRecord
from d4d.domain.ports import Contents


class MemoryLeaseStore:
    """A LeaseStore that dies with the process. No change awaits anything, so each is whole."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, PoolId], PoolRecord] = {}
        self._leases: dict[tuple[PoolId, Address], Lease] = {}
        self._generation = 0

    def __repr__(self) -> str:
        return f"<MemoryLeaseStore pools={len(self._pools)} leases={len(self._leases)}>"

    async def load(self, owner: str) -> Contents:
        """Everything that ``owner`` stored."""
        return Contents(
            pools=tuple(record for (whose, _), record in self._pools.items() if whose == owner),
            leases=tuple(lease for lease in self._leases.values() if lease.owner == owner),
        )

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """Insert or replace ``owner``'s record of a pool; one without users is removed."""
        key = owner, record.pool.id
        if record.users > 0:
            self._pools[key] = record
        else:
            self._pools.pop(key, None)

    async def add(self, lease: Lease) -> Lease:
        """Store a new acquisition; returns it with its generation."""
        self._generation += 1
        added = replace(lease, generation=self._generation)
        self._leases[lease.pool, lease.address] = added
        return added

    async def update(self, lease: Lease) -> None:
        """Replace the lease of the same pool, address, owner, generation. Raises Superseded."""
        if not self._holds(lease):
            raise Superseded(
                f"lease {lease.address} of {lease.owner!r}, generation {lease.generation}, "
                "is not the stored one"
            )
        self._leases[lease.pool, lease.address] = lease

    async def remove(self, lease: Lease) -> bool:
        """Remove the lease of the same pool, address, owner and generation, if there is one."""
        if not self._holds(lease):
            return False
        del self._leases[lease.pool, lease.address]
        return True

    async def aclose(self) -> None:
        """There is nothing to let go of."""

    def _holds(self, lease: Lease) -> bool:
        held = self._leases.get((lease.pool, lease.address))
        return (
            held is not None and held.owner == lease.owner and held.generation == lease.generation
        )

"""How full a pool is."""

from collections.abc import Iterable
from dataclasses import dataclass

from d4d.domain.holdings import is_held
from d4d.domain.leases import Lease
from d4d.domain.pools import Pool, PoolRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Addresses of a pool, counted within its range. What others lease there nobody tells us."""

    size: int
    used: int
    """Held by leases, the ones that are being given back included."""
    reserved: int

    @property
    def free(self) -> int:
        """Neither held nor reserved by us."""
        return max(self.size - self.used - self.reserved, 0)


def fill(record: PoolRecord, leases: Iterable[Lease]) -> Fill:
    """How full the pool is with ``leases``, of which those of other pools are passed over."""
    pool = record.pool
    used = {
        lease.address
        for lease in leases
        if lease.pool == pool.id and is_held(lease) and lease.address in pool.assignable
    }
    reserved = {each.address for each in record.reservations}
    if pool.gateway is not None:
        reserved.add(pool.gateway)
    reserved = {each for each in reserved if each in pool.assignable} - used
    return Fill(size=_size(pool), used=len(used), reserved=len(reserved))


def _size(pool: Pool) -> int:
    """The addresses that a host may have."""
    network = pool.assignable
    edges = {network[0], network[-1]}
    return network.num_addresses - sum(pool.is_edge(each) for each in edges)

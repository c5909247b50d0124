"""How full a pool is."""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass

from d4d.domain.addressing import Address
from d4d.domain.leases import Lease
from d4d.domain.pools import Pool, PoolId, PoolRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUtilization:
    """Addresses of a pool, counted within its range. What others lease there nobody tells us."""

    size: int
    used: int
    """Held by leases, the ones that are being given back included."""
    reserved: int
    """Gateways, auxiliary addresses and what operators reserved, while nobody has it leased."""

    @property
    def free(self) -> int:
        """Neither held nor reserved by us."""
        return max(self.size - self.used - self.reserved, 0)

    @property
    def percent(self) -> float:
        """How much of it is taken."""
        return 100 * (1 - self.free / self.size) if self.size else 100.0


class UtilizationAlert:
    """Which pools have become nearly full: each once, until it has had room again."""

    def __init__(self, percent: float) -> None:
        """A pool is nearly full from ``percent`` on, and has room below nine tenths of that."""
        self._full = percent
        self._room = 0.9 * percent
        self._told: set[PoolId] = set()

    def look(self, fills: Mapping[PoolId, PoolUtilization]) -> list[PoolId]:
        """The pools that are nearly full by now and were not before."""
        self._told = {
            pool for pool in self._told if pool in fills and fills[pool].percent >= self._room
        }
        news = [
            pool
            for pool, utilization_of in fills.items()
            if utilization_of.percent >= self._full and pool not in self._told
        ]
        self._told.update(news)
        return news


def utilization_of(
    record: PoolRecord, leases: Iterable[Lease], kept: Collection[Address] = ()
) -> PoolUtilization:
    """How full the pool is with ``leases``, of which those of other pools are passed over.

    ``kept`` is what an operator reserved there.
    """
    pool = record.pool
    used = {
        lease.address
        for lease in leases
        if lease.pool == pool.id and lease.is_held and lease.address in pool.assignable
    }
    return filled(record, used, kept)


def filled(
    record: PoolRecord, used: Set[Address], kept: Collection[Address] = ()
) -> PoolUtilization:
    """How full it is where ``used`` are the addresses of its range that leases hold."""
    pool = record.pool
    reserved = {each for each in (*kept, *record.reserved) if each in pool.assignable} - used
    return PoolUtilization(size=_size(pool), used=len(used), reserved=len(reserved))


def _size(pool: Pool) -> int:
    """The addresses that a host may have."""
    network = pool.assignable
    edges = {network[0], network[-1]}
    return network.num_addresses - sum(pool.is_edge(each) for each in edges)

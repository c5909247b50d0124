"""What a store holds of one host."""

from dataclasses import dataclass

from d4d.domain.leases import Lease
from d4d.domain.pools import PoolRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContents:
    """All that a store holds of one owner: its pools, and its leases in any state."""

    pools: tuple[PoolRecord, ...] = ()
    leases: tuple[Lease, ...] = ()

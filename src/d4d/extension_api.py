"""All that a package with an allocator or a store of its own needs of D4D.

What stands here stays: its names and meanings change with a major version only.
docs/extend/allocators-and-stores.md tells how such a package is made, and examples/d4d-table is
one. D4D itself imports nothing of here.
"""

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.address_selection import Claim, segment_of
from d4d.domain.errors import (
    AddressInUse,
    BadRequest,
    D4DError,
    LinkDown,
    NoAddress,
    PoolOverlap,
    StoreAway,
    StoreTooNew,
    StoreUnavailable,
    Superseded,
    UnknownPool,
)
from d4d.domain.leases import Endpoint, Lease, LeaseState, MacAddress, RenewalForm, Terms
from d4d.domain.pools import (
    Address,
    Mode,
    Network,
    Pool,
    PoolId,
    PoolOptions,
    PoolRecord,
    PoolRequest,
    Purpose,
    Reservation,
)
from d4d.domain.ports.allocator import (
    DRAIN,
    Allocator,
    Beat,
    Clock,
    Contents,
    Event,
    EventKind,
    Holder,
    Hosts,
    LeaseStore,
    Names,
    RangeStore,
    Reservations,
)
from d4d.domain.reservations import OperatorReservation, Reserved
from d4d.settings.model import Settings

__all__ = [
    "DRAIN",
    "Address",
    "AddressInUse",
    "Allocator",
    "BadRequest",
    "Beat",
    "Claim",
    "Clock",
    "Contents",
    "D4DError",
    "Endpoint",
    "Event",
    "EventKind",
    "Holder",
    "Hosts",
    "Lease",
    "LeaseState",
    "LeaseStore",
    "LinkDown",
    "MacAddress",
    "MemoryLeaseStore",
    "Mode",
    "Names",
    "Network",
    "NoAddress",
    "OperatorReservation",
    "Pool",
    "PoolId",
    "PoolOptions",
    "PoolOverlap",
    "PoolRecord",
    "PoolRequest",
    "Purpose",
    "RangeStore",
    "RenewalForm",
    "Reservation",
    "Reservations",
    "Reserved",
    "Settings",
    "SqliteLeaseStore",
    "StoreAway",
    "StoreTooNew",
    "StoreUnavailable",
    "Superseded",
    "Terms",
    "UnknownPool",
    "segment_of",
]

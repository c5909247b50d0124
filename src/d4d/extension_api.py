"""All that a package with an allocator or a store of its own needs of D4D.

What stands here stays: its names and meanings change with a major version only.
docs/extend/allocators-and-stores.md tells how such a package is made, and examples/d4d-table is
one. D4D itself imports nothing of here.
"""

from d4d.adapters.stores.memory.store import MemoryLeaseStore
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import Address, MacAddress, Subnet
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
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease, LeaseState, RenewalForm, Terms
from d4d.domain.policies import Mode
from d4d.domain.pools import (
    Pool,
    PoolId,
    PoolOptions,
    PoolRecord,
    PoolRequest,
    Purpose,
    ReservedAddress,
)
from d4d.domain.ports.allocator import AllocationRequest, Allocator
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.events import LeaseObserver
from d4d.domain.ports.hosts import DRAIN, HeartbeatReply, HostRegistry, NameRegistry
from d4d.domain.ports.reservations import ReservationStore
from d4d.domain.ports.stores import LeaseStore, RangeStore
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.segments import segment_of
from d4d.domain.stored import StoreContents
from d4d.domain.verdicts import Judgement, Verdict
from d4d.settings.model import Settings

__all__ = [
    "DRAIN",
    "Address",
    "AddressClaim",
    "AddressInUse",
    "AllocationRequest",
    "Allocator",
    "BadRequest",
    "Clock",
    "D4DError",
    "Endpoint",
    "EventKind",
    "HeartbeatReply",
    "HostRegistry",
    "Judgement",
    "Lease",
    "LeaseEvent",
    "LeaseObserver",
    "LeaseState",
    "LeaseStore",
    "LinkDown",
    "MacAddress",
    "MemoryLeaseStore",
    "Mode",
    "NameRegistry",
    "NoAddress",
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
    "ReservationSet",
    "ReservationStore",
    "ReservedAddress",
    "Settings",
    "SqliteLeaseStore",
    "Standing",
    "StoreAway",
    "StoreContents",
    "StoreTooNew",
    "StoreUnavailable",
    "Subnet",
    "Superseded",
    "Terms",
    "UnknownPool",
    "Use",
    "Verdict",
    "segment_of",
]

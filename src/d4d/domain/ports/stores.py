"""Where pools, leases and reservations are kept."""

from typing import Protocol

from d4d.domain.address_selection import AddressClaim
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolRecord
from d4d.domain.stored import StoreContents


class LeaseStore(Protocol):
    """Where pools and leases outlive the process.

    A write is durable when it returns. Every method raises StoreUnavailable where the store can't
    be reached; then nothing was changed.
    """

    async def load(self, owner: str) -> StoreContents:
        """Everything that ``owner`` stored."""

    async def count(self, owner: str) -> int:
        """How many addresses ``owner`` holds: by its leases in any state but FREED."""

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """Insert or replace ``owner``'s record of a pool; one without users is removed."""

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        """Store a new acquisition, over whatever held its pool and address.

        Returns the lease with its generation, higher than any before it at this store. With
        ``unless_held`` a lease that holds the address already, in any state but FREED, stays, and
        AddressInUse is raised.
        """

    async def update(self, lease: Lease) -> None:
        """Replace the stored lease of the same pool, address, owner and generation.

        Raises Superseded where there is none such.
        """

    async def remove(self, lease: Lease) -> bool:
        """Remove the stored lease of the same pool, address, owner and generation.

        False where there is none such: nothing is done then.
        """

    async def aclose(self) -> None:
        """Let go of files and connections."""


class RangeStore(LeaseStore, Protocol):
    """A store that also says which address is free, to many hosts at once.

    An address is free while no lease of its segment holds it, in any state but FREED. One whose
    lease became FREED, or was removed, rests from ``released_at`` on.
    """

    async def take(self, claim: AddressClaim) -> Lease:
        """Choose a free address for ``claim`` and store its lease, in one step for all hosts.

        Returns the lease with its generation. Raises AddressInUse, NoAddress. After
        StoreUnavailable it is not known whether the lease is stored: see ``load``.
        """

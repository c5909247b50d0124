"""Where addresses come from, and how their leases are kept. Adapters serve it by shape.

Each Protocol is one thing that an allocator does; who does all four is an Allocator. Who makes an
allocator closes it: one that has something to close has ``aclose``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from d4d.domain.addressing import Address
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRequest
from d4d.domain.ports.events import LeaseObserver
from d4d.domain.verdicts import Judge, all_free


def _nobody(_: object) -> None:
    """Who does not want to hear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRequest:
    """One container wants an address."""

    pool: Pool
    endpoint: Endpoint
    at: datetime
    """When it asked. No other acquisition of this host's has the same: it names this one."""
    owner: str = ""
    """This host."""
    address: Address | None = None
    """This one and no other."""
    reserved: Address | None = None
    """What an operator keeps for it, to be asked for first."""
    hint: Address | None = None
    """What it had before, to be asked for next."""
    judge: Judge = all_free
    """What may be taken: what is FREE. All else is passed over, and never declined for that."""
    on_offer: Callable[[Lease], None] = _nobody
    """Hears, before the server's last word, of the lease that an offer would come to."""
    on_forgotten: Callable[[Address], None] = _nobody
    """Hears of an offer of what is in use here: the server forgot whose it is."""


class PoolDiscovery(Protocol):
    """What the network says of itself."""

    async def open(self, request: PoolRequest) -> Pool:
        """The pool that serves ``request``, with what the network says of itself.

        Raises BadRequest where this allocator can't serve it.
        """


class Allocation(Protocol):
    """Addresses taken, and given back."""

    async def allocate(self, request: AllocationRequest) -> Lease:
        """A lease for the request's endpoint, with its ``at`` as ``acquired_at``.

        Its owner and generation may still be to be set. Raises NoAddress, AddressInUse, LinkDown.
        """

    async def free(self, lease: Lease) -> None:
        """Give the lease back, and keep it alive no longer. Raises LinkDown: call again then."""


class LeaseKeeping(Protocol):
    """Leases kept alive."""

    def maintain(self, lease: Lease, observer: LeaseObserver, *, confirm: bool = False) -> None:
        """Keep ``lease`` alive from now on, telling ``observer`` what becomes of it.

        With ``confirm``, ask at once whether it still is ours, also where it is kept already.
        """

    def forget(self, lease: Lease) -> None:
        """Keep ``lease`` alive no longer, and say nothing: it is another host's."""


class LeaseIdentity(Protocol):
    """What a lease's client is to whoever gave it."""

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address, *, at: datetime) -> Lease:
        """The lease that ``endpoint`` must have of ``address``, which it uses already.

        Nobody is asked: ``maintain`` confirms it.
        """

    def rename(self, lease: Lease, name: str) -> Lease:
        """The lease under the container's name, which the server hears of at once."""


class Allocator(PoolDiscovery, Allocation, LeaseKeeping, LeaseIdentity, Protocol):
    """Where a pool's addresses come from."""

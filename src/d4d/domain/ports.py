"""What the domain calls out to. Adapters serve these by shape; they do not inherit."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Address, Pool, PoolId, PoolRecord, PoolRequest
from d4d.domain.ranges import Claim
from d4d.domain.reserved import OperatorReservation, Reserved

Clock = Callable[[], datetime]
"""The present instant, aware, in UTC; it never runs backwards while the process lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that a store holds of one owner: its pools, and its leases in any state."""

    pools: tuple[PoolRecord, ...] = ()
    leases: tuple[Lease, ...] = ()


class LeaseStore(Protocol):
    """Where pools and leases outlive the process.

    A write is durable when it returns. Every method raises StoreUnavailable where the store can't
    be reached; then nothing was changed.
    """

    async def load(self, owner: str) -> Contents:
        """Everything that ``owner`` stored."""

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """Insert or replace ``owner``'s record of a pool; one without users is removed."""

    async def add(self, lease: Lease) -> Lease:
        """Store a new acquisition, over whatever held its pool and address.

        Returns the lease with its generation, higher than any before it at this store.
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

    async def take(self, claim: Claim) -> Lease:
        """Choose a free address for ``claim`` and store its lease, in one step for all hosts.

        Returns the lease with its generation. Raises AddressInUse, NoAddress. After
        StoreUnavailable it is not known whether the lease is stored: see ``load``.
        """


class Reservations(Protocol):
    """The addresses that an operator keeps for one container, or from all, on every host.

    A RangeStore that serves this too honours them in ``take``. Every method raises
    StoreUnavailable; then nothing was changed.
    """

    async def reserve(self, reservation: OperatorReservation) -> bool:
        """Store ``reservation``; returns whether a lease holds its address now.

        Raises AddressInUse where the address is reserved, or the container has one, already.
        """

    async def unreserve(self, segment: str, address: Address) -> OperatorReservation | None:
        """Take away the reservation of ``address``, and return it; None where there is none."""

    async def reserved(self, segment: str) -> Reserved:
        """Those of one segment."""

    async def reservations(self) -> tuple[OperatorReservation, ...]:
        """Those of all segments."""


class Hosts(Protocol):
    """Which hosts use the store, and when each was last heard of."""

    async def beat(self, host: str, at: datetime) -> None:
        """``host`` is alive ``at`` that instant."""

    async def beats(self) -> dict[str, datetime]:
        """When each host was last heard of. A host that holds leases and never beat is absent."""

    async def owners(self) -> list[str]:
        """Every host that ever stored a pool or a lease: ``load`` tells what it holds."""

    async def forget_host(self, host: str) -> None:
        """Forget the heartbeats of ``host``; its leases stay."""


class EventKind(Enum):
    """What happened to a lease."""

    ACQUIRED = "acquired"
    RENEWED = "renewed"
    REBOUND = "rebound"
    LATE = "late"
    LOST = "lost"
    RECOVERED = "recovered"
    RELEASED = "released"
    DECLINED = "declined"
    CONFLICT = "conflict"
    ADOPTED = "adopted"
    MISMATCH = "mismatch"
    """What the server said does not fit the network."""
    ACTED = "acted"
    """What D4D_ON_LOST asks for was done, or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to an address; ``detail`` says what an operator should know."""

    kind: EventKind
    at: datetime
    pool: PoolId
    address: Address
    endpoint: Endpoint | None = None
    detail: str = ""


class Events(Protocol):
    """Who hears of what happened."""

    def record(self, event: Event) -> None:
        """Take note of ``event``; never raises, never waits."""


class Holder(Protocol):
    """Who holds the leases that an allocator keeps alive: it hears of their changes."""

    def changed(self, lease: Lease, kind: EventKind, detail: str) -> None:
        """The lease was renewed, is late, was lost, or found again: ``kind`` tells."""


class Allocator(Protocol):
    """Where addresses come from."""

    async def open(self, request: PoolRequest) -> Pool:
        """The pool that serves ``request``, with what the network says of itself.

        Raises BadRequest where this allocator can't serve it.
        """

    async def allocate(
        self,
        pool: Pool,
        endpoint: Endpoint,
        *,
        address: Address | None,
        hint: Address | None,
        taken: Collection[Address],
    ) -> Lease:
        """A lease for ``endpoint``: of ``address`` if given, and of none that is ``taken``.

        ``hint`` is the address it had before, taken again where it is still free.
        Its owner and generation are still to be set. Raises NoAddress, AddressInUse, LinkDown.
        """

    def adopt(self, pool: Pool, endpoint: Endpoint, address: Address) -> Lease:
        """The lease that ``endpoint`` must have of ``address``, which it uses already.

        Nobody is asked: ``keep`` confirms it.
        """

    def rename(self, lease: Lease, name: str) -> Lease:
        """The lease under the container's name, which the server hears of at once."""

    def keep(self, lease: Lease, holder: Holder, *, confirm: bool = False) -> None:
        """Keep ``lease`` alive from now on, telling ``holder`` what becomes of it.

        With ``confirm``, ask at once whether it still is ours.
        """

    def forget(self, lease: Lease) -> None:
        """Keep ``lease`` alive no longer, and say nothing: it is another host's."""

    async def free(self, lease: Lease) -> None:
        """Give the lease back, and keep it alive no longer. Raises LinkDown: call again then."""

    async def aclose(self) -> None:
        """Stop keeping leases alive, without giving any back."""

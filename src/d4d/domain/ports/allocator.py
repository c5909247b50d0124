"""What the domain calls out to. Adapters serve these by shape; they do not inherit."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from d4d.domain.address_selection import Claim
from d4d.domain.leases import Endpoint, Lease, MacAddress
from d4d.domain.pools import Address, Pool, PoolId, PoolRecord, PoolRequest
from d4d.domain.reservations import OperatorReservation, Reserved

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


class Beat(Enum):
    """What a store says to a heartbeat."""

    KNOWN = "known"
    NEW = "new"
    """It knew nothing of the host: this is its first, or the store lost what it had."""
    DRAINED = "drained"
    """Another host takes back what this one holds. It will see that this one lives, and stop."""
    NAMESAKE = "namesake"
    """Another installation beats by the same name. The heartbeat does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last that a store heard of a host."""

    number: int
    """Each heartbeat of the host raises it, also one that does not count. It tells them apart."""
    at: datetime
    """By the store's clock. Only a hint: that clock may be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a store heard of all hosts."""

    at: datetime
    """When it was asked, by the store's clock."""
    beats: Mapping[str, Heartbeat]
    """Absent is a host that it never heard of, or has forgotten."""

    def age(self, host: str) -> timedelta | None:
        """How old the last heartbeat is, by the store's clock; None without one."""
        beat = self.beats.get(host)
        return None if beat is None else max(self.at - beat.at, timedelta(0))


class Hosts(Protocol):
    """Which hosts use the store, and what each was last heard of.

    A store that hosts share goes by its own clock: theirs may differ. Others go by ``now``. Every
    method raises StoreUnavailable.
    """

    async def beat(
        self, host: str, by: str, age: timedelta, now: datetime, *, instead_of: int | None = None
    ) -> Beat:
        """``host`` is alive, says installation ``by``.

        It is NAMESAKE if another installation said so within ``age``, or ever, unless its last
        heartbeat still is ``instead_of``: the number of one that ``by`` has watched for a while.
        """

    async def heard(self, now: datetime) -> Heard:
        """The last heartbeat of each host."""

    async def owners(self) -> list[str]:
        """Every host that ever stored a pool or a lease: ``load`` tells what it holds."""

    async def begin_drain(self, host: str, by: str, beat: int | None, now: datetime) -> bool:
        """Whether ``beat`` still is the last of ``host``: from now on its beats are DRAINED.

        ``beat`` is the number that ``by`` saw, None where there was none. The drain ends with
        ``forget_host`` or ``end_drain``, or DRAIN after the last such call. A host that beats
        within it ends it at the next such call, which is False then. False also where another host
        than ``by`` drains it.
        """

    async def end_drain(self, host: str, by: str) -> None:
        """``by`` drains ``host`` no longer, though it holds something yet: its next beat is NEW."""

    async def forget_host(self, host: str) -> None:
        """Forget the heartbeats of ``host``; its leases stay."""


DRAIN = timedelta(minutes=1)
"""For so long, a host that was heard of again must wait for one that drains it."""


class Neighbours(Protocol):
    """Who answers for an address on the wire of its network."""

    async def who_has(self, pool: Pool, address: Address) -> MacAddress | None:
        """The MAC that answers, whosever it is; None where all was silent.

        Raises NotAsked where nobody could be asked from here.
        """


class Names(Protocol):
    """Which host has the container of a name, where hosts share names (D4D_IDENTITY=cluster-name).

    Names are unique where addresses are: in a segment.
    """

    async def claim_name(self, pool: PoolId, name: str, owner: str) -> Address | None:
        """``owner`` is about to lease an address for ``name``; returns the one that it had last.

        Raises AddressInUse while another host has a lease for it that Docker uses, or claimed it
        within the last minute. One that Docker gave back, and that is held on, becomes FREED.
        """

    async def settle_name(self, lease: Lease) -> None:
        """``lease`` is what its owner's claim of the name came to."""


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
    DRAINED = "drained"
    """Taken back from a host that was heard of no more."""


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

"""Addresses that D4D hands out by itself: what is asked of a store, and how it chooses.

Never-used addresses go first, in their order: they have rested longest. Then goes the one that was
freed first. An address that was freed less than the rest ago goes only where nothing else is left,
as a container without an address is worse than one whose neighbours have an old ARP entry.

What is never used is told by one mark for each range, below which each address was seen once; what
was freed is kept by its time. So opening a pool costs nothing, and a choice costs the same in an
empty /30 and in a full /8.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

from d4d.domain.addressing import Address
from d4d.domain.errors import AddressInUse, NoAddress
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.segments import Window, segment_of, window_of

MOST_RESTING = 65_536
"""So many freed addresses of a range are remembered before the first of them goes before a
never-used one, if its rest is over: a /64 would fill the store otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressClaim:
    """One address is wanted for ``endpoint``."""

    pool: Pool
    endpoint: Endpoint
    owner: str
    at: datetime
    rest: timedelta
    address: Address | None = None
    """This one and no other."""
    hint: Address | None = None
    """This one if it is free, rested or not: the endpoint had it before."""
    reserved: tuple[Address, ...] = ()
    """Not these, whatever the store says of them."""

    @property
    def segment(self) -> str:
        """Where the address must be unique."""
        return segment_of(self.pool.id)

    @property
    def window(self) -> Window:
        """What the pool may hand out."""
        return window_of(self.pool)

    def lease(self, address: Address, *, generation: int) -> Lease:
        """What the claim becomes."""
        return Lease(
            pool=self.pool.id,
            address=address,
            endpoint=self.endpoint,
            acquired_at=self.at,
            bound_at=self.at,
            owner=self.owner,
            generation=generation,
        )


def freed_at(lease: Lease) -> datetime:
    """From when the address of a lease that has ended rests."""
    return lease.released_at or lease.acquired_at


class SegmentView(Protocol):
    """What a store knows of one segment; only one chooses from it at a time."""

    def holder(self, address: Address) -> Lease | None:
        """The lease, in whatever pool of the segment, that is not freed."""

    def reserved(self) -> Collection[Address]:
        """What is reserved in the pools of the segment, for whatever host."""

    def kept(self) -> ReservationSet:
        """What an operator reserved in the segment."""

    def mark(self, window: Window) -> int:
        """The lowest address of ``window`` that was never looked at, as a number."""

    def set_mark(self, window: Window, mark: int) -> None:
        """Remember it."""

    def is_resting(self, address: Address) -> bool:
        """Whether it is among the freed ones."""

    def put_to_rest(self, address: Address, since: datetime | None) -> None:
        """Add it to the freed ones; None is before all others."""

    def resting(self, window: Window) -> Iterable[tuple[Address, datetime | None]]:
        """The freed ones of ``window``, the one that rested longest first."""

    def count_resting(self) -> int:
        """How many freed ones there are in the segment."""


def select_address(claim: AddressClaim, book: SegmentView) -> Address:
    """The address for ``claim``. Raises AddressInUse, NoAddress.

    The Redis store's script does the same.
    """
    window, kept = claim.window, book.kept()
    reserved = {*book.reserved(), *claim.reserved, *kept.kept_from(claim.endpoint)}
    book.set_mark(window, book.mark(window))
    if claim.address is not None:
        if (holder := book.holder(claim.address)) is not None:
            refuse_leased(claim.address, holder)
        if claim.address in reserved:
            refuse_reserved(claim.address, claim, kept.against(claim.address, claim.endpoint))
        return claim.address
    own = kept.of(claim.endpoint)
    for wish in (own.address if own else None, claim.hint):
        if wish is not None and wish not in reserved and book.holder(wish) is None:
            return wish
    chosen = None
    if book.count_resting() >= MOST_RESTING:
        chosen = _longest_rested(window, book, reserved, before=claim.at - claim.rest)
    chosen = chosen or _never_used(window, book, reserved)
    chosen = chosen or _longest_rested(window, book, reserved, before=None)
    if chosen is None:
        unleased = [each for each in reserved if each in window and book.holder(each) is None]
        refuse_full(claim, reserved=len(unleased))
    return chosen


def _never_used(window: Window, book: SegmentView, reserved: Collection[Address]) -> Address | None:
    kind = type(window.first)
    mark = first = book.mark(window)
    chosen = None
    while mark <= window.end and chosen is None:
        address = kind(mark)
        mark += 1
        if book.holder(address) is not None or book.is_resting(address):
            continue  # when it is freed, or already, it is among the resting ones
        if address in reserved:
            book.put_to_rest(address, None)  # the mark won't come by again when it is let go
            continue
        chosen = address
    if mark != first:
        book.set_mark(window, mark)
    return chosen


def _longest_rested(
    window: Window, book: SegmentView, reserved: Collection[Address], *, before: datetime | None
) -> Address | None:
    for address, since in book.resting(window):
        if address not in reserved:
            rested = before is None or since is None or since <= before
            return address if rested else None
    return None


def refuse_leased(address: Address, holder: Lease | None) -> NoReturn:
    """Raises AddressInUse, saying whose ``address`` is where the store can tell."""
    whose = f"leased to {holder.endpoint} on host {holder.owner}" if holder else "leased"
    raise AddressInUse(f"{address} is {whose}: choose an address that is free")


def refuse_reserved(address: Address, claim: AddressClaim, kept: Reservation | None) -> NoReturn:
    """Raises AddressInUse; ``kept`` is the operator's reservation, if it is one."""
    if kept is not None:
        kept.refuse()
    raise AddressInUse(
        f"{address} is reserved in {claim.pool.subnet}, as a gateway or an auxiliary address, on "
        f"this host or another: choose an address that is free"
    )


def refuse_full(claim: AddressClaim, *, reserved: int) -> NoReturn:
    """Raises NoAddress with the figures; nothing rests, as that would have been handed out."""
    size = claim.window.size
    raise NoAddress(
        f"all addresses of {claim.pool.assignable} are taken: of {size} that containers may have, "
        f"{size - reserved} are leased, {reserved} reserved, 0 resting: remove containers that "
        f"are not needed, or create a network with a larger --ip-range or --subnet"
    )

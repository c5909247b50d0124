"""Which addresses of a segment are held and which rest, in this process's memory."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from d4d.domain.addressing import Address, from_number, to_number
from d4d.domain.leases import Lease
from d4d.domain.reservations import ReservationSet
from d4d.domain.segments import Window

_ALWAYS = datetime.min.replace(tzinfo=UTC)  # before any instant at which an address was freed


class MemorySegment:
    """A ``ranges.Book``."""

    def __init__(self) -> None:
        self._holders: dict[Address, Lease] = {}
        self._marks: dict[Window, int] = {}
        self._since: dict[Address, datetime] = {}
        self._by_time: list[tuple[datetime, str]] = []
        self.reservations: Collection[Address] = ()
        self.operators = ReservationSet()

    def occupy(self, lease: Lease) -> None:
        """The address of ``lease`` is held by it, whoever held it before."""
        self._holders[lease.address] = lease
        since = self._since.pop(lease.address, None)
        if since is not None:
            entry = (since, to_number(lease.address))
            del self._by_time[bisect_left(self._by_time, entry)]

    def vacate(self, lease: Lease, since: datetime) -> None:
        """The address rests from ``since`` on, if ``lease`` held it."""
        holder = self._holders.get(lease.address)
        if holder is None or holder.generation != lease.generation:
            return
        del self._holders[lease.address]
        if self._marks:
            self.put_to_rest(lease.address, since)

    def holder(self, address: Address) -> Lease | None:
        """The lease that holds ``address``."""
        return self._holders.get(address)

    def reserved(self) -> Collection[Address]:
        """What is reserved in the pools of the segment."""
        return self.reservations

    def kept(self) -> ReservationSet:
        """What an operator reserved in the segment."""
        return self.operators

    def mark(self, window: Window) -> int:
        """The lowest address of ``window`` that was never looked at."""
        return self._marks.get(window, int(window.first))

    def set_mark(self, window: Window, mark: int) -> None:
        """Remember it."""
        self._marks[window] = mark

    def is_resting(self, address: Address) -> bool:
        """Whether it is among the freed ones."""
        return address in self._since

    def put_to_rest(self, address: Address, since: datetime | None) -> None:
        """Add it to the freed ones; None is before all others."""
        since = since or _ALWAYS
        self._since[address] = since
        insort(self._by_time, (since, to_number(address)))

    def resting(self, window: Window) -> Iterable[tuple[Address, datetime | None]]:
        """The freed ones of ``window``, the one that rested longest first."""
        for since, number in self._by_time:
            address = from_number(number)
            if address in window:
                yield address, since

    def count_resting(self) -> int:
        """How many freed ones there are."""
        return len(self._since)

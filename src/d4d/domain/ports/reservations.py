"""Where an operator's reservations are kept."""

from typing import Protocol

from d4d.domain.addressing import Address
from d4d.domain.reservations import Reservation, ReservationSet


class ReservationStore(Protocol):
    """The addresses that an operator keeps for one container, or from all, on every host.

    A RangeStore that serves this too honours them in ``take``. Every method raises
    StoreUnavailable; then nothing was changed.
    """

    async def reserve(self, reservation: Reservation) -> bool:
        """Store ``reservation``; returns whether a lease holds its address now.

        Raises AddressInUse where the address is reserved, or the container has one, already.
        """

    async def unreserve(self, segment: str, address: Address) -> Reservation | None:
        """Take away the reservation of ``address``, and return it; None where there is none."""

    async def reserved(self, segment: str) -> ReservationSet:
        """Those of one segment."""

    async def reservations(self) -> tuple[Reservation, ...]:
        """Those of all segments."""

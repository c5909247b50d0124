"""Addresses that an operator keeps for one container, or from all.

They belong to a segment, where addresses are unique, and so hold for every pool and host in it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from d4d.domain.addressing import Address, MacAddress
from d4d.domain.errors import AddressInUse
from d4d.domain.leases import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """An address, and who alone may have it: by MAC, by name, or nobody."""

    segment: str
    address: Address
    made_at: datetime
    mac: MacAddress | None = None
    name: str | None = None
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.address} is reserved by an operator for {self.whom}{note}"

    @property
    def whom(self) -> str:
        """Who may have it."""
        if self.mac is not None:
            return f"MAC {self.mac}"
        return f"container {self.name}" if self.name is not None else "nobody"

    @property
    def is_for_nobody(self) -> bool:
        """Whether no container may have it."""
        return self.mac is None and self.name is None

    def is_for(self, endpoint: Endpoint) -> bool:
        """Whether ``endpoint`` may have it."""
        if self.mac is not None:
            return self.mac == endpoint.mac
        return self.name is not None and self.name == endpoint.name

    def refuse(self) -> NoReturn:
        """Raises AddressInUse, saying how the address becomes free."""
        raise AddressInUse(
            f"{self}: choose another address, or take the reservation away with: "
            f"d4d unreserve '{self.segment}' {self.address}"
        )


class ReservationSet:
    """An operator's reservations in one segment. It does not change: ``plus`` makes another."""

    def __init__(self, reservations: Iterable[Reservation] = ()) -> None:
        self._at = {each.address: each for each in reservations}
        self._by_mac = {each.mac: each for each in self if each.mac is not None}
        self._by_name = {each.name: each for each in self if each.name is not None}

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._at.values())

    def __len__(self) -> int:
        return len(self._at)

    def at(self, address: Address) -> Reservation | None:
        """The reservation of ``address``."""
        return self._at.get(address)

    def of(self, endpoint: Endpoint) -> Reservation | None:
        """The address that is kept for ``endpoint``: by its MAC, else by its name."""
        by_mac = self._by_mac.get(endpoint.mac)
        return by_mac or (self._by_name.get(endpoint.name) if endpoint.name else None)

    def against(self, address: Address, endpoint: Endpoint) -> Reservation | None:
        """What keeps ``address`` from ``endpoint``."""
        found = self._at.get(address)
        return found if found is not None and not found.is_for(endpoint) else None

    def kept_from(self, endpoint: Endpoint) -> set[Address]:
        """Every address that ``endpoint`` can't have."""
        return {each.address for each in self if not each.is_for(endpoint)}

    def plus(self, reservation: Reservation) -> "ReservationSet":
        """These and one more.

        Raises AddressInUse where its address is reserved, or its container has one already.
        """
        if (found := self.at(reservation.address)) is not None:
            refuse_reserved_already(found)
        found = self._by_mac.get(reservation.mac) if reservation.mac is not None else None
        found = found or (self._by_name.get(reservation.name) if reservation.name else None)
        if found is not None:
            refuse_second(found)
        return ReservationSet([*self, reservation])


def refuse_reserved_already(found: Reservation) -> NoReturn:
    """Raises AddressInUse."""
    raise AddressInUse(
        f"{found} already: first take that away with: "
        f"d4d unreserve '{found.segment}' {found.address}"
    )


def refuse_second(found: Reservation) -> NoReturn:
    """Raises AddressInUse: a container has one address in a segment."""
    raise AddressInUse(
        f"{found.whom} has a reservation there, of {found.address}: first take that away with: "
        f"d4d unreserve '{found.segment}' {found.address}"
    )

"""Which addresses of a segment are held and which rest, within one transaction of SQLite.

A lease in the table ``leases`` holds its address unless it is freed. ``marks`` tells for each range
how far its addresses were looked at, and ``resting`` since when the freed ones are free.
"""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from d4d.adapters.stores.lease_codec import (
    FREED,
    LeaseReader,
    LeaseRow,
    from_microseconds,
    reservations_from_json,
    to_microseconds,
)
from d4d.domain.address_selection import MOST_RESTING
from d4d.domain.addressing import Address, MacAddress, from_number, to_number
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Lease
from d4d.domain.pools import Pool, PoolRecord
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.segments import Window, segment_of

UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, BadRequest)
"""What reading a row raises that D4D never wrote."""

_ALWAYS = 0  # before any instant at which an address was freed

# S608: these strings are made of column names, never of values.
_HOLDER = (
    f"SELECT {', '.join(LeaseRow._fields)} FROM leases "  # noqa: S608 - see above
    "WHERE segment = ? AND address = ? AND state != ?"
)
_RESTING = (
    "SELECT address, since FROM resting WHERE segment = ? AND address BETWEEN ? AND ? "
    "ORDER BY since, address"
)
_PUT_TO_REST = "INSERT OR IGNORE INTO resting (segment, address, since) VALUES (?, ?, ?)"
_KEPT = "SELECT segment, address, mac, name, note, made_at FROM reserved"
_SET_MARK = "REPLACE INTO marks (segment, first, last, next) VALUES (?, ?, ?, ?)"


def pool_record(pool: str, users: int, reservations: str, version: int = 0) -> PoolRecord:
    """The record in a row of ``pools``. Raises what is UNREADABLE if damaged."""
    return PoolRecord(
        pool=Pool.parse(pool),
        users=users,
        reservations=reservations_from_json(reservations),
        version=version,
    )


class SqliteSegment:
    """A ``ranges.Book`` of one segment, for as long as the transaction lasts."""

    def __init__(self, connection: sqlite3.Connection, segment: str) -> None:
        self._connection = connection
        self._segment = segment

    def occupy(self, address: Address) -> None:
        """The address does not rest any more."""
        self._connection.execute(
            "DELETE FROM resting WHERE segment = ? AND address = ?",
            (self._segment, to_number(address)),
        )

    def vacate(self, lease: Lease, since: datetime) -> None:
        """The address of ``lease`` rests from ``since`` on, unless another lease holds it."""
        marked = self._connection.execute(
            "SELECT 1 FROM marks WHERE segment = ? LIMIT 1", (self._segment,)
        )
        if marked.fetchone() is not None and not self.is_held(lease.address):
            self.put_to_rest(lease.address, since)

    def is_held(self, address: Address) -> bool:
        """Whether a lease holds ``address``."""
        held = self._connection.execute(
            "SELECT 1 FROM leases WHERE segment = ? AND address = ? AND state != ? LIMIT 1",
            (self._segment, str(address), FREED),
        )
        return held.fetchone() is not None

    def holder(self, address: Address) -> Lease | None:
        """The lease that holds ``address``."""
        key = (self._segment, str(address), FREED)
        row = self._connection.execute(_HOLDER, key).fetchone()
        return LeaseReader().read(LeaseRow._make(row)) if row is not None else None

    def reserved(self) -> Collection[Address]:
        """What is reserved in the pools of the segment."""
        addresses: set[Address] = set()
        for row in self._connection.execute("SELECT pool, users, reservations FROM pools"):
            if segment_of(row[0]) == self._segment:
                addresses.update(pool_record(*row).reserved)
        return addresses

    def kept(self) -> ReservationSet:
        """What an operator reserved in the segment."""
        return ReservationSet(read_reserved(self._connection, self._segment))

    def reserve(self, reservation: Reservation) -> bool:
        """Store a reservation; returns whether a lease holds its address. Raises AddressInUse."""
        self.kept().plus(reservation)
        columns = (
            self._segment,
            to_number(reservation.address),
            str(reservation.mac) if reservation.mac is not None else None,
            reservation.name,
            reservation.note,
            to_microseconds(reservation.made_at),
        )
        self._connection.execute("INSERT INTO reserved VALUES (?, ?, ?, ?, ?, ?)", columns)
        return self.is_held(reservation.address)

    def unreserve(self, address: Address) -> Reservation | None:
        """Take away the reservation of ``address``, and return it."""
        found = self.kept().at(address)
        self._connection.execute(
            "DELETE FROM reserved WHERE segment = ? AND address = ?",
            (self._segment, to_number(address)),
        )
        return found

    def mark(self, window: Window) -> int:
        """The lowest address of ``window`` that was never looked at."""
        row = self._connection.execute(
            "SELECT next FROM marks WHERE segment = ? AND first = ? AND last = ?",
            (self._segment, *map(to_number, window)),
        ).fetchone()
        return int(row[0]) if row is not None else int(window.first)

    def set_mark(self, window: Window, mark: int) -> None:
        """Remember it."""
        columns = (self._segment, *map(to_number, window), str(mark))
        self._connection.execute(_SET_MARK, columns)

    def is_resting(self, address: Address) -> bool:
        """Whether it is among the freed ones."""
        found = self._connection.execute(
            "SELECT 1 FROM resting WHERE segment = ? AND address = ?",
            (self._segment, to_number(address)),
        )
        return found.fetchone() is not None

    def put_to_rest(self, address: Address, since: datetime | None) -> None:
        """Add it to the freed ones; None is before all others."""
        when = to_microseconds(since) if since is not None else _ALWAYS
        self._connection.execute(_PUT_TO_REST, (self._segment, to_number(address), when))

    def resting(self, window: Window) -> Iterable[tuple[Address, datetime | None]]:
        """The freed ones of ``window``, the one that rested longest first."""
        found = self._connection.execute(_RESTING, (self._segment, *map(to_number, window)))
        for number, since in found:
            yield from_number(number), from_microseconds(since)

    def count_resting(self) -> int:
        """How many freed ones there are, as far as it matters."""
        (highest,) = self._connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM resting WHERE segment = ? LIMIT ?)",
            (self._segment, MOST_RESTING),
        ).fetchone()
        return int(highest)


def read_reserved(connection: sqlite3.Connection, segment: str | None = None) -> list[Reservation]:
    """An operator's reservations, of one segment or of all."""
    where, values = (" WHERE segment = ?", (segment,)) if segment is not None else ("", ())
    rows = connection.execute(f"{_KEPT}{where} ORDER BY segment, address", values)
    return [operator_reservation(row) for row in rows]


def operator_reservation(row: Sequence[Any]) -> Reservation:
    """The reservation in a row of ``reserved``. Raises what is UNREADABLE if damaged."""
    segment, address, mac, name, note, made_at = row
    return Reservation(
        segment=segment,
        address=from_number(address),
        mac=MacAddress.parse(mac) if mac is not None else None,
        name=name,
        note=note,
        made_at=from_microseconds(made_at),
    )

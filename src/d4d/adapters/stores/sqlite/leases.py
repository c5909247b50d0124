"""The table of leases, on one connection to SQLite and within its transactions."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from d4d.adapters.stores.lease_codec import FREED, LeaseRow, lease_row
from d4d.adapters.stores.sqlite.segments import SqliteSegment
from d4d.domain.address_selection import freed_at
from d4d.domain.addressing import to_number
from d4d.domain.leases import Lease
from d4d.domain.segments import segment_of

_COLUMNS = ", ".join(LeaseRow._fields)
_KEY = ("pool", "address", "owner", "generation")
_SAME = f"segment = :segment AND {' AND '.join(f'{column} = :{column}' for column in _KEY)}"
_CHANGES = ", ".join(f"{column} = :{column}" for column in LeaseRow._fields if column not in _KEY)

# S608: these strings are made of column names above, never of values.
_VALUES = ", ".join("?" for _ in LeaseRow._fields)
_ADD = f"REPLACE INTO leases ({_COLUMNS}, segment) VALUES ({_VALUES}, ?)"  # noqa: S608 - see above
_ADD_ALONE = (
    f"REPLACE INTO leases ({_COLUMNS}, segment) SELECT {_VALUES}, ? "  # noqa: S608 - see above
    "WHERE NOT EXISTS (SELECT 1 FROM leases WHERE segment = ? AND address = ? AND state != ?) "
    "AND NOT EXISTS (SELECT 1 FROM resting WHERE segment = ? AND address = ?)"
)
_UPDATE = f"UPDATE leases SET {_CHANGES} WHERE {_SAME}"  # noqa: S608 - see above
_STATE = f"SELECT state FROM leases WHERE {_SAME}"  # noqa: S608 - see above
_SAME_ACQUISITION = (
    "SELECT generation FROM leases WHERE segment = ? AND address = ? AND pool = ? AND owner = ? "
    "AND acquired_at = ? AND state != ?"
)
_REMOVE = f"DELETE FROM leases WHERE {_SAME}"  # noqa: S608 - see above
_LOAD = f"SELECT {_COLUMNS} FROM leases WHERE owner = ?"  # noqa: S608 - see above
_COUNT = "SELECT count(*) FROM leases WHERE owner = ? AND state <> ?"

_BLOCK = 64  # generations, stored as used at once: a lease then changes a page of the file less


class SqliteLeases:
    """The leases of a file, for as long as ``connection`` lasts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._generations: Iterator[int] = iter(())

    def segment(self, name: str) -> SqliteSegment:
        """The addresses of one segment."""
        return SqliteSegment(self.connection, name)

    def add(self, lease: Lease) -> Lease:
        """Store a new acquisition, in place of what its pool has there; with its generation.

        One that is stored already, as its answer was lost, keeps its generation.
        """
        stored = self.same_acquisition(lease)
        if stored is not None:
            self.update(stored)
            return stored
        added = replace(lease, generation=self._next_generation())
        segment = segment_of(lease.pool)
        self.connection.execute(_ADD, (*lease_row(added), segment))
        if lease.is_held:
            self.segment(segment).occupy(lease.address)
        return added

    def add_alone(self, lease: Lease) -> Lease | None:
        """What ``add`` does, as a transaction of its own; None, and nothing done, in rare cases.

        These are: the address is held, or rests, or a block of generations is to be stored. Python
        lets another thread run at each statement, and may wait for it: here is but one.
        """
        generation = next(self._generations, None)
        if generation is None:
            return None
        added, segment = replace(lease, generation=generation), segment_of(lease.pool)
        row = lease_row(added)
        free = (segment, row.address, FREED, segment, to_number(lease.address))
        done = self.connection.execute(_ADD_ALONE, (*row, segment, *free)).rowcount
        return added if done else None

    def same_acquisition(self, lease: Lease) -> Lease | None:
        """``lease`` with the generation by which it is stored, if it is."""
        row = lease_row(lease)
        named = (segment_of(lease.pool), row.address, row.pool, row.owner, row.acquired_at, FREED)
        found = self.connection.execute(_SAME_ACQUISITION, named).fetchone()
        return replace(lease, generation=found[0]) if found is not None else None

    def update(self, lease: Lease) -> bool:
        """Replace the stored lease; False where there is none such, or another has its address."""
        row, segment = _named(lease), self.segment(segment_of(lease.pool))
        stored = self.connection.execute(_STATE, row).fetchone()
        if stored is None:
            return False
        was_freed, is_freed = stored[0] == FREED, not lease.is_held
        if was_freed and not is_freed and segment.is_held(lease.address):
            return False
        self.connection.execute(_UPDATE, row)
        if is_freed and not was_freed:
            segment.vacate(lease, freed_at(lease))
        elif was_freed and not is_freed:
            segment.occupy(lease.address)
        return True

    def remove(self, lease: Lease) -> bool:
        """Remove the stored lease, and let its address rest; False where there is none such."""
        removed = self.connection.execute(_REMOVE, _named(lease)).rowcount > 0
        if removed:
            self.segment(segment_of(lease.pool)).vacate(lease, freed_at(lease))
        return removed

    def load(self, owner: str) -> list[Any]:
        """The rows of ``owner``, each a LeaseRow's columns."""
        return self.connection.execute(_LOAD, (owner,)).fetchall()

    def count(self, owner: str) -> int:
        """How many addresses ``owner`` holds."""
        held = self.connection.execute(_COUNT, (owner, FREED))
        return int(held.fetchone()[0])

    def _next_generation(self) -> int:
        for generation in self._generations:
            return generation
        # RETURNING takes ten times that
        self.connection.execute("UPDATE generations SET last = last + ?", (_BLOCK,))
        (last,) = self.connection.execute("SELECT last FROM generations").fetchone()
        self._generations = iter(range(last - _BLOCK + 1, last + 1))
        return next(self._generations)


def _named(lease: Lease) -> dict[str, Any]:
    return {**lease_row(lease)._asdict(), "segment": segment_of(lease.pool)}

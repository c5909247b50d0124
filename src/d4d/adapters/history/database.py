"""The SQLite file in which events are kept, and what is asked of it.

The instant of an event is the key of its row. So the table lies in the order of time, each index
ends with it unsaid, and no look-up reads more than it answers, however much there is. Where an
index does not have all that is asked in the order of time, it is asked once for each pool that had
the address, or once for each kind of event.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from ipaddress import ip_address
from itertools import islice, product
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, overload

from d4d.adapters.stores.lease_codec import from_microseconds, to_microseconds
from d4d.domain.addressing import Address, MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId
from d4d.domain.ports.history import ENDING, HOLDING, HistoryEntry, HistoryQuery

HISTORY_VERSION = 1
"""PRAGMA user_version; a file of 0 is empty, or has instants that are no keys."""
_TABLE = """
CREATE TABLE events (
    at      INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    host    TEXT NOT NULL,
    pool    TEXT NOT NULL,
    address TEXT NOT NULL,
    mac     TEXT,
    name    TEXT,
    detail  TEXT NOT NULL
) STRICT
"""
_INDEXES = (
    "CREATE INDEX events_of_address ON events (address, pool)",
    "CREATE INDEX events_of_mac ON events (mac)",
    "CREATE INDEX events_of_name ON events (name)",
    "CREATE INDEX events_of_kind ON events (kind)",
)
_COLUMNS = "at, kind, host, pool, address, mac, name, detail"
_TOLD = ", ".join(f"'{kind.value}'" for kind in sorted(HOLDING | ENDING, key=lambda k: k.value))

# S608: these strings are made of the names above, never of values.
_ADD = f"""
INSERT INTO events ({_COLUMNS}) VALUES (
    (
        WITH RECURSIVE instant (at) AS (
            SELECT ?
            UNION ALL
            SELECT at + 1 FROM instant WHERE EXISTS (SELECT 1 FROM events WHERE at = instant.at)
        )
        SELECT max(at) FROM instant
    ),
    ?, ?, ?, ?, ?, ?, ?
)
"""  # noqa: S608 - see above
"""Of several events at one instant each is a microsecond behind the one before."""
_POOLS = """
WITH RECURSIVE pools (pool) AS (
    SELECT min(pool) FROM events WHERE address = :address
    UNION ALL
    SELECT (SELECT min(pool) FROM events WHERE address = :address AND pool > pools.pool)
    FROM pools WHERE pool IS NOT NULL
)
SELECT pool FROM pools WHERE pool IS NOT NULL
"""
"""It jumps from pool to pool, where DISTINCT would read every event of the address."""
_LAST = f"""
SELECT {_COLUMNS} FROM events
WHERE address = ? AND pool = ? AND at <= ? AND kind IN ({_TOLD})
ORDER BY at DESC LIMIT 1
"""  # noqa: S608 - see above
_UP_TO = "SELECT max(at) FROM (SELECT at FROM events WHERE at > ? AND at < ? ORDER BY at LIMIT ?)"
_PRUNE = """
DELETE FROM events AS old WHERE at > ? AND at <= ? AND EXISTS (
    SELECT 1 FROM events AS newer
    WHERE newer.address = old.address AND newer.pool = old.pool AND newer.at > old.at
)
"""
"""The last event of an address stays: a lease without end is told of once only."""


_Row = tuple[Any, ...]


class HistoryEntries(Sequence[HistoryEntry]):
    """Entries as they are stored, each made when it is looked at.

    A thread that made hundreds of them would keep the event loop's from Python meanwhile.
    """

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> HistoryEntry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[HistoryEntry]: ...
    def __getitem__(self, index: int | slice) -> HistoryEntry | Sequence[HistoryEntry]:
        if isinstance(index, slice):
            return HistoryEntries(self._rows[index])
        return _entry(self._rows[index])


class HistoryFile:
    """An open file. Everything raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version < HISTORY_VERSION:
            self._migrate()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Created where it is missing. Raises OSError too."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path)
        try:
            return cls(connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """SQLite empties its WAL into the file."""
        self._connection.close()

    def add(self, host: str, events: Sequence[LeaseEvent]) -> None:
        """Keep what ``host`` tells of: all of it or nothing."""
        with self._connection as connection:
            connection.executemany(_ADD, [_row(host, event) for event in events])

    def find(self, question: HistoryQuery) -> Sequence[HistoryEntry]:
        """See ``History``."""
        pools = [None] if question.address is None else self._pools(question.address)
        parts = product(pools, question.kinds or [None])
        found = [self._find(question, pool, kind) for pool, kind in parts]
        in_order = merge(*found, key=itemgetter(0), reverse=True)  # no more is read than it takes
        return HistoryEntries(list(islice(in_order, question.limit)))

    def holders(self, address: Address, at: datetime) -> list[HistoryEntry]:
        """See ``History``."""
        before = to_microseconds(at)
        lasts = (self._read(_LAST, (str(address), pool, before)) for pool in self._pools(address))
        return [entry for last in lasts for entry in last if entry.event.kind in HOLDING]

    def prune(self, *, after: datetime | None, before: datetime, most: int) -> datetime | None:
        """Look at the ``most`` oldest events between the two, and drop those that are outlived.

        Answers the instant up to which it looked: the next ``after``. None says that all is done.
        """
        begin = to_microseconds(after) if after is not None else -1
        with self._connection as connection:
            window = (begin, to_microseconds(before), most)
            end: int | None = connection.execute(_UP_TO, window).fetchone()[0]
            if end is None:
                return None
            connection.execute(_PRUNE, (begin, end))
        return from_microseconds(end)

    def _pools(self, address: Address) -> list[str]:
        rows = self._connection.execute(_POOLS, {"address": str(address)})
        return [pool for (pool,) in rows.fetchall()]

    def _find(
        self, question: HistoryQuery, pool: str | None, kind: EventKind | None
    ) -> Iterator[_Row]:
        where, values = _where(question, pool, kind)
        query = f"SELECT {_COLUMNS} FROM events {where} ORDER BY at DESC LIMIT ?"  # noqa: S608 - see above
        return self._connection.execute(query, (*values, question.limit))

    def _read(self, query: str, values: Sequence[Any]) -> Iterator[HistoryEntry]:
        return map(_entry, self._connection.execute(query, values))

    def _migrate(self) -> None:
        """From version 0: tables are made anew, and a file's events copied."""
        with self._connection as connection:
            connection.execute("BEGIN")
            old = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'events'").fetchone()
            if old:
                connection.execute("ALTER TABLE events RENAME TO unkeyed")
            connection.execute(_TABLE)
            if old:
                rows = f"SELECT {_COLUMNS} FROM unkeyed ORDER BY at, rowid"  # noqa: S608 - see above
                connection.executemany(_ADD, connection.execute(rows))
                connection.execute("DROP TABLE unkeyed")  # with its indexes, whose names are ours
            for index in _INDEXES:
                connection.execute(index)
            connection.execute(f"PRAGMA user_version = {HISTORY_VERSION}")


def is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether it says that the file is damaged, or none of SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)  # an error of Python's own has none
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def decode_event(row: Mapping[str, Any]) -> HistoryEntry:
    """The event in a row, by column. Raises ValueError and others where D4D never wrote it."""
    return _entry(tuple(row[name] for name in _COLUMNS.split(", ")))


def _where(
    question: HistoryQuery, pool: str | None, kind: EventKind | None
) -> tuple[str, tuple[Any, ...]]:
    """The condition of ``question``, in one pool and of one kind or in any, and its values."""
    asked: list[tuple[str, Any]] = []
    if question.address is not None:
        asked.append(("address = ?", str(question.address)))
    if pool is not None:
        asked.append(("pool = ?", pool))
    if kind is not None:
        asked.append(("kind = ?", kind.value))
    if question.mac is not None:
        asked.append(("mac = ?", str(question.mac)))
    if question.name is not None:
        asked.append(("name = ?", question.name))
    if question.since is not None:
        asked.append(("at >= ?", to_microseconds(question.since)))
    if question.until is not None:
        asked.append(("at <= ?", to_microseconds(question.until)))
    if not asked:
        return "", ()
    conditions = " AND ".join(condition for condition, _ in asked)
    return f"WHERE {conditions}", tuple(value for _, value in asked)


def _row(host: str, event: LeaseEvent) -> tuple[Any, ...]:
    endpoint = event.endpoint
    return (
        to_microseconds(event.at),
        event.kind.value,
        host,
        event.pool,
        str(event.address),
        str(endpoint.mac) if endpoint else None,
        endpoint.name if endpoint else None,
        event.detail,
    )


def _entry(row: tuple[Any, ...]) -> HistoryEntry:
    at, kind, host, pool, address, mac, name, detail = row
    event = LeaseEvent(
        kind=EventKind(kind),
        at=from_microseconds(at),
        pool=PoolId(pool),
        address=ip_address(address),
        endpoint=Endpoint(mac=MacAddress.parse(mac), name=name) if mac else None,
        detail=detail,
    )
    return HistoryEntry(host=host, event=event)

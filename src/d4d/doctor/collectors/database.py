"""The SQLite files of the state directory, read while a driver may be using them.

To call a file damaged costs its owner data, so one witness is not enough: SQLite's own check has
cried wolf (3.40.0 to 3.41.0 see NULLs that are not there). Each file is checked on one connection,
and every row is read and decoded on another; the two results are kept apart. Nothing is written,
and a file that is too short for SQLite is not opened: SQLite would take it for a new one, and
delete its log.
"""

import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from d4d.adapters.history.database import HISTORY_VERSION, decode_event
from d4d.adapters.stores.lease_codec import LeaseReader, LeaseRow, from_microseconds
from d4d.adapters.stores.sqlite.database import MIGRATIONS
from d4d.adapters.stores.sqlite.segments import UNREADABLE, operator_reservation, pool_record
from d4d.domain.addressing import from_number

_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY_CODE = 0xFF
_TIMEOUT = 2.0  # seconds for somebody who holds the file
_MOST_COMPLAINTS = 10
_MOST_SHOWN = 3
_SHOWN_BYTES = 16
_FALSE_NULL = re.compile(r"NULL value in (\w+)\.(\w+)")

Decode = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """``leases.db`` or ``history.db``: what SQLite's check says of it, and what reading it says."""

    path: Path
    exists: bool
    is_empty: bool = False
    """No byte is in it."""
    log_size: int = 0
    """Bytes in the log beside an empty one."""
    error: str | None = None
    """Why nothing can be said of it: it may not be read, or somebody holds it."""
    complaint: str | None = None
    """What SQLite's check says is wrong."""
    unread: str | None = None
    """Why not every row could be read: what SQLite said while they were."""
    foreign: str | None = None
    """A row that was read, and is none that D4D ever wrote."""
    rows: int = 0
    """How many were read."""
    version: int = 0
    known_version: int = len(MIGRATIONS)
    newest: datetime | None = None
    """When a server last confirmed a lease."""

    @property
    def is_damaged(self) -> bool:
        """Whether both say so: the check, and the reading of the rows."""
        return self.complaint is not None and self.unread is not None


@dataclass(slots=True)
class _Reading:
    """What came of reading every row."""

    rows: int = 0
    nulls: set[tuple[str, str]] = field(default_factory=set)
    """Tables and columns in which there is one."""
    unread: str | None = None
    foreign: str | None = None
    newest: datetime | None = None


def inspect_leases(path: Path) -> DatabaseFacts:
    """``leases.db``."""
    return _look(path, known_version=len(MIGRATIONS), decoders=_lease_decoders)


def inspect_history(path: Path) -> DatabaseFacts:
    """``history.db``."""
    return _look(path, known_version=HISTORY_VERSION, decoders=_history_decoders)


def _look(
    path: Path, *, known_version: int, decoders: Callable[[_Reading], dict[str, Decode]]
) -> DatabaseFacts:
    def look(**seen: Any) -> DatabaseFacts:
        return DatabaseFacts(path=path, exists=True, known_version=known_version, **seen)

    try:
        # Not in a process that has the file open with SQLite: its locks go when a file is closed.
        with path.open("rb") as file:
            head = file.read(_HEADER_SIZE)
        if not head:
            return look(is_empty=True, log_size=_size(path.with_name(f"{path.name}-wal")))
    except FileNotFoundError:
        return DatabaseFacts(path=path, exists=False, known_version=known_version)
    except OSError as error:
        return look(error=str(error))
    if len(head) < _HEADER_SIZE:
        return look(
            complaint=f"it has {len(head)} bytes, and the head of a database alone has 100",
            unread="SQLite opens none that is so short",
        )
    try:
        version, complaint = _check(path)
        reading = _read(path, decoders, decodes=version is not None and version <= known_version)
    except sqlite3.Error as error:
        return look(error=str(error))
    if reading.unread is not None and not head.startswith(_MAGIC):
        reading.unread = f"{reading.unread}: it begins with {head[:_SHOWN_BYTES]!r}"
    return look(
        complaint=_proven(complaint, reading),
        unread=reading.unread,
        foreign=reading.foreign,
        rows=reading.rows,
        version=version or 0,
        newest=reading.newest,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT)


def _check(path: Path) -> tuple[int | None, list[str]]:
    """The version, and what SQLite's own check says. Raises sqlite3.Error unless it is damage."""
    version = None
    with closing(_connected(path)) as database:
        try:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            told = database.execute(f"PRAGMA quick_check({_MOST_COMPLAINTS})").fetchall()
        except sqlite3.Error as error:
            return version, [_damage(error)]
    # A whole tree's fault is told in several lines of one row.
    return version, [line for (text,) in told if text != "ok" for line in text.splitlines()]


def _read(
    path: Path, decoders: Callable[[_Reading], dict[str, Decode]], *, decodes: bool
) -> _Reading:
    """Every row of every table. Raises sqlite3.Error unless it is damage."""
    reading = _Reading()
    decode = decoders(reading) if decodes else {}
    with closing(_connected(path)) as database:
        database.text_factory = bytes  # a text that is none is a row's fault, not the file's
        database.row_factory = sqlite3.Row
        try:
            for table in _tables(database):
                for row in database.execute(_all_of(database, table)):
                    reading.rows += 1
                    _take(reading, table, row, decode.get(table))
        except sqlite3.Error as error:
            reading.unread = f"{_damage(error)}, behind {reading.rows} rows"
    return reading


def _tables(database: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid"
    return [name.decode() for (name,) in database.execute(query).fetchall()]


def _all_of(database: sqlite3.Connection, table: str) -> str:
    """The query for every row, from the table itself.

    In its own order: else SQLite reads an index in its place, if that has all columns.
    """
    described = database.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
    key = sorted((row["pk"], row["name"].decode()) for row in described if row["pk"])
    order = ", ".join(_quoted(name) for _, name in key) or "rowid"
    return f"SELECT * FROM {_quoted(table)} ORDER BY {order}"  # noqa: S608 - its own names


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _take(reading: _Reading, table: str, row: sqlite3.Row, decode: Decode | None) -> None:
    columns = row.keys()
    reading.nulls.update((table, name) for name in columns if row[name] is None)
    if decode is None or reading.foreign is not None:
        return
    try:
        decode({name: _text(row[name], name) for name in columns})
    except UNREADABLE as error:
        shown = ", ".join(f"{name} {row[name]!r}" for name in columns[:_MOST_SHOWN])
        reading.foreign = f"{table}: {shown} ({error!r})"


def _text(value: Any, name: str) -> Any:
    """``text_factory`` makes bytes of texts; that what is a blob is one, its reader says."""
    return value.decode() if isinstance(value, bytes) and name != "client_id" else value


def _damage(error: sqlite3.Error) -> str:
    """What SQLite said. Raises the error where it says nothing of damage."""
    code = getattr(error, "sqlite_errorcode", 0)  # absent where Python itself raised it
    if code & _PRIMARY_CODE in _DAMAGE:
        return str(error)
    raise error


def _proven(complaint: list[str], reading: _Reading) -> str | None:
    """The complaint, without NULLs that nobody sees who reads."""
    left = []
    for line in complaint:
        match = _FALSE_NULL.fullmatch(line)
        is_disproved = match and reading.unread is None and match.groups() not in reading.nulls
        if not is_disproved:
            left.append(line)
    return "; ".join(left[:_MOST_SHOWN]) or None


def _lease_decoders(reading: _Reading) -> dict[str, Decode]:
    reader = LeaseReader()

    def lease(row: Mapping[str, Any]) -> None:
        known = [name for name in LeaseRow._fields if name in row]  # an older file lacks the last
        read = reader.read(LeaseRow(**{name: row[name] for name in known}))
        if read.bound_at is not None:
            reading.newest = max(reading.newest or read.bound_at, read.bound_at)

    return {
        "leases": lease,
        "pools": lambda row: pool_record(
            row["pool"], row["users"], row["reservations"], row.get("version", 0)
        ),
        "reserved": lambda row: operator_reservation(tuple(row.values())),
        "resting": lambda row: (from_number(row["address"]), from_microseconds(row["since"])),
        "marks": lambda row: (
            from_number(row["first"]),
            from_number(row["last"]),
            int(row["next"]),
        ),
    }


def _history_decoders(_: _Reading) -> dict[str, Decode]:
    return {"events": decode_event}

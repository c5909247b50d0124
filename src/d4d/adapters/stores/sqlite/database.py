"""The SQLite file itself: how it is created, opened and migrated, and what its errors mean."""

import errno
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

from d4d.domain.errors import StoreTooNew, StoreUnavailable
from d4d.domain.segments import segment_of

_APPLICATION_ID = 0x44344431  # "D4D1": tells file(1), and us, whose database this is

Migration = Sequence[str]
"""The statements that bring the file from one version to the next, all of them or none."""

_LEASE = """
    pool        TEXT NOT NULL,
    address     TEXT NOT NULL,
    owner       TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    state       TEXT NOT NULL,
    mac         TEXT NOT NULL,
    name        TEXT,
    client_id   BLOB,
    hostname    TEXT,
    acquired_at INTEGER NOT NULL,
    bound_at    INTEGER,
    renew_at    INTEGER,
    rebind_at   INTEGER,
    expires_at  INTEGER,
    released_at INTEGER,
    terms       TEXT,
    form        TEXT NOT NULL
"""
"""The columns that a lease had from the first version on. As old as that: never to be changed."""

MIGRATIONS: Sequence[Migration] = (
    (
        f"PRAGMA application_id = {_APPLICATION_ID}",
        """
        CREATE TABLE pools (
            owner        TEXT NOT NULL,
            pool         TEXT NOT NULL,
            users        INTEGER NOT NULL,
            reservations TEXT NOT NULL,
            PRIMARY KEY (owner, pool)
        ) STRICT, WITHOUT ROWID
        """,
        f"""
        CREATE TABLE leases (
            {_LEASE},
            PRIMARY KEY (pool, address)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE TABLE generations (last INTEGER NOT NULL) STRICT",
        "INSERT INTO generations (last) VALUES (0)",
    ),
    (
        "ALTER TABLE leases ADD COLUMN segment TEXT NOT NULL DEFAULT ''",
        "UPDATE leases SET segment = segment_of(pool)",
        "CREATE INDEX leases_by_address ON leases (segment, address)",
        """
        CREATE TABLE marks (
            segment TEXT NOT NULL,
            first   TEXT NOT NULL,
            last    TEXT NOT NULL,
            next    TEXT NOT NULL,
            PRIMARY KEY (segment, first, last)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE resting (
            segment TEXT NOT NULL,
            address TEXT NOT NULL,
            since   INTEGER NOT NULL,
            PRIMARY KEY (segment, address)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX resting_by_time ON resting (segment, since, address)",
        """
        CREATE TABLE heartbeats (
            host TEXT PRIMARY KEY,
            at   INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        """
        CREATE TABLE reserved (
            segment TEXT NOT NULL,
            address TEXT NOT NULL,
            mac     TEXT,
            name    TEXT,
            note    TEXT NOT NULL,
            made_at INTEGER NOT NULL,
            PRIMARY KEY (segment, address)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    ("DROP TABLE heartbeats",),  # a file is one host's, which needs none
    (  # by segment and address in the table itself: the index cost each new lease one page more
        "ALTER TABLE leases RENAME TO indexed",
        "DROP INDEX leases_by_address",
        f"""
        CREATE TABLE leases (
            {_LEASE},
            segment     TEXT NOT NULL,
            PRIMARY KEY (segment, address, pool)
        ) STRICT, WITHOUT ROWID
        """,
        "INSERT INTO leases SELECT * FROM indexed",
        "DROP TABLE indexed",
    ),
    (  # the key's columns first: SQLite 3.40.0 to 3.41.0 call a table damaged that has them later
        "ALTER TABLE leases RENAME TO keyed_late",
        """
        CREATE TABLE leases (
            segment     TEXT NOT NULL,
            address     TEXT NOT NULL,
            pool        TEXT NOT NULL,
            owner       TEXT NOT NULL,
            generation  INTEGER NOT NULL,
            state       TEXT NOT NULL,
            mac         TEXT NOT NULL,
            name        TEXT,
            client_id   BLOB,
            hostname    TEXT,
            acquired_at INTEGER NOT NULL,
            bound_at    INTEGER,
            renew_at    INTEGER,
            rebind_at   INTEGER,
            expires_at  INTEGER,
            released_at INTEGER,
            terms       TEXT,
            form        TEXT NOT NULL,
            PRIMARY KEY (segment, address, pool)
        ) STRICT, WITHOUT ROWID
        """,
        """
        INSERT INTO leases (
            segment, address, pool, owner, generation, state, mac, name, client_id, hostname,
            acquired_at, bound_at, renew_at, rebind_at, expires_at, released_at, terms, form
        ) SELECT
            segment, address, pool, owner, generation, state, mac, name, client_id, hostname,
            acquired_at, bound_at, renew_at, rebind_at, expires_at, released_at, terms, form
        FROM keyed_late
        """,
        "DROP TABLE keyed_late",
    ),
    (  # what the server says of a lease is another thing than what Docker does with it
        "ALTER TABLE leases ADD COLUMN standing TEXT NOT NULL DEFAULT 'granted'",
        "UPDATE leases SET standing = 'lost' WHERE state = 'lost'",
        "UPDATE leases SET state = 'bound' WHERE state IN ('lost', 'renewing', 'rebinding')",
        "ALTER TABLE pools ADD COLUMN version INTEGER NOT NULL DEFAULT 0",
    ),
)
"""Numbered from 1, which is what ``PRAGMA user_version`` says when it has run. Only ever append.

A table WITHOUT ROWID declares the columns of its key first, in the key's order: where it does not,
quick_check of SQLite 3.40.0 to 3.41.0 (Debian 12 has 3.40.1) sees NULLs that are not there.
"""

_HEADER_SIZE = 100
_PRIMARY_CODE = 0xFF  # the rest of an extended result code says more than we act on

_FULL = "free some space there, and D4D goes on by itself"
_DENIED = "see that the directory exists and that D4D may write to it and to the file"
_FOREIGN = "move it away, or point D4D_STATE_DIR elsewhere; D4D has not touched it"
_DAMAGED = "SQLite calls it damaged: keep a copy of it, and see what `d4d doctor` can read of it"
_REMEDIES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _DENIED,
    sqlite3.SQLITE_PERM: _DENIED,
    sqlite3.SQLITE_CANTOPEN: _DENIED,
    sqlite3.SQLITE_BUSY: "another process holds it: end that (a second d4d, an sqlite3 shell?)",
    sqlite3.SQLITE_LOCKED: "another process holds it: end that (a second d4d, an sqlite3 shell?)",
    sqlite3.SQLITE_NOTADB: _FOREIGN,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_IOERR: "the disk failed: see the kernel's log, and the limits on file size",
}
_OS_REMEDIES = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL}


def is_held(error: sqlite3.Error) -> bool:
    """Whether another process held the file for longer than was waited for."""
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself raised it
    return code is not None and code & _PRIMARY_CODE in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def unavailable(path: Path, doing: str, error: sqlite3.Error | OSError) -> StoreUnavailable:
    """What ``error`` means to the operator, when ``doing`` (such as "write to") failed."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself raised it
        remedy = _REMEDIES.get(code & _PRIMARY_CODE) if code is not None else None
        reason = str(error)
    else:
        remedy = _OS_REMEDIES.get(error.errno or 0, _DENIED)
        reason = error.strerror or str(error)
    text = f"can't {doing} the lease store {path}: {reason}"
    failure = StoreUnavailable(f"{text}: {remedy}" if remedy else text)
    failure.__cause__ = error
    return failure


def open_database(
    path: Path, *, busy_timeout: timedelta, migrations: Sequence[Migration]
) -> sqlite3.Connection:
    """Open ``path``, created where it is missing, at the version of the last of ``migrations``.

    The connection is in autocommit mode, belongs to the calling thread, and syncs each commit.
    Raises StoreTooNew, StoreUnavailable, sqlite3.Error and OSError.
    """
    _create(path)
    connection = sqlite3.connect(path, timeout=busy_timeout.total_seconds(), isolation_level=None)
    try:
        _check(connection, path, len(migrations))
        connection.execute("PRAGMA page_size = 2048")  # of new files: a change writes whole pages
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.create_function("segment_of", 1, segment_of, deterministic=True)
        _migrate(connection, path, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only a new file is opened here: to close a file takes away the locks that another connection
    # of this process has on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    # SQLite refuses what is none of its files, but takes one of a single byte for an empty one.
    if 0 < path.stat().st_size < _HEADER_SIZE:
        raise StoreUnavailable(f"the lease store {path} is no SQLite database: {_FOREIGN}")


def _check(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """The file's version. Raises StoreTooNew, or StoreUnavailable where it is another program's."""
    version = _number(connection, "PRAGMA user_version")
    empty = _number(connection, "SELECT count(*) FROM sqlite_schema") == 0
    if not empty and _number(connection, "PRAGMA application_id") != _APPLICATION_ID:
        raise StoreUnavailable(f"the database {path} is another program's: {_FOREIGN}")
    if version > newest:
        raise StoreTooNew(
            f"the lease store {path} has version {version}, and this D4D knows versions up to "
            f"{newest}: run the later D4D that wrote it, or restore a backup of before"
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    while _check(connection, path, len(migrations)) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        # Asked again behind the lock: another process may have migrated meanwhile.
        version = _check(connection, path, len(migrations))
        for statement in migrations[version] if version < len(migrations) else ():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {min(version + 1, len(migrations))}")
        connection.execute("COMMIT")


def _number(connection: sqlite3.Connection, query: str) -> int:
    with closing(connection.execute(query)) as cursor:
        (number,) = cursor.fetchone()
    return int(number)

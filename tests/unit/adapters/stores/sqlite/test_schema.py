"""The schema of our SQLite files, and that a file of each earlier version comes over whole."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from d4d.adapters.history.database import HistoryFile
from d4d.adapters.stores.lease_codec import LeaseRow, lease_row, reservations_to_json
from d4d.adapters.stores.sqlite.database import MIGRATIONS, open_database
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.addressing import MacAddress, to_number
from d4d.domain.lease_states import Standing, Use
from d4d.domain.leases import Endpoint, Lease, LeaseState, RenewalForm, Terms
from d4d.domain.pools import Pool, PoolOptions, PoolRecord, Purpose, ReservedAddress
from d4d.domain.segments import segment_of

NOW = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ON_BRIDGE = PoolOptions(parent="br0")
POOLS = (
    Pool(subnet=ip_network("192.168.59.0/24")),
    Pool(subnet=ip_network("192.168.59.0/24"), options=ON_BRIDGE),
    Pool(subnet=ip_network("192.168.59.0/24"), gateway=IPv4Address("192.168.59.1")),
    Pool(subnet=IPv6Network("fd00:61::/64")),
)
RECORDS = tuple(
    PoolRecord(
        pool=pool,
        users=number,
        reservations=(ReservedAddress(address=pool.subnet[1], purpose=Purpose.GATEWAY, count=2),),
    )
    for number, pool in enumerate(POOLS, start=1)
)


def a_lease(number: int, pool: Pool, owner: str) -> Lease:
    """One with everything, or with the least that there can be."""
    least = Lease(
        pool=pool.id,
        address=pool.subnet[10 + number],
        endpoint=Endpoint(mac=MacAddress(b"\x02\x42" + number.to_bytes(4, "big"))),
        acquired_at=NOW,
        owner=owner,
        generation=100 + number,
    )
    if number % 2:
        return least
    return replace(
        least,
        endpoint=replace(least.endpoint, name=f"é {number}"),
        use=tuple(Use)[number % len(Use)],
        standing=tuple(Standing)[number // 2 % len(Standing)],
        client_id=b"\x00\xff" + bytes([number]),
        hostname=f"c{number}",
        bound_at=NOW + timedelta(seconds=1),
        renew_at=NOW + timedelta(seconds=2),
        rebind_at=NOW + timedelta(seconds=3),
        expires_at=NOW + timedelta(seconds=4),
        released_at=NOW + timedelta(seconds=5),
        terms=Terms(server=IPv4Address("192.168.59.2"), lease_time=timedelta(hours=1)),
        form=RenewalForm.RENEWING,
    )


LEASES = tuple(
    a_lease(number, pool, "host-a")
    for pool in POOLS
    for number in range(24)
    # Pools of one subnet and parent share their addresses, but for what is no lease any more.
    if pool.options == ON_BRIDGE or number % len(POOLS) == POOLS.index(pool)
)
MARK = ("192.168.59.0/24", to_number(IPv4Address(1)), to_number(IPv4Address(9)), "7")
RESTING = ("fd00:61::/64", to_number(IPv6Address("fd00:61::9")), 12345)
RESERVED = (segment_of(POOLS[1].id), to_number(POOLS[1].subnet[3]), None, "web", "the note", 678)
_AXES = 7  # the version that tells what the server says from what Docker does


def migrated(path: Path, version: int) -> sqlite3.Connection:
    """The connection to a file of this version."""
    return open_database(path, busy_timeout=timedelta(0), migrations=MIGRATIONS[:version])


def tables(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    return [name for (name,) in connection.execute(query)]


def as_then(lease: Lease) -> tuple[Any, ...]:
    """The row of a lease before there were two axes: lost was one of its states."""
    *row, _ = lease_row(lease)
    state = "lost" if lease.state is LeaseState.LOST else row[LeaseRow._fields.index("state")]
    row[LeaseRow._fields.index("state")] = state
    return tuple(row)


def of_then(lease: Lease, version: int) -> Lease:
    """What is known of ``lease`` by a file of that version."""
    if version >= _AXES or lease.state is LeaseState.LOST:
        return lease
    return replace(lease, standing=Standing.GRANTED)


def fill(connection: sqlite3.Connection) -> None:
    """A row or more in every table that there is, as a D4D of then wrote it."""
    there = tables(connection)

    def insert(table: str, *rows: tuple[Any, ...], columns: str = "") -> None:
        marks = ", ".join("?" for _ in rows[0])
        connection.executemany(f"INSERT INTO {table} {columns} VALUES ({marks})", rows)

    kept: list[tuple[Any, ...]] = [
        ("host-a", each.pool.id, each.users, reservations_to_json(each.reservations))
        for each in RECORDS
    ]
    has_axes = "version" in {row[1] for row in connection.execute("PRAGMA table_info(pools)")}
    if has_axes:
        kept = [(*row, record.version) for row, record in zip(kept, RECORDS, strict=True)]
    insert("pools", *kept)
    rows = [tuple(lease_row(lease)) for lease in LEASES]
    if not has_axes:
        rows = [as_then(lease) for lease in LEASES]
    columns = ", ".join(LeaseRow._fields[: len(rows[0])])
    described = connection.execute("PRAGMA table_info(leases)").fetchall()
    if "segment" in {row[1] for row in described}:
        insert(
            "leases",
            *((*row, segment_of(row[0])) for row in rows),
            columns=f"({columns}, segment)",
        )
    else:
        insert("leases", *rows, columns=f"({columns})")
    connection.execute("UPDATE generations SET last = 4242")
    others = {"marks": MARK, "resting": RESTING, "reserved": RESERVED, "heartbeats": ("host-a", 1)}
    for table, row in others.items():
        if table in there:
            insert(table, row)


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
async def test_a_file_of_each_earlier_version_keeps_every_row(tmp_path: Path, version: int) -> None:
    path = tmp_path / "leases.db"
    with closing(migrated(path, version)) as old:
        fill(old)
        before = {table: old.execute(f"SELECT * FROM {table}").fetchall() for table in tables(old)}
    store = SqliteLeaseStore(path)
    contents = await store.load("host-a")
    expected = [of_then(lease, version) for lease in LEASES]
    assert sorted(contents.leases, key=key_of) == sorted(expected, key=key_of)
    assert set(contents.pools) == set(RECORDS)
    next_one = await store.add(replace(LEASES[0], address=POOLS[0].subnet[200]))
    assert next_one.generation > 4242
    await store.aclose()
    with closing(migrated(path, len(MIGRATIONS))) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        for table in ("pools", "marks", "resting", "reserved"):
            if table in before:
                added = (0,) if table == "pools" and version < _AXES else ()
                expected_rows = [(*row, *added) for row in before[table]]
                assert new.execute(f"SELECT * FROM {table}").fetchall() == expected_rows
        segments = new.execute("SELECT pool, segment FROM leases").fetchall()
        assert all(segment == segment_of(pool) for pool, segment in segments)


def key_of(lease: Lease) -> tuple[str, str]:
    return lease.pool, str(lease.address)


def of_leases(path: Path) -> sqlite3.Connection:
    connection = migrated(path, len(MIGRATIONS))
    fill(connection)
    return connection


def of_history(path: Path) -> sqlite3.Connection:
    HistoryFile.open(path).close()
    return sqlite3.connect(path)


@pytest.mark.parametrize("make", [of_leases, of_history])
def test_a_table_without_rowid_declares_its_key_first_and_in_its_order(
    tmp_path: Path, make: Callable[[Path], sqlite3.Connection]
) -> None:
    """quick_check of SQLite 3.40.0 to 3.41.0 sees NULLs that are not there in any other."""
    late = []
    with closing(make(tmp_path / "file.db")) as connection:
        for table in tables(connection):
            (sql,) = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE name = ?", (table,)
            ).fetchone()
            described = connection.execute(f"PRAGMA table_info({table})").fetchall()
            places = [row[5] for row in described]  # in the key, from 1; 0 is not in it
            length = max(places)
            if "WITHOUT ROWID" in sql and places[:length] != [*range(1, length + 1)]:
                late.append(f"{table}: {sql}")
    assert late == []


@pytest.mark.parametrize("check", ["quick_check", "integrity_check"])
@pytest.mark.parametrize("make", [of_leases, of_history])
def test_sqlites_own_check_finds_nothing(
    tmp_path: Path, make: Callable[[Path], sqlite3.Connection], check: str
) -> None:
    with closing(make(tmp_path / "file.db")) as connection:
        assert connection.execute(f"PRAGMA {check}").fetchall() == [("ok",)]

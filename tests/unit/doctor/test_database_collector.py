"""What the doctor sees of real files: whole ones with contents, and ones that are damaged."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from d4d.adapters.history.database import HistoryFile
from d4d.adapters.stores.sqlite.database import MIGRATIONS
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.doctor.collectors.database import DatabaseFacts, inspect_history, inspect_leases
from d4d.doctor.findings import Finding
from d4d.doctor.run import judge
from d4d.domain.address_selection import AddressClaim
from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease, RenewalForm, Terms
from d4d.domain.pools import Pool, PoolRecord, Purpose, ReservedAddress
from d4d.domain.reservations import Reservation
from d4d.domain.segments import segment_of
from tests.support.diagnostics_cases import facts

NOW = datetime(2026, 3, 1, 11, 0, tzinfo=UTC)
POOL = Pool(subnet=IPv4Network("10.77.0.0/16"), gateway=IPv4Address("10.77.0.1"))
RANGED = Pool(subnet=IPv4Network("10.78.0.0/24"))
LEASES = 200
NOBODY = 65534
WITH_ROWS = ("pools", "leases", "generations", "marks", "resting", "reserved")


def endpoint(number: int) -> Endpoint:
    return Endpoint(mac=MacAddress(b"\x02\x42" + number.to_bytes(4, "big")), name=f"c{number}")


def lease(number: int, **changed: object) -> Lease:
    made = Lease(
        pool=POOL.id,
        address=POOL.subnet[1000 + number],
        endpoint=endpoint(number),
        acquired_at=NOW,
        bound_at=NOW + timedelta(seconds=number),
        owner="host-a",
        client_id=b"\x00\xff\x80" + bytes([number % 256]),
        terms=Terms(server=IPv4Address("10.77.0.3"), lease_time=timedelta(hours=1)),
    )
    return replace(made, **changed)  # type: ignore[arg-type]  # what a lease has


async def fill(store: SqliteLeaseStore) -> None:
    """Something in every table: also what the range allocator keeps of freed addresses."""
    reservations = (ReservedAddress(address=POOL.subnet[1], purpose=Purpose.GATEWAY),)
    await store.save_pool(PoolRecord(pool=POOL, users=1, reservations=reservations), "host-a")
    await asyncio.gather(*(store.add(lease(number)) for number in range(LEASES)))
    await store.reserve(
        Reservation(segment=segment_of(POOL.id), address=POOL.subnet[7], name="web", made_at=NOW)
    )
    claim = AddressClaim(
        pool=RANGED,
        endpoint=endpoint(9000),
        owner="host-a",
        at=NOW,
        rest=timedelta(seconds=60),
    )
    taken = await store.take(claim)
    await store.update(replace(taken, use=Use.FREED, released_at=NOW))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteLeaseStore]:
    store = SqliteLeaseStore(path)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    file = tmp_path / "leases.db"
    async with opened(file) as store:
        await fill(store)
    return file


def event(number: int) -> LeaseEvent:
    return LeaseEvent(
        kind=EventKind.ACQUIRED,
        at=NOW + timedelta(seconds=number),
        pool=POOL.id,
        address=POOL.subnet[1000 + number],
        endpoint=endpoint(number),
        detail="from 10.77.0.3",
    )


@pytest.fixture
def history(tmp_path: Path) -> Path:
    file = tmp_path / "history.db"
    with closing(HistoryFile.open(file)) as opened_file:
        opened_file.add("host-a", [event(number) for number in range(LEASES)])
    return file


def found(look: DatabaseFacts, *, is_history: bool = False) -> dict[str, Finding]:
    seen = facts(history=look) if is_history else facts(database=look)
    return {each.code: each for outcome in judge(seen) for each in outcome.findings}


def edit(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def page_size(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[16:18], "big")


def overwrite(path: Path, page: int, content: bytes = b"\xa5") -> None:
    """Put noise over a page, the first of which is 1."""
    size = page_size(path)
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(content * (size // len(content)))


def root_of(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        return int(connection.execute(query, (name,)).fetchone()[0])


# Whole files


def test_a_store_with_leases_reservations_pools_and_rests_is_well(path: Path) -> None:
    look = inspect_leases(path)
    assert (look.error, look.complaint, look.unread, look.foreign) == (None,) * 4
    assert look.version == len(MIGRATIONS)
    assert look.newest == NOW + timedelta(seconds=LEASES - 1)
    with closing(sqlite3.connect(path)) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in WITH_ROWS
        ]
    assert all(counts), dict(zip(WITH_ROWS, counts, strict=True))
    assert look.rows == sum(counts)
    assert found(look) == {}


def test_a_history_with_events_is_well(history: Path) -> None:
    look = inspect_history(history)
    assert (look.error, look.complaint, look.unread, look.foreign) == (None,) * 4
    assert look.rows == LEASES
    assert found(look, is_history=True) == {}


def test_what_is_not_there_is_no_finding(tmp_path: Path) -> None:
    look = inspect_leases(tmp_path / "leases.db")
    assert not look.exists
    assert found(look) == found(inspect_history(tmp_path / "history.db"), is_history=True) == {}


async def test_a_store_that_a_driver_writes_is_well(tmp_path: Path) -> None:
    """What was written is in the log beside the file, and no byte of either is changed."""
    file = tmp_path / "leases.db"
    async with opened(file) as store:
        await fill(store)
        before = file.read_bytes(), (tmp_path / "leases.db-wal").read_bytes()
        look = await asyncio.to_thread(inspect_leases, file)
        assert (file.read_bytes(), (tmp_path / "leases.db-wal").read_bytes()) == before
        assert found(look) == {}
        assert look.newest == NOW + timedelta(seconds=LEASES - 1)
        await store.add(lease(LEASES))  # the look held nobody up


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
async def test_a_store_of_an_older_version_is_well_before_it_is_migrated(
    tmp_path: Path, version: int
) -> None:
    """An older driver may be running still, and its check may see NULLs that are not there."""
    file = tmp_path / "leases.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.create_function("segment_of", 1, segment_of)
        for migration in MIGRATIONS[:version]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        columns = {row[1]: row[3] for row in connection.execute("PRAGMA table_info(leases)")}
        known = {
            "pool": POOL.id,
            "address": "10.77.3.4",
            "segment": segment_of(POOL.id),
            "state": "bound",
            "mac": "02:42:00:00:00:01",
            "generation": 1,
            "acquired_at": 1,
            "form": RenewalForm.RENEWING.value,
            "owner": "host-a",
        }
        names = [name for name in columns if name in known]
        marks = ", ".join("?" for _ in names)
        connection.execute(
            f"INSERT INTO leases ({', '.join(names)}) VALUES ({marks})",
            [known[name] for name in names],
        )
    look = inspect_leases(file)
    assert look.version == version
    assert found(look) == {}


# Files that are damaged: reading says so, too


def test_a_page_of_leases_that_is_noise_is_damage_by_both_proofs(path: Path) -> None:
    overwrite(path, root_of(path, "leases"))
    finding = found(inspect_leases(path))["store-damaged"]
    assert "its check says: " in finding.found
    assert "its rows can't all be read: database disk image is malformed" in finding.found
    assert "keep a copy" in finding.remedy


def test_a_first_page_that_is_noise_is_damage(path: Path) -> None:
    overwrite(path, 1)
    finding = found(inspect_leases(path))["store-damaged"]
    assert "file is not a database" in finding.found
    assert "it begins with b'\\xa5" in finding.found


def test_a_file_that_was_cut_off_is_damage(path: Path) -> None:
    os.truncate(path, page_size(path) * 3)
    assert "can't all be read" in found(inspect_leases(path))["store-damaged"].found


@pytest.mark.parametrize("content", [b"x", b"not a database\n", b"SQLite format 3\0" + b"\x08" * 9])
def test_a_file_too_short_for_a_database_is_damage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    finding = found(inspect_leases(path))["store-damaged"]
    assert f"it has {len(content)} bytes" in finding.found
    assert path.read_bytes() == content


def test_what_is_no_database_is_damage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    assert "it begins with b'no database" in found(inspect_leases(path))["store-damaged"].found


def test_a_history_that_is_damaged_costs_no_lease(history: Path) -> None:
    overwrite(history, root_of(history, "events"))
    codes = found(inspect_history(history), is_history=True)
    assert list(codes) == ["history-damaged"]
    assert "no lease is in it" in codes["history-damaged"].remedy


# Files that are not: nothing is to be given up


def gives_up_nothing(finding: Finding) -> bool:
    return "give nothing up" in finding.remedy and "move" not in finding.remedy


def test_an_index_that_is_noise_costs_nothing(path: Path) -> None:
    overwrite(path, root_of(path, "resting_by_time"))
    codes = found(inspect_leases(path))
    assert list(codes) == ["store-check-complains"]
    finding = codes["store-check-complains"]
    assert "yet all its" in finding.found
    assert gives_up_nothing(finding)


def test_an_index_of_the_history_that_is_noise_costs_nothing(history: Path) -> None:
    overwrite(history, root_of(history, "events_of_mac"))
    codes = found(inspect_history(history), is_history=True)
    assert list(codes) == ["store-check-complains"]
    assert gives_up_nothing(codes["store-check-complains"])


def test_an_empty_file_is_not_called_damaged(path: Path) -> None:
    path.write_bytes(b"")
    codes = found(inspect_leases(path))
    assert list(codes) == ["store-empty"]
    assert "in the log" not in codes["store-empty"].found
    assert path.read_bytes() == b""


async def test_the_log_of_an_empty_file_is_left_where_it_is(tmp_path: Path) -> None:
    """SQLite deletes it, when it opens the file: it may hold what was lost."""
    file, log = tmp_path / "leases.db", tmp_path / "leases.db-wal"
    async with opened(file) as store:
        await fill(store)
        kept = log.read_bytes()
    file.write_bytes(b"")
    log.write_bytes(kept)
    finding = found(inspect_leases(file))["store-empty"]
    assert f"{len(kept)} bytes are in the log" in finding.found
    assert log.read_bytes() == kept


UNUSABLE = {
    "state": "UPDATE leases SET state = 'confused' WHERE address = '10.77.3.237'",
    "mac": "UPDATE leases SET mac = 'none' WHERE address = '10.77.3.237'",
    "instant": "UPDATE leases SET acquired_at = 9000000000000000000",
    "terms": "UPDATE leases SET terms = '[1' WHERE address = '10.77.3.237'",
    "text": "UPDATE leases SET name = CAST(x'ff' AS TEXT) WHERE address = '10.77.3.237'",
    "pool": "UPDATE pools SET pool = 'no subnet'",
    "reserved": "UPDATE reserved SET address = 'zz'",
    "resting": "UPDATE resting SET since = 9000000000000000000",
    "marks": "UPDATE marks SET next = 'x'",
}


@pytest.mark.parametrize("statement", UNUSABLE.values(), ids=UNUSABLE)
def test_a_row_that_can_not_be_used_is_shown_and_is_no_damage(path: Path, statement: str) -> None:
    edit(path, statement)
    codes = found(inspect_leases(path))
    assert list(codes) == ["store-foreign-row"]
    table = statement.split()[1]
    assert f"a row that D4D can't use: {table}: " in codes["store-foreign-row"].found


@pytest.mark.parametrize("what", ["state", "mac", "instant", "terms", "pool"])
async def test_what_the_doctor_calls_unusable_the_driver_refuses_in_its_own_words(
    path: Path, what: str
) -> None:
    edit(path, UNUSABLE[what])
    async with opened(path) as store:
        with pytest.raises(Exception, match="holds what D4D never wrote") as refusal:
            await store.load("host-a")
    assert type(refusal.value).__name__ == "StoreUnavailable"


def test_an_event_that_can_not_be_used_costs_no_lease(history: Path) -> None:
    edit(history, "UPDATE events SET kind = 'confused'")
    finding = found(inspect_history(history), is_history=True)["history-damaged"]
    assert "confused" in finding.found


# Files that can't be looked into


@contextmanager
def somebody_else() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be another user")
@pytest.mark.parametrize("look_at", [inspect_leases, inspect_history])
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_another_user_hears_that_it_may_not_be_read(
    path: Path, history: Path, look_at: Callable[[Path], DatabaseFacts], mode: int
) -> None:
    file = path if look_at is inspect_leases else history
    file.parent.chmod(mode)
    for parent in file.parent.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    with somebody_else():
        look = look_at(file)
    codes = found(look, is_history=look_at is inspect_history)
    assert list(codes) == ["store-unreadable"]
    assert "Permission denied" in codes["store-unreadable"].found


def test_a_file_that_somebody_holds_is_not_called_damaged(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("UPDATE generations SET last = last + 1")
        codes = found(inspect_leases(path))
        holder.execute("ROLLBACK")
    assert list(codes) == ["store-unreadable"]
    assert "locked" in codes["store-unreadable"].found


def test_a_later_version_is_read_and_not_judged_by_todays_rules(path: Path) -> None:
    edit(
        path,
        "ALTER TABLE leases ADD COLUMN zone TEXT",
        "UPDATE leases SET state = 'of tomorrow'",
        f"PRAGMA user_version = {len(MIGRATIONS) + 1}",
    )
    look = inspect_leases(path)
    assert look.rows > LEASES
    assert list(found(look)) == ["store-too-new"]

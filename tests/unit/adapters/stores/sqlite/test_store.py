"""What only the SQLite store does: files, syncs, migrations, and failures that pass."""

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from d4d.adapters.stores.sqlite.database import MIGRATIONS, open_database
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest, StoreTooNew, StoreUnavailable
from d4d.domain.leases import Endpoint, Lease, Terms
from d4d.domain.pools import Pool, PoolRecord
from d4d.domain.stored import StoreContents

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
POOL = Pool(subnet=ip_network("192.168.59.0/24"))
NOBODY = 65534
SOON = timedelta(milliseconds=20)


def a_lease(host: int = 10, *, name: str | None = None) -> Lease:
    return Lease(
        pool=POOL.id,
        address=ip_address(f"192.168.59.{host}"),
        endpoint=Endpoint(mac=MacAddress.parse("02:42:c0:a8:3b:0a"), name=name),
        acquired_at=NOW,
        owner="host-a",
        terms=Terms(server=IPv4Address("192.168.59.2"), lease_time=timedelta(hours=1)),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "leases.db"


@asynccontextmanager
async def opened(store: SqliteLeaseStore) -> AsyncIterator[SqliteLeaseStore]:
    try:
        yield store
    finally:
        await store.aclose()


async def leases_in(path: Path) -> set[Lease]:
    async with opened(SqliteLeaseStore(path)) as store:
        return set((await store.load("host-a")).leases)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


def commits_in_wal(path: Path) -> int:
    """Transactions in the WAL of ``path``: a frame that ends one tells the database's size."""
    wal = path.with_name(path.name + "-wal").read_bytes()
    page_size, salts = struct.unpack_from(">I", wal, 8)[0], wal[16:24]
    frames = range(32, len(wal), 24 + page_size)
    return sum(
        1
        for at in frames
        if wal[at + 8 : at + 16] == salts and struct.unpack_from(">I", wal, at + 4)[0]
    )


async def test_nothing_is_created_before_the_first_call(path: Path) -> None:
    await SqliteLeaseStore(path).aclose()
    assert not path.parent.exists()


async def test_only_the_owner_can_read_what_is_created(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        await store.add(a_lease())
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert modes == {"leases.db": 0o600, "leases.db-wal": 0o600, "leases.db-shm": 0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_leases_pools_and_generations_survive_a_restart(path: Path) -> None:
    record = PoolRecord(pool=POOL, users=1)
    async with opened(SqliteLeaseStore(path)) as store:
        await store.save_pool(record, "host-a")
        kept, removed = await store.add(a_lease(10)), await store.add(a_lease(11))
        await store.remove(removed)
    async with opened(SqliteLeaseStore(path)) as store:
        contents = await store.load("host-a")
        assert (contents.leases, contents.pools) == ((kept,), (record,))
        assert (await store.add(a_lease(12))).generation > removed.generation


async def test_closing_finishes_what_waits_and_leaves_one_file(path: Path) -> None:
    store = SqliteLeaseStore(path)
    adding = [asyncio.ensure_future(store.add(a_lease(host))) for host in range(1, 33)]
    await asyncio.sleep(0)
    await store.aclose()
    assert [file.name for file in path.parent.iterdir()] == ["leases.db"]
    assert await leases_in(path) == set(await asyncio.gather(*adding))


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteLeaseStore(path)
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.add(a_lease())
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.load("host-a")


async def test_64_adds_at_once_share_a_few_commits(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        await store.load("host-a")
        before = commits_in_wal(path)
        await asyncio.gather(*(store.add(a_lease(host)) for host in range(1, 65)))
        together = commits_in_wal(path) - before
        for host in range(1, 9):
            await store.add(replace(a_lease(host), acquired_at=NOW + SOON))
        one_by_one = commits_in_wal(path) - before - together
    assert 1 <= together <= 16
    assert one_by_one == 8


KILLED = """
import asyncio, sys
from pathlib import Path
from dataclasses import replace
from ipaddress import ip_address
from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from tests.unit.adapters.stores.sqlite.test_store import a_lease

async def main():
    store = SqliteLeaseStore(Path(sys.argv[1]))
    async def add(number):
        while True:
            number += 16
            lease = await store.add(replace(a_lease(), address=ip_address(number)))
            print(lease.address, lease.generation, flush=True)
    await asyncio.gather(*(add(0x0a000000 + n) for n in range(16)))

asyncio.run(main())
"""


async def test_what_was_answered_before_a_kill_is_in_the_file(path: Path) -> None:
    root = str(Path(__file__).parents[5])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, str(path)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
    )
    assert process.stdout
    answered = [await process.stdout.readline() for _ in range(100)]
    process.kill()
    answered += (await process.stdout.read()).splitlines(keepends=True)
    assert await process.wait() == -signal.SIGKILL
    # The kill may have cut the last line short.
    whole = {line.decode().strip() for line in answered if line.endswith(b"\n")}
    stored = {f"{lease.address} {lease.generation}" for lease in await leases_in(path)}
    assert len(whole) >= 100
    assert whole <= stored


async def test_equal_terms_and_pool_ids_are_shared_in_memory(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        await asyncio.gather(*(store.add(a_lease(host)) for host in range(1, 65)))
        leases = (await store.load("host-a")).leases
    assert len(leases) == 64
    assert len({id(lease.terms) for lease in leases}) == 1
    assert len({id(lease.pool) for lease in leases}) == 1


LATER = (*MIGRATIONS, ("ALTER TABLE leases ADD COLUMN note TEXT", "CREATE TABLE hosts (name TEXT)"))


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def tables_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        return {name for (name,) in connection.execute(query)}


async def test_an_older_file_is_migrated_with_its_leases(path: Path) -> None:
    async with opened(SqliteLeaseStore(path, migrations=MIGRATIONS)) as store:
        old = await store.add(a_lease(10))
    assert version_of(path) == len(MIGRATIONS)
    async with opened(SqliteLeaseStore(path, migrations=LATER)) as store:
        new = await store.add(a_lease(11))
        assert set((await store.load("host-a")).leases) == {old, new}
    assert version_of(path) == len(LATER)


async def test_the_file_of_a_d4d_that_kept_heartbeats_in_it_loses_those_and_nothing_else(
    path: Path,
) -> None:
    record = PoolRecord(pool=POOL, users=2)
    with closing(open_database(path, busy_timeout=SOON, migrations=MIGRATIONS[:3])) as old:
        row = ("host-a", record.pool.id, record.users, "[]")
        old.execute("INSERT INTO pools VALUES (?, ?, ?, ?)", row)
    assert "heartbeats" in tables_of(path)
    async with opened(SqliteLeaseStore(path)) as store:
        assert await store.load("host-a") == StoreContents(pools=(record,))
    assert tables_of(path) == {"pools", "leases", "generations", "marks", "resting", "reserved"}


async def test_a_new_lease_changes_one_page_of_the_file(path: Path) -> None:
    log, frame = path.with_name(f"{path.name}-wal"), 24 + 2048  # a header, and the page
    async with opened(SqliteLeaseStore(path)) as store:
        await store.add(a_lease(10))
        before = log.stat().st_size
        await store.add(a_lease(11))
        assert log.stat().st_size - before == frame


async def test_a_new_lease_alone_is_one_statement(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    def traced(*given: Any, **named: Any) -> sqlite3.Connection:
        connection = open_database(*given, **named)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr("d4d.adapters.stores.sqlite.store.open_database", traced)
    async with opened(SqliteLeaseStore(path)) as store:
        await store.add(a_lease(10))
        statements.clear()
        await store.add(a_lease(11))
        assert len(statements) == 1


async def test_stores_of_one_file_give_no_generation_twice(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as one, opened(SqliteLeaseStore(path)) as other:
        given = []
        for number, store in enumerate((one, other) * 100):
            at = NOW + timedelta(microseconds=1 + number)
            given.append((await store.add(replace(a_lease(10), acquired_at=at))).generation)
    assert len(set(given)) == len(given)


async def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    async with opened(SqliteLeaseStore(path, migrations=LATER)) as store:
        await store.add(a_lease())
    before = content_of(path)
    async with opened(SqliteLeaseStore(path)) as store:
        with pytest.raises(StoreTooNew, match=rf"version {len(LATER)}.* up to {len(MIGRATIONS)}"):
            await store.load("host-a")
        with pytest.raises(StoreTooNew, match="run the later D4D"):
            await store.add(a_lease())
    assert content_of(path) == before


async def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        held = await store.add(a_lease())
    broken = (*MIGRATIONS, ("DROP TABLE leases", "INSERT INTO nowhere VALUES (1)"))
    async with opened(SqliteLeaseStore(path, migrations=broken)) as store:
        with pytest.raises(StoreUnavailable, match="nowhere"):
            await store.load("host-a")
    assert version_of(path) == len(MIGRATIONS)
    assert await leases_in(path) == {held}


@pytest.mark.parametrize("content", [b"x", b"not a database\n", b"x" * 8192])
async def test_a_file_that_is_no_database_is_never_overwritten(path: Path, content: bytes) -> None:
    put(path, content)
    async with opened(SqliteLeaseStore(path)) as store:
        with pytest.raises(StoreUnavailable, match=r"leases\.db.*move it away"):
            await store.add(a_lease())
    assert content_of(path) == content


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = content_of(path)
    async with opened(SqliteLeaseStore(path)) as store:
        with pytest.raises(StoreUnavailable, match="another program's"):
            await store.add(a_lease())
    assert content_of(path) == before


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A directory where this process may not write; root gives its power up for the time."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o555)
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(NOBODY)
    try:
        yield directory
    finally:
        if privileged:
            os.seteuid(0)
        shutil.rmtree(directory)


async def test_a_read_only_directory_is_named_with_what_to_do(read_only: Path) -> None:
    async with opened(SqliteLeaseStore(read_only / "leases.db")) as store:
        with pytest.raises(StoreUnavailable, match=r"leases\.db.*denied.*D4D may write"):
            await store.add(a_lease())


async def test_the_store_recovers_when_its_directory_can_be_made(path: Path) -> None:
    path.parent.write_text("in the way")
    async with opened(SqliteLeaseStore(path)) as store:
        with pytest.raises(StoreUnavailable, match=r"can't read .*leases\.db"):
            await store.load("host-a")
        path.parent.unlink()
        added = await store.add(a_lease())
        assert (await store.load("host-a")).leases == (added,)


async def test_the_store_recovers_when_another_process_lets_go(path: Path) -> None:
    async with opened(SqliteLeaseStore(path, busy_timeout=SOON)) as store:
        held = await store.add(a_lease(10))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            failures = await asyncio.gather(
                *(store.add(a_lease(host)) for host in (11, 12)), return_exceptions=True
            )
            assert (await store.load("host-a")).leases == (held,)
        for failure in failures:
            assert isinstance(failure, StoreUnavailable)
            assert "another process holds it" in str(failure)
        await asyncio.sleep(SOON.total_seconds())  # until then nobody waits for it anew
        added = await store.add(a_lease(13))
        assert set((await store.load("host-a")).leases) == {held, added}


async def test_who_comes_while_another_process_is_waited_for_is_told_with_the_rest(
    path: Path,
) -> None:
    """The next attempt would take as long again, and dockerd waits."""
    wait = timedelta(seconds=1)
    async with opened(SqliteLeaseStore(path, busy_timeout=wait)) as store:
        await store.add(a_lease(10))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first = asyncio.ensure_future(store.add(a_lease(11)))
            await asyncio.sleep(0)  # it waits for the thread
            while store._waiting:  # noqa: ASYNC110 - a thread takes it, and tells nobody
                await asyncio.sleep(0)
            others = [asyncio.ensure_future(store.add(a_lease(host))) for host in range(12, 52)]
            with pytest.raises(StoreUnavailable, match="another process holds it"):
                await first
            assert all(each.done() for each in others), "they wait for an attempt of their own"
            outcomes = await asyncio.gather(*others, return_exceptions=True)
            late = await asyncio.gather(store.add(a_lease(60)), return_exceptions=True)
        assert {type(each) for each in (*outcomes, *late)} == {StoreUnavailable}
        await asyncio.sleep(wait.total_seconds())  # until then nobody waits for it anew
        assert (await store.add(a_lease(61))).generation


async def test_the_store_recovers_when_the_disk_takes_writes_again(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with opened(SqliteLeaseStore(path)) as store:
        held = await store.add(a_lease(10))
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content_of(path)), hard))
        try:
            with pytest.raises(StoreUnavailable, match=r"can't write to .*leases\.db: .*disk"):
                for host in range(11, 64):
                    held = await store.add(a_lease(host))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        added = await store.add(a_lease(64))
        leases = (await store.load("host-a")).leases
        assert held in leases
        assert {lease.generation for lease in leases} == {*range(1, held.generation + 1)} | {
            added.generation
        }


async def test_a_transaction_that_fails_half_way_leaves_nothing_behind(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        first = await store.add(a_lease(10))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("ALTER TABLE leases RENAME TO elsewhere")
            with pytest.raises(StoreUnavailable, match="no such table"):
                await store.add(a_lease(11))
            other.execute("ALTER TABLE elsewhere RENAME TO leases")
        second = await store.add(a_lease(12))
        assert second.generation > first.generation
        assert set((await store.load("host-a")).leases) == {first, second}


async def test_a_text_that_cannot_be_stored_spoils_no_other_write(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        spoilt, added = await asyncio.gather(
            store.add(a_lease(10, name="\ud800")), store.add(a_lease(11)), return_exceptions=True
        )
        assert isinstance(spoilt, BadRequest)
        assert (await store.load("host-a")).leases == (added,)


async def test_a_text_that_cannot_be_stored_is_refused_where_it_is_the_only_write(
    path: Path,
) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        added = await store.add(a_lease(11))
        with pytest.raises(BadRequest, match="no text that can be stored"):
            await store.add(a_lease(10, name="\ud800"))
        assert (await store.load("host-a")).leases == (added,)


async def test_a_damaged_row_is_shown(path: Path) -> None:
    async with opened(SqliteLeaseStore(path)) as store:
        await store.add(a_lease())
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE leases SET state = 'confused'")
        with pytest.raises(StoreUnavailable, match=r"confused.*192\.168\.59\.10"):
            await store.load("host-a")

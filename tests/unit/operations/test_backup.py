"""``d4d backup`` and ``d4d restore`` on a store whose driver does not run."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from d4d.adapters.stores.sqlite.store import SqliteLeaseStore
from d4d.adapters.system.state_directory import StateDirectory
from d4d.domain.addressing import MacAddress
from d4d.domain.lease_states import Use
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import Pool, PoolRecord
from d4d.domain.reservations import Reservation
from d4d.domain.segments import segment_of
from d4d.domain.stored import StoreContents
from d4d.entrypoints.cli.app import cli
from d4d.entrypoints.cli.output import ExitCode
from d4d.settings.model import Settings

NOW = datetime(2026, 11, 25, 16, 30, tzinfo=UTC)
RECORD = PoolRecord(pool=Pool(subnet=ip_network("10.1.0.0/24")), users=1)
KEPT = Reservation(
    segment=segment_of(RECORD.pool.id), address=IPv4Address("10.1.0.99"), made_at=NOW, name="db"
)


def a_lease(last: int, *, use: Use = Use.IN_USE, mac: int | None = None) -> Lease:
    return Lease(
        pool=RECORD.pool.id,
        address=IPv4Address(f"10.1.0.{last}"),
        endpoint=Endpoint(mac=MacAddress(bytes([2, 0, 0, 0, 0, mac or last])), name=f"web{last}"),
        acquired_at=NOW,
        use=use,
        owner="host-a",
        released_at=NOW if use is Use.FREED else None,
        client_id=b"\0host-a",
    )


HELD = [a_lease(1), a_lease(2), a_lease(3, use=Use.FREED)]


class Host:
    """A state directory, and the commands that look there."""

    def __init__(self, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state_dir = state_dir
        self._monkeypatch = monkeypatch

    def d4d(self, *words: str | Path, answer: str = "") -> Result:
        self._monkeypatch.setenv("D4D_STATE_DIR", str(self.state_dir))
        return CliRunner().invoke(cli, list(map(str, words)), input=answer)

    def fill(self, leases: Sequence[Lease], *, name: str = "host-a") -> None:
        StateDirectory(self.state_dir).host(name)
        asyncio.run(self._fill([replace(lease, owner=name) for lease in leases], name))

    async def _fill(self, leases: Sequence[Lease], name: str) -> None:
        store = SqliteLeaseStore(self.state_dir / "leases.db")
        await store.save_pool(RECORD, name)
        for lease in leases:
            await store.add(lease)
        if not await store.reservations():
            await store.reserve(KEPT)
        await store.aclose()

    def contents(self, name: str = "host-a") -> StoreContents:
        return asyncio.run(self._contents(name))

    async def _contents(self, name: str) -> StoreContents:
        store = SqliteLeaseStore(self.state_dir / "leases.db")
        found = await store.load(name)
        assert await store.reservations() in ((), (KEPT,))
        await store.aclose()
        bare = sorted((replace(each, generation=0) for each in found.leases), key=_address)
        return replace(found, leases=tuple(bare))


def _address(lease: Lease) -> IPv4Address:
    assert isinstance(lease.address, IPv4Address)
    return lease.address


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"D4D_{field.upper()}", raising=False)
    monkeypatch.setenv("D4D_ADMIN_BIND", "off")
    state_dir = tmp_path / "d4d"
    state_dir.mkdir()
    return Host(state_dir, monkeypatch)


@pytest.fixture
def file(host: Host, tmp_path: Path) -> Path:
    """A backup of ``host``."""
    host.fill(HELD)
    path = tmp_path / "backup"
    result = host.d4d("backup", path)
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert result.stdout == (f"1 pools, 3 leases, 1 reservations, of host-a, are in {path}.\n")
    assert path.stat().st_mode & 0o777 == 0o600
    return path


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Another machine, or this one after its disk failed."""
    state_dir = tmp_path / "new"
    state_dir.mkdir()
    return Host(state_dir, monkeypatch)


def test_all_comes_back_in_a_new_directory_with_the_hosts_name(file: Path, other: Host) -> None:
    result = other.d4d("restore", file, answer="y\n")
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert "1 pools, 3 leases, 1 reservations were restored" in result.stdout
    assert StateDirectory(other.state_dir).known_host() == "host-a"
    assert other.contents() == StoreContents(pools=(RECORD,), leases=tuple(HELD))


def test_who_says_no_changes_nothing(file: Path, other: Host) -> None:
    result = other.d4d("restore", file, answer="n\n")
    assert result.exit_code == ExitCode.FAILED
    assert StateDirectory(other.state_dir).known_host() is None
    assert other.contents() == StoreContents()


def test_what_is_there_stays_unless_it_is_to_be_replaced(file: Path, host: Host) -> None:
    host.fill([a_lease(7)])
    filled = host.contents()
    refused = host.d4d("restore", file, "--yes")
    assert refused.exit_code == ExitCode.FAILED
    assert "the store has 1 pools, 4 leases of host-a already: add --replace" in refused.stderr
    assert host.contents() == filled

    result = host.d4d("restore", file, "--replace", "--yes")
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert "is forgotten, without giving it back: 1 pools, 4 leases" in result.stderr
    assert host.contents() == StoreContents(pools=(RECORD,), leases=tuple(HELD))


def test_on_a_host_of_another_name_the_leases_become_its_own(file: Path, other: Host) -> None:
    StateDirectory(other.state_dir).host("host-b")
    result = other.d4d("restore", file, "--yes")
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert "see that host-a is switched off" in result.stderr
    owned = tuple(replace(lease, owner="host-b") for lease in HELD)
    assert other.contents("host-b").leases == owned
    assert other.contents() == StoreContents()


def test_a_lease_whose_address_another_host_has_is_told(file: Path, other: Host) -> None:
    other.fill([a_lease(2, mac=50), a_lease(3, mac=51)], name="host-b")
    (other.state_dir / "host").unlink()
    result = other.d4d("restore", file, "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "not restored: the lease of web2 (02:00:00:00:00:02): " in result.stderr
    assert "1 freed leases were not" in result.stdout
    assert other.contents().leases == (HELD[0],)


def test_a_running_driver_is_not_disturbed(file: Path, host: Host) -> None:
    running = StateDirectory(host.state_dir)
    running.lock()
    result = host.d4d("restore", file, "--replace", "--yes")
    running.close()
    assert result.exit_code == ExitCode.FAILED
    assert "another D4D" in result.stderr


def test_a_damaged_file_changes_nothing(file: Path, other: Host) -> None:
    file.write_bytes(file.read_bytes().replace(b"web2", b"web\xff"))
    result = other.d4d("restore", file, "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "not as it was written" in result.stderr
    assert list(other.state_dir.iterdir()) == []


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_memory_can_not_be_reached(
    command: str, file: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D4D_STORE", "memory")
    result = host.d4d(command, file)
    assert (result.exit_code, "D4D_STORE=memory" in result.stderr) == (ExitCode.FAILED, True)


def test_a_directory_that_no_driver_used_is_left_as_it_is(host: Host, tmp_path: Path) -> None:
    result = host.d4d("backup", tmp_path / "backup")
    assert result.exit_code == ExitCode.FAILED
    assert "no D4D ever ran with the state directory" in result.stderr
    assert list(host.state_dir.iterdir()) == []


def test_a_place_that_takes_no_file_is_named(host: Host, tmp_path: Path) -> None:
    host.fill([])
    for place in (tmp_path, tmp_path / "none" / "backup"):
        result = host.d4d("backup", place)
        assert result.exit_code == ExitCode.FAILED
        assert f"can't write the backup to {place}: " in result.stderr
    result = host.d4d("restore", tmp_path / "none")
    assert "can't read the backup" in result.stderr

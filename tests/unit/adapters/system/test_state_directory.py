"""The state directory: one driver has it, and it remembers whose leases it has."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from d4d.adapters.system.state_directory import StateDirectory
from d4d.domain.errors import StoreUnavailable


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[StateDirectory]:
    made = StateDirectory(tmp_path / "var" / "d4d")
    made.lock()
    yield made
    made.close()


def test_it_is_made_for_its_owner_alone(state_dir: StateDirectory, tmp_path: Path) -> None:
    assert (tmp_path / "var" / "d4d").stat().st_mode & 0o777 == 0o700


def test_a_second_driver_is_told_who_has_it(state_dir: StateDirectory, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=rf"another D4D \(pid {os.getpid()}\) uses"):
        StateDirectory(tmp_path / "var" / "d4d").lock()


def test_it_can_be_had_again_after_the_end(state_dir: StateDirectory, tmp_path: Path) -> None:
    state_dir.close()
    state_dir.close()
    again = StateDirectory(tmp_path / "var" / "d4d")
    again.lock()
    again.close()


def test_the_lock_of_a_driver_that_died_is_none(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4194305\n")
    state_dir = StateDirectory(tmp_path)
    state_dir.lock()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    state_dir.close()


def test_a_directory_that_cannot_be_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="Set D4D_STATE_DIR"):
        StateDirectory(tmp_path / "file" / "d4d").lock()


def test_a_renamed_host_keeps_the_name_that_its_leases_have(state_dir: StateDirectory) -> None:
    assert state_dir.host("host-a") == "host-a"
    assert state_dir.host("host-b") == "host-a"


def test_an_installation_is_told_from_every_other(
    state_dir: StateDirectory, tmp_path: Path
) -> None:
    installation = state_dir.installation()
    assert StateDirectory(tmp_path / "var" / "d4d").installation() == installation
    other = StateDirectory(tmp_path)
    assert other.installation() != installation


def test_an_empty_name_is_written_anew(state_dir: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "var" / "d4d" / "host").write_text("\n")
    assert state_dir.host("host-b") == "host-b"
    assert state_dir.host("host-c") == "host-b"


def test_a_name_that_cannot_be_kept_is_an_error(state_dir: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "var" / "d4d" / "host").mkdir()
    with pytest.raises(StoreUnavailable, match="host can't be used"):
        state_dir.host("host-a")


def test_a_host_is_known_from_its_first_start_on(tmp_path: Path) -> None:
    state_dir = StateDirectory(tmp_path)
    assert state_dir.known_host() is None
    state_dir.host("docker1")
    assert state_dir.known_host() == "docker1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_in_it_belongs_to_the_directorys_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.touch()
    (tmp_path / "old").touch()
    with StateDirectory(tmp_path).as_its_owner():
        (tmp_path / "new").touch()
        (tmp_path / "link").hardlink_to(elsewhere)
    assert _owner(tmp_path / "new") == (4711, 4712)
    assert _owner(tmp_path / "old") == (0, 0)
    assert _owner(elsewhere) == (0, 0)


def _owner(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


# What client ids are anchored by

MAC, OTHER_MAC, CARD, OTHER_CARD = (bytes([2, 0, 0, 0, 0, n]) for n in range(4))
CARDS = frozenset({CARD})


def test_an_anchor_is_the_macs_first_and_outlives_the_driver(
    state_dir: StateDirectory, tmp_path: Path
) -> None:
    assert state_dir.anchor("br0", MAC, CARDS) == MAC
    assert state_dir.anchor("br0", OTHER_MAC, CARDS) == MAC
    assert state_dir.anchor("br1", OTHER_MAC, CARDS) == OTHER_MAC
    state_dir.close()
    again = StateDirectory(tmp_path / "var" / "d4d")
    again.lock()
    assert again.anchor("br0", OTHER_MAC, CARDS) == MAC
    assert again.anchor("br0", OTHER_MAC, frozenset({OTHER_CARD})) == OTHER_MAC  # a clone's
    assert again.anchor("br0", MAC, frozenset({OTHER_CARD})) == OTHER_MAC
    again.close()


def test_who_has_not_the_directory_is_told_nothing_and_writes_nothing(tmp_path: Path) -> None:
    assert StateDirectory(tmp_path).anchor("br0", MAC, CARDS) == MAC
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_anchor_is_no_other_anchor(state_dir: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "var" / "d4d" / "anchor-br0").write_text("02:00\n")
    with pytest.raises(StoreUnavailable, match="anchor-br0 can't be used: it is damaged"):
        state_dir.anchor("br0", MAC, CARDS)


def test_what_is_written_is_there_as_a_whole(state_dir: StateDirectory, tmp_path: Path) -> None:
    state_dir.anchor("br0", MAC, CARDS)
    there = {path.name for path in (tmp_path / "var" / "d4d").iterdir()}
    assert there == {"lock", "anchor-br0"}

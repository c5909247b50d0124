"""A backup's file: what is read is what was written, and nothing else is taken for a backup."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4d.adapters.stores.backup_file import FORMAT, Backup, backup_from_text, backup_to_text
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Endpoint, Lease
from d4d.domain.pools import PoolId, PoolRecord
from d4d.domain.reservations import Reservation
from d4d.domain.stored import StoreContents
from tests.support.strategies import addresses, instants, leases, macs, names, pool_records, texts

reservations = st.builds(
    Reservation,
    segment=names,
    address=addresses,
    made_at=instants,
    mac=st.none() | macs,
    name=st.none() | names,
    note=texts,
)
NOTHING = StoreContents()
LEASE = Lease(
    pool=PoolId("10.0.0.0/24"),
    address=IPv4Address("10.0.0.7"),
    endpoint=Endpoint(mac=MacAddress.parse("02:42:0a:00:00:07"), name="web"),
    acquired_at=datetime(2026, 11, 25, tzinfo=UTC),
    owner="host-a",
)


def a_backup(
    here: StoreContents = NOTHING,
    there: StoreContents = NOTHING,
    kept: tuple[Reservation, ...] = (),
) -> Backup:
    moved = tuple(replace(lease, owner="host-b") for lease in there.leases)
    return Backup(
        host="host-a",
        made_at=datetime(2026, 11, 25, 16, 30, tzinfo=UTC),
        version="1.2.3",
        hosts={"host-a": here, "host-b": replace(there, leases=moved)},
        reservations=kept,
    )


@given(pool_records, leases, leases, reservations)
def test_what_is_written_is_read_back(
    record: PoolRecord, here: Lease, there: Lease, kept: Reservation
) -> None:
    backup = a_backup(
        StoreContents(pools=(record,), leases=(here,)),
        StoreContents(pools=(record, record), leases=(there, there)),
        (kept,),
    )
    assert backup_from_text(backup_to_text(backup), "file") == backup


def test_a_file_that_is_cut_off_anywhere_is_refused() -> None:
    text = backup_to_text(a_backup(StoreContents(leases=(LEASE,))))
    for end in range(len(text) - 1):  # the last line's end is no loss
        with pytest.raises(BadRequest, match=r"is cut off|is no backup that d4d made"):
            backup_from_text(text[:end], "file")


def test_a_file_in_which_any_character_changed_is_refused() -> None:
    text = backup_to_text(a_backup(StoreContents(leases=(LEASE,))))
    for at, character in enumerate(text[:-1]):
        changed = text[:at] + ("#" if character != "#" else "!") + text[at + 1 :]
        with pytest.raises(BadRequest):
            backup_from_text(changed, "file")


def test_a_file_of_a_later_format_names_the_d4d_that_reads_it() -> None:
    head, *rest = backup_to_text(a_backup()).splitlines(keepends=True)
    head = json.dumps(json.loads(head) | {"d4d_backup": FORMAT + 1}) + "\n"
    with pytest.raises(BadRequest, match=rf"format {FORMAT + 1}.*made it \(1\.2\.3\)"):
        backup_from_text("".join([head, *rest]), "file")


@pytest.mark.parametrize("text", ["", "\n", "SQLite format 3\0", "[]", "{}", '{"d4d_backup": "x"}'])
def test_another_programs_file_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="file is no backup that d4d made"):
        backup_from_text(text, "file")


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"kind": "lease", "owner": "host-a"}',
        '{"kind": "pool", "owner": "host-c", "pool": "10.0.0.0/8", "users": 1}',
        '{"kind": "reservation", "address": "10.0.0.300"}',
        '{"kind": "spoon", "owner": "host-a"}',
    ],
)
def test_a_line_that_d4d_never_writes_is_named_though_the_checksum_is_right(line: str) -> None:
    head = backup_to_text(a_backup()).splitlines(keepends=True)[0]
    body = f"{head}{line}\n"
    end = json.dumps({"kind": "end", "lines": 2, "sha256": sha256(body.encode()).hexdigest()})
    with pytest.raises(BadRequest, match="line 2 of file is none of a backup"):
        backup_from_text(body + end, "file")

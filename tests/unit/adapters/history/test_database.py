"""The history's file: what a look-up costs does not grow with it, and old files are taken over."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from d4d.adapters.history.database import HistoryFile
from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId
from d4d.domain.ports.history import HistoryEntry, HistoryQuery

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POOLS = (PoolId("10.0.0.0/24"), PoolId("10.0.0.0/24?parent=eth1"))
TEN = IPv4Address("10.0.0.10")
WEB = Endpoint(mac=MacAddress.parse("02:42:0a:00:00:0a"), name="web")
K = EventKind

OLD_SCHEMA = """
CREATE TABLE events (
    at INTEGER NOT NULL, kind TEXT NOT NULL, host TEXT NOT NULL, pool TEXT NOT NULL,
    address TEXT NOT NULL, mac TEXT, name TEXT, detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_address ON events (address, pool, at);
CREATE INDEX events_of_mac ON events (mac, at);
CREATE INDEX events_of_name ON events (name, at);
CREATE INDEX events_at ON events (at);
"""

Look = Callable[[HistoryFile], list[HistoryEntry]]


def event(minute: float, *, kind: EventKind = K.ACQUIRED, pool: PoolId = POOLS[0]) -> LeaseEvent:
    at = BEGAN + minute * MINUTE
    return LeaseEvent(kind=kind, at=at, pool=pool, address=TEN, endpoint=WEB, detail="")


def minutes(entries: Sequence[HistoryEntry]) -> list[int]:
    return [round((entry.event.at - BEGAN) / MINUTE) for entry in entries]


@pytest.fixture
def file() -> Iterator[HistoryFile]:
    with closing(HistoryFile(sqlite3.connect(":memory:"))) as opened:
        yield opened


def steps(look: Look, *, events: int) -> int:
    """How many of SQLite's instructions the look-up takes, in tens.

    The file is in memory, and has an address that two pools had in turns.
    """
    tens = 0

    def count() -> None:
        nonlocal tens
        tens += 1

    with closing(sqlite3.connect(":memory:")) as connection:
        file = HistoryFile(connection)
        file.add(
            "host-a",
            [
                event(n, pool=POOLS[n // 50 % 2], kind=K.LOST if n in (3, 7) else K.RENEWED)
                for n in range(events)
            ],
        )
        connection.set_progress_handler(count, 10)
        assert look(file)
    return tens


@pytest.mark.parametrize(
    "look",
    [
        lambda file: file.find(HistoryQuery(address=TEN, limit=20)),
        lambda file: file.find(HistoryQuery(address=TEN, until=BEGAN + 90 * MINUTE, limit=20)),
        lambda file: file.find(HistoryQuery(mac=WEB.mac, limit=20)),
        lambda file: file.find(HistoryQuery(mac=WEB.mac, until=BEGAN + 90 * MINUTE, limit=20)),
        lambda file: file.find(HistoryQuery(name="web", since=BEGAN, limit=20)),
        lambda file: file.find(HistoryQuery(limit=20)),
        lambda file: file.find(HistoryQuery(since=BEGAN, until=BEGAN + 90 * MINUTE, limit=20)),
        lambda file: file.find(HistoryQuery(kinds=frozenset({K.LOST, K.RENEWED}), limit=20)),
        lambda file: file.find(HistoryQuery(kinds=frozenset({K.LOST}), until=BEGAN + 90 * MINUTE)),
        lambda file: file.holders(TEN, BEGAN + 90 * MINUTE),
    ],
    ids=[
        "address",
        "address then",
        "mac",
        "mac then",
        "name",
        "all",
        "then",
        "kinds",
        "kind",
        "holders",
    ],
)
def test_a_look_up_takes_no_more_steps_where_there_are_fifty_times_as_many_events(
    look: Look,
) -> None:
    assert steps(look, events=10_000) <= steps(look, events=200) + 2


def test_an_address_of_two_pools_is_told_of_in_the_order_of_time(file: HistoryFile) -> None:
    file.add("host-a", [event(n, pool=POOLS[n % 2]) for n in range(10)])
    assert minutes(file.find(HistoryQuery(address=TEN, limit=4))) == [9, 8, 7, 6]


def test_events_of_some_kinds_are_told_however_long_ago_they_were(file: HistoryFile) -> None:
    rare = {3: K.LOST, 5: K.CONFLICT, 6: K.LOST}
    file.add("host-a", [event(n, kind=rare.get(n, K.RENEWED)) for n in range(300)])
    kinds = frozenset({K.LOST, K.CONFLICT})
    assert minutes(file.find(HistoryQuery(kinds=kinds))) == [6, 5, 3]
    assert minutes(file.find(HistoryQuery(kinds=kinds, address=TEN, limit=2))) == [6, 5]
    assert minutes(file.find(HistoryQuery(kinds=kinds - {K.LOST}, name="web"))) == [5]


def test_events_of_one_instant_are_all_kept_in_their_order(file: HistoryFile) -> None:
    kinds = [K.ACQUIRED, K.LATE, K.LOST]
    file.add("host-a", [event(0, kind=kind) for kind in kinds])
    file.add("host-a", [event(0, kind=K.RELEASED)])
    kept = [entry.event.kind for entry in file.find(HistoryQuery())]
    assert kept == [K.RELEASED, *reversed(kinds)]


def test_old_events_go_in_steps_and_each_step_begins_where_the_last_one_ended(
    file: HistoryFile,
) -> None:
    file.add("host-a", [event(n, pool=POOLS[n > 0]) for n in range(10)])
    before = BEGAN + 8 * MINUTE
    first = file.prune(after=None, before=before, most=3)
    assert first == BEGAN + 2 * MINUTE
    assert minutes(file.find(HistoryQuery())) == [
        9,
        8,
        7,
        6,
        5,
        4,
        3,
        0,
    ]  # 0 is its pool's last word
    second = file.prune(after=first, before=before, most=100)
    assert minutes(file.find(HistoryQuery())) == [9, 8, 0]
    assert file.prune(after=second, before=before, most=100) is None


def test_a_file_of_earlier_d4d_keeps_its_events(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    instant = round(BEGAN.timestamp()) * 1_000_000
    row = ("host-a", POOLS[0], str(TEN), str(WEB.mac), WEB.name, "")
    with sqlite3.connect(path) as old:
        old.executescript(OLD_SCHEMA)
        events = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        old.execute(events, (instant + 60_000_000, "released", *row))
        old.execute(events, (instant, "acquired", *row))
        old.execute(events, (instant, "renewed", *row))  # of the same instant, so it came later
    old.close()
    for _ in range(2):  # the second time there is nothing left to do
        file = HistoryFile.open(path)
        kept = [entry.event for entry in file.find(HistoryQuery(address=TEN))]
        assert [each.kind for each in kept] == [K.RELEASED, K.RENEWED, K.ACQUIRED]
        assert kept[-1] == event(0)
        file.close()
    with sqlite3.connect(path) as direct:
        names = direct.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall()
    direct.close()
    assert [name for (name,) in names] == [
        *("events", "events_of_address", "events_of_kind", "events_of_mac", "events_of_name")
    ]

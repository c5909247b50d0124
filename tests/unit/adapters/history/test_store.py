"""What happened is kept, found again in milliseconds, and never in the way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from d4d.adapters.history.store import SqliteHistory
from d4d.domain.addressing import MacAddress
from d4d.domain.errors import StoreUnavailable
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.leases import Endpoint
from d4d.domain.pools import PoolId
from d4d.domain.ports.history import HistoryQuery

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
POOL = PoolId("192.168.59.0/24")
WEB = Endpoint(mac=MacAddress.parse("02:42:c0:a8:3b:0a"), name="web")
DB = Endpoint(mac=MacAddress.parse("02:42:c0:a8:3b:0b"), name="db")
TEN = IPv4Address("192.168.59.10")
K = EventKind


def event(
    kind: EventKind,
    minute: float = 0,
    *,
    endpoint: Endpoint | None = WEB,
    address: str = "192.168.59.10",
    pool: PoolId = POOL,
    detail: str = "",
) -> LeaseEvent:
    return LeaseEvent(
        kind=kind,
        at=NOON + timedelta(minutes=minute),
        pool=pool,
        address=ip_address(address),
        endpoint=endpoint,
        detail=detail,
    )


def history_in(directory: Path, *, keep: timedelta = timedelta(days=30)) -> SqliteHistory:
    return SqliteHistory(directory / "history.db", host="host-a", keep=keep, clock=lambda: NOON)


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[SqliteHistory]:
    history = history_in(tmp_path)
    history.start()
    yield history
    await history.aclose()


async def told(history: SqliteHistory, question: HistoryQuery) -> list[tuple[str, str]]:
    return [
        (each.event.kind.value, str(each.event.address)) for each in await history.find(question)
    ]


async def test_an_event_comes_back_as_it_was(history: SqliteHistory) -> None:
    lost = event(K.LOST, 0.0123, detail="the server gave it to another")
    history.record(lost)
    (entry,) = await history.find(HistoryQuery())
    assert entry.event == lost
    assert entry.host == "host-a"


async def test_an_event_without_an_endpoint_comes_back_without_one(history: SqliteHistory) -> None:
    history.record(event(K.CONFLICT, endpoint=None))
    (entry,) = await history.find(HistoryQuery())
    assert entry.event.endpoint is None


async def test_the_newest_comes_first_and_the_limit_keeps_it(history: SqliteHistory) -> None:
    for minute, kind in enumerate((K.ACQUIRED, K.LATE, K.LOST)):
        history.record(event(kind, minute))
    assert [kind for kind, _ in await told(history, HistoryQuery(limit=2))] == ["lost", "late"]


async def test_it_is_asked_by_address_mac_name_and_time(history: SqliteHistory) -> None:
    history.record(event(K.ACQUIRED, 0))
    history.record(event(K.ACQUIRED, 5, endpoint=DB, address="192.168.59.11"))
    history.record(event(K.RELEASED, 9))
    web, db = ("acquired", "192.168.59.10"), ("acquired", "192.168.59.11")
    gone = ("released", "192.168.59.10")
    assert await told(history, HistoryQuery(address=TEN)) == [gone, web]
    assert await told(history, HistoryQuery(mac=DB.mac)) == [db]
    assert await told(history, HistoryQuery(name="web")) == [gone, web]
    assert await told(history, HistoryQuery(since=NOON + timedelta(minutes=5))) == [gone, db]
    assert await told(history, HistoryQuery(until=NOON + timedelta(minutes=5))) == [db, web]
    assert await told(history, HistoryQuery(name="db", address=TEN)) == []


async def test_who_had_an_address_is_told_for_any_time(history: SqliteHistory) -> None:
    history.record(event(K.ACQUIRED, 0))
    history.record(event(K.RELEASED, 10))
    history.record(event(K.ACQUIRED, 20, endpoint=DB))
    history.record(event(K.CONFLICT, 25, endpoint=None))
    history.record(event(K.LOST, 30, endpoint=DB))

    async def holder(minute: float) -> list[str | None]:
        entries = await history.holders(TEN, NOON + timedelta(minutes=minute))
        return [each.event.endpoint.name if each.event.endpoint else None for each in entries]

    assert await holder(-1) == []
    assert await holder(0) == ["web"]
    assert await holder(9.9) == ["web"]
    assert await holder(15) == []
    assert await holder(26) == ["db"]
    assert await holder(31) == []


async def test_an_address_may_be_held_in_two_pools(history: SqliteHistory) -> None:
    history.record(event(K.ACQUIRED))
    history.record(event(K.ACQUIRED, endpoint=DB, pool=PoolId(f"{POOL}?parent=eth1")))
    entries = await history.holders(TEN, NOON + timedelta(seconds=1))
    assert {each.event.endpoint for each in entries} == {WEB, DB}


async def test_one_renewal_an_hour_is_kept(history: SqliteHistory) -> None:
    history.record(event(K.ACQUIRED, 0))
    for minute in range(10, 200, 10):
        history.record(event(K.RENEWED, minute))
    kept = [each.event.at for each in reversed(await history.find(HistoryQuery()))]
    assert [(at - NOON) / timedelta(minutes=1) for at in kept] == [0, 60, 120, 180]


async def test_what_is_old_goes_but_the_last_word_on_an_address(tmp_path: Path) -> None:
    history = history_in(tmp_path, keep=timedelta(days=1))
    history.start()
    day = 24 * 60
    history.record(event(K.ACQUIRED, -3 * day, address="192.168.59.10"))
    history.record(event(K.RELEASED, -2 * day, address="192.168.59.10"))
    history.record(event(K.ACQUIRED, -2 * day, address="192.168.59.11"))
    history.record(event(K.ACQUIRED, -1, address="192.168.59.10"))
    while await told(history, HistoryQuery()) != [  # noqa: ASYNC110 - it prunes when it likes, after a batch
        ("acquired", "192.168.59.10"),
        ("acquired", "192.168.59.11"),
    ]:
        await asyncio.sleep(0.01)
    await history.aclose()


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    first = history_in(tmp_path)
    first.start()
    first.record(event(K.ACQUIRED))
    await first.aclose()
    second = history_in(tmp_path)
    second.start()
    assert await told(second, HistoryQuery()) == [("acquired", "192.168.59.10")]
    await second.aclose()


async def test_nothing_is_opened_without_an_event(tmp_path: Path) -> None:
    history = history_in(tmp_path / "state")
    history.start()
    await history.aclose()
    assert not (tmp_path / "state").exists()


async def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"nonsense" * 1000)
    history = history_in(tmp_path)
    history.start()
    history.record(event(K.ACQUIRED))
    assert await told(history, HistoryQuery()) == [("acquired", "192.168.59.10")]
    await history.aclose()
    assert (tmp_path / "history.db.broken").read_bytes() == b"nonsense" * 1000


@pytest.mark.parametrize("looks_first", [True, False])
async def test_a_damaged_file_is_put_aside_and_no_event_is_lost_that_waits(
    tmp_path: Path, looks_first: bool
) -> None:
    before = history_in(tmp_path)
    before.start()
    for number in range(2000):
        before.record(event(K.LOST, number))
    await before.aclose()
    path = tmp_path / "history.db"
    kept = path.read_bytes()
    path.write_bytes(kept[:4096] + b"\xff" * (len(kept) - 4096))

    history = history_in(tmp_path)
    history.start()
    if looks_first:
        assert await told(history, HistoryQuery()) == []
    history.record(event(K.ACQUIRED))
    assert await told(history, HistoryQuery()) == [("acquired", "192.168.59.10")]
    await history.aclose()
    assert (tmp_path / "history.db.broken").stat().st_size == len(kept)


async def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    history = history_in(tmp_path)
    history.start()
    history.record(event(K.ACQUIRED))
    with pytest.raises(StoreUnavailable, match=r"history\.db can't be used"):
        await history.holders(TEN, NOON)
    assert history.waiting == 1
    (tmp_path / "history.db").rmdir()
    assert await told(history, HistoryQuery()) == [("acquired", "192.168.59.10")]
    assert history.waiting == 0
    await history.aclose()


async def test_a_bug_while_it_is_written_ends_nothing(history: SqliteHistory) -> None:
    told = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said))
    flush, faults = history._flush, iter([OSError("Too many open files")])

    async def faulty() -> bool:
        if fault := next(faults, None):
            raise fault
        return await flush()

    history._flush = faulty  # type: ignore[method-assign]  # a bug of its own
    history.record(event(K.ACQUIRED))
    async with asyncio.timeout(30):
        while history.waiting:  # noqa: ASYNC110 - it tells nobody when it has written
            await asyncio.sleep(0.01)
    assert len(told) == 1
    assert await told_of(history) == [("acquired", "192.168.59.10")]


async def told_of(history: SqliteHistory) -> list[tuple[str, str]]:
    return await told(history, HistoryQuery(limit=10))

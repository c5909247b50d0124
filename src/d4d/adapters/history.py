"""Every lease event in an SQLite file of its own, written behind and in batches.

An event costs its lease an append to a list. One worker thread writes what has gathered, syncs
nothing (an event lost with the machine's power is no loss), and answers questions between.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import structlog

from d4d.domain.beside import beside
from d4d.domain.errors import StoreUnavailable
from d4d.domain.history import ENDING, HOLDING, Entry, Question
from d4d.domain.leases import Endpoint, MacAddress
from d4d.domain.pools import Address, PoolId
from d4d.domain.ports import Clock, Event, EventKind

_BATCH = 0.2  # seconds in which events gather
_RETRY = 5.0  # seconds until a file that could not be written is tried again
_MOST_WAITING = 100_000  # events that wait for such a file; then the oldest go
_RENEWALS = timedelta(hours=1)  # one renewal of a lease in this time is kept
_PRUNE_EVERY = timedelta(hours=6)
_PRUNE_AT_ONCE = 20_000
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS events (
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    host    TEXT NOT NULL,
    pool    TEXT NOT NULL,
    address TEXT NOT NULL,
    mac     TEXT,
    name    TEXT,
    detail  TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_of_address ON events (address, pool, at);
CREATE INDEX IF NOT EXISTS events_of_mac ON events (mac, at);
CREATE INDEX IF NOT EXISTS events_of_name ON events (name, at);
CREATE INDEX IF NOT EXISTS events_at ON events (at);
"""
_COLUMNS = "at, kind, host, pool, address, mac, name, detail"
_TOLD = ", ".join(f"'{kind.value}'" for kind in sorted(HOLDING | ENDING, key=lambda k: k.value))

# S608: these strings are made of the names above, never of values.
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - see above
_POOLS = "SELECT DISTINCT pool FROM events WHERE address = ?"
_LAST = f"""
SELECT {_COLUMNS} FROM events
WHERE address = ? AND pool = ? AND at <= ? AND kind IN ({_TOLD})
ORDER BY at DESC, rowid DESC LIMIT 1
"""  # noqa: S608 - see above
_PRUNE = """
DELETE FROM events WHERE rowid IN (
    SELECT rowid FROM events AS old WHERE at < ? AND EXISTS (
        SELECT 1 FROM events AS newer
        WHERE newer.address = old.address AND newer.pool = old.pool AND newer.at > old.at
    ) LIMIT ?
)
"""
"""The last event of an address stays: a lease without end is told of once only."""

_T = TypeVar("_T")
_log = structlog.get_logger()


class SqliteHistory:
    """A History, and a listener to events, in the file ``path``."""

    def __init__(self, path: Path, *, host: str, keep: timedelta, clock: Clock) -> None:
        """``keep`` is how long an event is kept; ``host`` is our name in what is kept."""
        self._path = path
        self._host = host
        self._keep = keep
        self._clock = clock
        self._waiting: deque[Event] = deque(maxlen=_MOST_WAITING)
        self._renewed: dict[tuple[PoolId, Address], datetime] = {}
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="d4d-history")
        self._connection: sqlite3.Connection | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pruned_at = _EPOCH

    def __repr__(self) -> str:
        return f"<SqliteHistory {self._path}, {len(self._waiting)} waiting>"

    @property
    def waiting(self) -> int:
        """How many events are still to be written."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to write; the file is opened with the first event."""
        self._task = beside(self._write_behind(), "history")

    async def aclose(self) -> None:
        """Write what waits, trying once, and close the file."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._flush()
        await self._in_worker(self._close)
        self._worker.shutdown()

    def record(self, event: Event) -> None:
        """Keep ``event``; of renewals one an hour for each lease (ports.Events)."""
        key = (event.pool, event.address)
        if event.kind in (EventKind.RENEWED, EventKind.REBOUND):
            last = self._renewed.get(key)
            if last is not None and event.at - last < _RENEWALS:
                return
        if event.kind in HOLDING:
            self._renewed[key] = event.at
        elif event.kind in ENDING:
            self._renewed.pop(key, None)
        self._waiting.append(event)
        self._news.set()

    async def find(self, question: Question) -> list[Entry]:
        """See ``History``."""
        await self._flush()
        where, values = _where(question)
        query = f"SELECT {_COLUMNS} FROM events {where} ORDER BY at DESC, rowid DESC LIMIT ?"  # noqa: S608 - see above
        return await self._in_worker(lambda: self._read(query, (*values, question.limit)))

    async def holders(self, address: Address, at: datetime) -> list[Entry]:
        """See ``History``."""
        await self._flush()

        def ask() -> list[Entry]:
            pools = self._opened().execute(_POOLS, (str(address),)).fetchall()
            entries = []
            for (pool,) in pools:
                entries += self._read(_LAST, (str(address), pool, _instant(at)))
            return [each for each in entries if each.event.kind in HOLDING]

        return await self._in_worker(ask)

    # Behind

    async def _write_behind(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(_BATCH)
            self._news.clear()
            if not await self._flush():
                self._news.set()
                await asyncio.sleep(_RETRY)
            elif self._clock() - self._pruned_at > _PRUNE_EVERY:
                await self._prune()

    async def _flush(self) -> bool:
        """Write what waits; False where that fails: it waits on."""
        try:
            await self._in_worker(self._write)
        except StoreUnavailable as error:
            _log.warning("history not written", waiting=len(self._waiting), error=str(error))
            return False
        return True

    async def _prune(self) -> None:
        self._pruned_at = self._clock()
        oldest = _instant(self._clock() - self._keep)

        def delete() -> int:
            with self._opened() as connection:
                return connection.execute(_PRUNE, (oldest, _PRUNE_AT_ONCE)).rowcount

        try:
            while await self._in_worker(delete) == _PRUNE_AT_ONCE:  # noqa: ASYNC110 - it polls nothing: others have their turn between
                await asyncio.sleep(_BATCH)
        except StoreUnavailable as error:
            _log.warning("history not shortened", error=str(error))

    # In the worker

    async def _in_worker(self, work: Callable[[], _T]) -> _T:
        def attempt() -> _T:
            try:
                return work()
            except (sqlite3.Error, OSError) as error:
                self._close()
                raise StoreUnavailable(
                    f"the history {self._path} can't be used: {error}. Free some space there, or "
                    "move it away: D4D begins a new one"
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._worker, attempt)

    def _write(self) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not batch:
            return
        try:
            with self._opened() as connection:
                connection.executemany(_INSERT, [_row(self._host, event) for event in batch])
        except BaseException:
            room = _MOST_WAITING - len(self._waiting)
            self._waiting.extendleft(reversed(batch[-room:] if room else []))
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            self._connection = sqlite3.connect(self._path)
            self._connection.executescript(_SCHEMA)
        return self._connection

    def _read(self, query: str, values: Sequence[Any]) -> list[Entry]:
        return [_entry(row) for row in self._opened().execute(query, values)]

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _where(question: Question) -> tuple[str, tuple[Any, ...]]:
    """The condition of ``question``, and its values."""
    asked: list[tuple[str, Any]] = []
    if question.address is not None:
        asked.append(("address = ?", str(question.address)))
    if question.mac is not None:
        asked.append(("mac = ?", str(question.mac)))
    if question.name is not None:
        asked.append(("name = ?", question.name))
    if question.since is not None:
        asked.append(("at >= ?", _instant(question.since)))
    if question.until is not None:
        asked.append(("at <= ?", _instant(question.until)))
    if not asked:
        return "", ()
    conditions = " AND ".join(condition for condition, _ in asked)
    return f"WHERE {conditions}", tuple(value for _, value in asked)


def _row(host: str, event: Event) -> tuple[Any, ...]:
    endpoint = event.endpoint
    return (
        _instant(event.at),
        event.kind.value,
        host,
        event.pool,
        str(event.address),
        str(endpoint.mac) if endpoint else None,
        endpoint.name if endpoint else None,
        event.detail,
    )


def _entry(row: tuple[Any, ...]) -> Entry:
    at, kind, host, pool, address, mac, name, detail = row
    event = Event(
        kind=EventKind(kind),
        at=_EPOCH + at * _MICROSECOND,
        pool=PoolId(pool),
        address=ip_address(address),
        endpoint=Endpoint(mac=MacAddress.parse(mac), name=name) if mac else None,
        detail=detail,
    )
    return Entry(host=host, event=event)


def _instant(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND

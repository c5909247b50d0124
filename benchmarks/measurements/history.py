"""Look-ups in a history of months, against the same in one of a day."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from random import Random

from benchmarks.figures import Bound, Figure, median, milliseconds, number
from benchmarks.progress import Progress
from benchmarks.sizes import Sizes
from d4d.adapters.history.database import HistoryFile
from d4d.adapters.history.store import SqliteHistory
from d4d.domain.addressing import MacAddress
from d4d.domain.events import EventKind
from d4d.domain.pools import Pool
from d4d.domain.ports.history import HistoryEntry, HistoryQuery
from lab.lab import Lab

_MOST = 2.0
_EVENTS_OF_ADDRESS = 200  # in the history of a day: more than a look-up's limit
_ADDRESSES = 8000  # in that of months: each has more events there, too
_LIFE = 8  # events from acquired to released
_LIMIT = 100  # as the command line has it
_STEPS = 10
_POOL = Pool(subnet=ip_network("10.64.0.0/16"))
_FIRST = IPv4Address("10.64.0.0")
_FIRST_MAC = 0x02420A400000
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_HOLDER = "holder at a time"

_Look = Callable[[], Awaitable[Sequence[HistoryEntry]]]

_FAST = ("synchronous = OFF", "journal_mode = OFF", "temp_store = MEMORY")
_SITE = "CREATE TEMP TABLE site (n INTEGER PRIMARY KEY, address TEXT, mac TEXT, name TEXT)"
_EVENTS = """
WITH RECURSIVE rounds (r) AS (
    SELECT :first UNION ALL SELECT r + 1 FROM rounds WHERE r < :last
)
INSERT INTO events (at, kind, host, pool, address, mac, name, detail)
SELECT
    :began + (r * :addresses + place.n) * 1000000,
    CASE r % :life WHEN 0 THEN :acquired WHEN :life - 1 THEN :released ELSE :renewed END,
    'docker-1', :pool, place.address, container.mac, container.name, ''
FROM rounds
CROSS JOIN site AS place
CROSS JOIN site AS container ON container.n = (place.n + r / :life) % :addresses
"""
"""In each second one event of the next address; each container lives at the next one next time."""


def measure(sizes: Sizes, progress: Progress) -> Iterator[Figure]:
    """One figure: of the kind of look-up that grows most."""
    with Lab() as lab, ThreadPoolExecutor(1) as worker:
        few = _Kept(lab.directory / "few.db", events=sizes.few_events)
        many = _Kept(lab.directory / "many.db", events=sizes.many_events)
        for kept in (few, many):
            progress.step(f"a history of {kept.events:,} events")
            kept.fill(worker, progress)
        progress.step("look-ups in both")
        times = asyncio.run(_ask(few, many, sizes.history_asks, progress))
    grown = {kind: median(late) / median(early) for kind, (early, late) in times.items()}
    worst = max(grown, key=lambda kind: grown[kind])
    early, late = map(median, times[worst])
    all_of_them = ", ".join(f"{kind} {number(ratio)}" for kind, ratio in grown.items())
    yield Figure(
        part="history",
        what=f"look-up in a history of {many.events:,} events, by {worst}: median",
        against=f"the same among {few.events:,}",
        reached=grown[worst],
        bound=Bound.AT_MOST,
        limit=_MOST,
        detail=f"{milliseconds(late)} to {milliseconds(early)} ({all_of_them})",
    )


class _Kept:
    """A history in a file, and what can be asked of it."""

    def __init__(self, path: Path, *, events: int) -> None:
        self._path = path
        self._addresses = min(_ADDRESSES, max(1, events // _EVENTS_OF_ADDRESS))
        self._rounds = events // self._addresses
        self.events = self._rounds * self._addresses
        self._history = SqliteHistory(
            path, host="docker-1", keep=timedelta(days=365), clock=lambda: _BEGAN
        )

    def fill(self, worker: ThreadPoolExecutor, progress: Progress) -> None:
        """Bring the events into the file that the adapter made.

        It takes the worker for long, so that a signal finds the caller's thread waiting.
        """
        HistoryFile.open(self._path).close()
        with closing(sqlite3.connect(self._path, check_same_thread=False)) as connection:
            filled = worker.submit(self._fill, connection, progress)
            try:
                filled.result()
            except BaseException:
                connection.interrupt()
                wait([filled])
                raise

    def _fill(self, connection: sqlite3.Connection, progress: Progress) -> None:
        for pragma in _FAST:
            connection.execute(f"PRAGMA {pragma}")
        made = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index'")
        indexes = made.fetchall()
        for name, _ in indexes:  # to build them at the end takes a third of the time
            connection.execute(f"DROP INDEX {name}")
        connection.execute(_SITE)
        places = [(n, *map(str, self._place(n))) for n in range(self._addresses)]
        connection.executemany("INSERT INTO site VALUES (?, ?, ?, ?)", places)
        step = -(-self._rounds // _STEPS)
        for first in range(0, self._rounds, step):
            progress.count(first * self._addresses, self.events)
            last = min(first + step, self._rounds) - 1
            connection.execute(_EVENTS, self._values() | {"first": first, "last": last})
        for _, index in indexes:
            connection.execute(index)
        connection.commit()

    def _values(self) -> dict[str, str | int]:
        kinds = (EventKind.ACQUIRED, EventKind.RENEWED, EventKind.RELEASED)
        return {
            "began": round(_BEGAN.timestamp()) * 1_000_000,
            "addresses": self._addresses,
            "life": _LIFE,
            "pool": _POOL.id,
            **{kind.value: kind.value for kind in kinds},
        }

    def _place(self, n: int) -> tuple[IPv4Address, MacAddress, str]:
        """An address, and the container that has it first."""
        return _FIRST + n, MacAddress((_FIRST_MAC + n).to_bytes(6, "big")), f"web-{n}"

    def looks(self, chance: Random) -> Mapping[str, _Look]:
        """One of each kind, about somebody and at a time in the later half."""
        address, mac, name = self._place(chance.randrange(self._addresses))
        then = _BEGAN + chance.randrange(self.events // 2, self.events) * _SECOND
        questions = {
            "address": HistoryQuery(address=address),
            "MAC": HistoryQuery(mac=mac),
            "name": HistoryQuery(name=name),
            "address until then": HistoryQuery(address=address, until=then),
            "name until then": HistoryQuery(name=name, until=then),
            "time": HistoryQuery(since=then - timedelta(hours=1), until=then),
            "kind": HistoryQuery(kinds=frozenset({EventKind.RENEWED, EventKind.RELEASED})),
            "latest": HistoryQuery(),
        }
        return {
            **{kind: partial(self._history.find, asked) for kind, asked in questions.items()},
            _HOLDER: partial(self._history.holders, address, then),
        }

    async def seconds(self, kind: str, look: _Look) -> float:
        """How long the look-up takes."""
        began = time.perf_counter()
        entries = await look()
        seconds = time.perf_counter() - began
        if kind != _HOLDER:  # there may be none just then
            enough = min(_LIMIT, self._rounds // 2 - _LIFE)
            assert len(entries) >= enough, f"{len(entries)} entries by {kind}, not {enough}"
        return seconds

    async def aclose(self) -> None:
        """Close the file."""
        await self._history.aclose()


Times = dict[str, tuple[list[float], list[float]]]


async def _ask(few: _Kept, many: _Kept, rounds: int, progress: Progress) -> Times:
    """For each kind of look-up its times among few events and among many, in turns."""
    times: Times = {}
    chance = Random(7)
    for done in range(rounds):
        for which, kept in enumerate((few, many)):
            for kind, look in kept.looks(chance).items():
                seconds = await kept.seconds(kind, look)
                times.setdefault(kind, ([], []))[which].append(seconds)
        progress.count(done, rounds)
    await few.aclose()
    await many.aclose()
    return times

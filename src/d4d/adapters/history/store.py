"""Every lease event in an SQLite file of its own, written behind and in batches.

An event costs its lease an append to a list. One worker thread writes what has gathered, syncs
nothing (an event lost with the machine's power is no loss), and answers questions between. A file
that was broken so is put aside.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from d4d.adapters.history.database import HistoryFile, is_broken
from d4d.adapters.system.worker_thread import WorkerThread
from d4d.domain.addressing import Address
from d4d.domain.errors import StoreUnavailable
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.pools import PoolId
from d4d.domain.ports.clock import Clock
from d4d.domain.ports.history import ENDING, HOLDING, HistoryEntry, HistoryQuery
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import answered, forever

_BATCH = 0.2  # seconds in which events gather
_RETRY = 5.0  # seconds until a file that could not be written is tried again
_MOST_WAITING = 100_000  # events that wait for such a file; then the oldest go
_RENEWALS = timedelta(hours=1)  # one renewal of a lease in this time is kept
_PRUNE_EVERY = timedelta(hours=6)
_PRUNE_AT_ONCE = 2_000  # a tenth of a second, in which look-ups wait

_T = TypeVar("_T")


class SqliteHistory:
    """A History, and a listener to events, in the file ``path``."""

    def __init__(self, path: Path, *, host: str, keep: timedelta, clock: Clock) -> None:
        """``keep`` is how long an event is kept; ``host`` is our name in what is kept."""
        self._path = path
        self._host = host
        self._keep = keep
        self._clock = clock
        self._waiting: deque[LeaseEvent] = deque(maxlen=_MOST_WAITING)
        self._renewed: dict[tuple[PoolId, Address], datetime] = {}
        self._worker = WorkerThread("d4d-history")
        self._file: HistoryFile | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pruned_at = datetime.min.replace(tzinfo=UTC)  # never

    def __repr__(self) -> str:
        return f"<SqliteHistory {self._path}, {len(self._waiting)} waiting>"

    @property
    def waiting(self) -> int:
        """How many events are still to be written."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to write; the file is opened with the first event."""
        self._task = forever("history", self._write_behind)

    async def aclose(self) -> None:
        """Write what waits, trying once, and close the file."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._flush()
        await self._worker.call(self._close)
        self._worker.close()

    def record(self, event: LeaseEvent) -> None:
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

    async def find(self, question: HistoryQuery) -> Sequence[HistoryEntry]:
        """See ``History``."""
        await self._flush()
        return await self._in_worker(lambda file: file.find(question))

    async def holders(self, address: Address, at: datetime) -> list[HistoryEntry]:
        """See ``History``."""
        await self._flush()
        return await self._in_worker(lambda file: file.holders(address, at))

    # Behind

    async def _write_behind(self) -> None:
        await self._news.wait()
        await asyncio.sleep(_BATCH)
        with answered(self._news):
            is_written = await self._flush()
        if not is_written:
            self._news.set()
            await asyncio.sleep(_RETRY)
        elif self._clock() - self._pruned_at > _PRUNE_EVERY:
            await self._prune()

    async def _flush(self) -> bool:
        """Write what waits; False where that fails: it waits on."""
        if not self._waiting:
            return True
        try:
            await self._in_worker(self._write)
        except StoreUnavailable as error:
            log.history_write_failed(waiting=len(self._waiting), error=str(error))
            return False
        return True

    async def _prune(self) -> None:
        self._pruned_at = self._clock()
        before = self._pruned_at - self._keep
        after: datetime | None = None

        def prune(file: HistoryFile) -> datetime | None:
            return file.prune(after=after, before=before, most=_PRUNE_AT_ONCE)

        try:
            while (after := await self._in_worker(prune)) is not None:
                await asyncio.sleep(_BATCH)  # look-ups have their turn, and what waits
                await self._flush()
        except StoreUnavailable as error:
            log.history_prune_failed(error=str(error))

    # In the worker

    async def _in_worker(self, work: Callable[[HistoryFile], _T]) -> _T:
        return await self._worker.call(partial(self._with_file, work))

    def _with_file(self, work: Callable[[HistoryFile], _T]) -> _T:
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if not is_broken(error):
                    raise
                self._put_aside(error)
                return work(self._opened())
        except (sqlite3.Error, OSError) as error:
            self._close()
            raise StoreUnavailable(
                f"the history {self._path} can't be used: {error}. Free some space there, or "
                "move it away: D4D begins a new one"
            ) from error

    def _opened(self) -> HistoryFile:
        if self._file is None:
            self._file = HistoryFile.open(self._path)
        return self._file

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        self._close()
        aside = f"{self._path}.broken"
        for rest in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{rest}").replace(aside + rest)
        log.history_broken(put_aside=aside, error=str(error))

    def _write(self, file: HistoryFile) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            file.add(self._host, batch)
        except BaseException:
            room = _MOST_WAITING - len(self._waiting)
            self._waiting.extendleft(reversed(batch[-room:] if room else []))
            raise

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

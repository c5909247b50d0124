"""Pools and leases in one SQLite file.

One worker thread owns the connection, so SQLite's waiting never holds up the event loop. Most of
a small write's time is the disk's sync. Writes that arrive while one is under way wait in a queue,
and the next transaction takes all of them: 64 containers that start at once cost two or three
syncs. A write returns when the transaction that it was in is on the disk.
"""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from d4d.adapters.stores.lease_codec import LeaseReader, LeaseRow, reservations_to_json
from d4d.adapters.stores.sqlite.database import (
    MIGRATIONS,
    Migration,
    is_held,
    open_database,
    unavailable,
)
from d4d.adapters.stores.sqlite.leases import SqliteLeases
from d4d.adapters.stores.sqlite.segments import UNREADABLE, pool_record, read_reserved
from d4d.adapters.system.worker_thread import WorkerThread, settle, tell
from d4d.domain.address_selection import AddressClaim, refuse_leased, select_address
from d4d.domain.addressing import Address
from d4d.domain.errors import BadRequest, D4DError, StoreUnavailable, Superseded
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolRecord
from d4d.domain.reservations import Reservation, ReservationSet
from d4d.domain.segments import segment_of
from d4d.domain.stored import StoreContents
from d4d.service_layer.concurrency.shared_attempt import PAUSE

_T = TypeVar("_T")

_SAVE_POOL = (
    "INSERT INTO pools (owner, pool, users, reservations, version) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (owner, pool) DO UPDATE SET users = excluded.users, "
    "reservations = excluded.reservations, version = excluded.version "
    "WHERE excluded.version >= version"
)
_REMOVE_POOL = "DELETE FROM pools WHERE owner = ? AND pool = ? AND version <= ?"
_HAS_POOL = "SELECT 1 FROM pools WHERE owner = ? AND pool = ?"
_LOAD_POOLS = "SELECT pool, users, reservations, version FROM pools WHERE owner = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """A change that waits for the next transaction, and who waits for it."""

    apply: Callable[[SqliteLeases], Any]
    done: "asyncio.Future[Any]"
    """Of the caller's loop, and settled there."""
    alone: Callable[[SqliteLeases], Any] | None = None
    """The same in a transaction of its own, where no other waits; None where that can't do it."""


class SqliteLeaseStore:
    """A RangeStore, with Reservations and Hosts, in the file ``path``.

    The file is opened, or created, at the first call.

    After a failure the next call opens the file anew, so the store recovers when the cause goes.
    Where another process holds the file, all who wait by then hear of it together, and for a second
    nobody waits for it anew.
    A caller that is cancelled leaves its own write undecided and no other's.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout: timedelta = timedelta(seconds=5),
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._migrations = migrations
        self._waiting: deque[_Write] = deque()
        self._worker = WorkerThread("d4d-sqlite")
        self._leases: SqliteLeases | None = None
        self._reserved: dict[str, ReservationSet] = {}
        """By segment, as read: each DHCP allocation asks. Changed in the worker thread only."""
        self._busy: sqlite3.Error | None = None
        """Why nothing could be written; in the worker thread only, as the next."""
        self._busy_until = 0.0
        self._closed = False

    def __repr__(self) -> str:
        return f"<SqliteLeaseStore {self._path}{' closed' if self._closed else ''}>"

    async def load(self, owner: str) -> StoreContents:
        """Everything that ``owner`` stored. Raises StoreUnavailable, StoreTooNew."""
        return await self._in_worker(self._read, owner)

    async def count(self, owner: str) -> int:
        """How many addresses ``owner`` holds. Raises StoreUnavailable, StoreTooNew."""
        return await self._in_worker(self._count, owner)

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """Insert or replace ``owner``'s record of a pool; one without users is removed."""
        key = owner, record.pool.id
        columns = *key, record.users, reservations_to_json(record.reservations), record.version

        def apply(leases: SqliteLeases) -> bool:
            if record.users > 0:
                return leases.connection.execute(_SAVE_POOL, columns).rowcount > 0
            leases.connection.execute(_REMOVE_POOL, (*key, record.version))
            return leases.connection.execute(_HAS_POOL, key).fetchone() is None

        if not await self._write(apply):
            raise Superseded(f"a newer record of pool {record.pool.id} is stored in {self._path}")

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        """Store a new acquisition; returns it with its generation. Raises AddressInUse."""

        def apply(leases: SqliteLeases) -> Lease:
            if unless_held and leases.same_acquisition(lease) is None:
                holder = leases.segment(segment_of(lease.pool)).holder(lease.address)
                if holder is not None:
                    refuse_leased(lease.address, holder)
            return leases.add(lease)

        return await self._write(apply, alone=lambda leases: leases.add_alone(lease))

    async def take(self, claim: AddressClaim) -> Lease:
        """Choose an address and store its lease. Raises AddressInUse, NoAddress."""

        def apply(leases: SqliteLeases) -> Lease:
            address = select_address(claim, leases.segment(claim.segment))
            return leases.add(claim.lease(address, generation=0))

        return await self._write(apply)

    async def update(self, lease: Lease) -> None:
        """Replace the lease of the same pool, address, owner, generation. Raises Superseded."""
        if not await self._write(lambda leases: leases.update(lease)):
            raise Superseded(
                f"lease {lease.address} of {lease.owner!r}, generation {lease.generation}, "
                f"is not the one stored in {self._path}"
            )

    async def remove(self, lease: Lease) -> bool:
        """Remove the lease of the same pool, address, owner and generation, if there is one."""
        return await self._write(lambda leases: leases.remove(lease))

    async def reserve(self, reservation: Reservation) -> bool:
        """Store a reservation; returns whether a lease holds its address. Raises AddressInUse."""

        def apply(leases: SqliteLeases) -> bool:
            self._reserved.clear()
            return leases.segment(reservation.segment).reserve(reservation)

        return await self._write(apply)

    async def unreserve(self, segment: str, address: Address) -> Reservation | None:
        """Take away the reservation of ``address``, and return it."""

        def apply(leases: SqliteLeases) -> Reservation | None:
            self._reserved.clear()
            return leases.segment(segment).unreserve(address)

        return await self._write(apply)

    async def reserved(self, segment: str) -> ReservationSet:
        """Those of one segment, from memory unless they changed."""
        known = self._reserved.get(segment)
        if known is not None and not self._closed:
            return known

        def read(leases: SqliteLeases) -> ReservationSet:
            found = ReservationSet(read_reserved(leases.connection, segment))
            self._reserved[segment] = found
            return found

        return await self._write(read)

    async def reservations(self) -> tuple[Reservation, ...]:
        """Those of all segments."""
        return tuple(await self._write(lambda leases: read_reserved(leases.connection)))

    async def aclose(self) -> None:
        """Finish the writes that wait, and close the file: SQLite then empties its WAL into it."""
        if self._closed:
            return
        self._closed = True
        await self._worker.call(self._disconnect)
        self._worker.close()

    async def _in_worker(self, read: Callable[[str], _T], owner: str) -> _T:
        self._refuse_if_closed()
        return await self._worker.call(partial(read, owner))

    async def _write(
        self,
        apply: Callable[[SqliteLeases], _T],
        *,
        alone: Callable[[SqliteLeases], _T | None] | None = None,
    ) -> _T:
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self._waiting.append(_Write(apply=apply, done=done, alone=alone))
        if len(self._waiting) == 1:  # else the worker has not begun, and will find this one, too
            self._worker.do(partial(self._commit_waiting, loop))
        return await done

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the lease store {self._path} is closed: D4D is stopping")

    # From here on, everything runs in the worker thread.

    def _commit_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """One transaction for all that waits; nothing may, if an earlier one took it along."""
        writes = self._taken()
        if not writes:
            return
        try:
            outcomes = self._transact(writes)
        except Exception as error:  # whatever it is, nobody may wait for ever
            self._disconnect()
            if self._note_busy(error):  # who came meanwhile would wait for as long again
                writes += self._taken()
            outcomes = [self._failure(error) for _ in writes]
        tell(loop, partial(_settle, writes, outcomes))

    def _taken(self) -> list[_Write]:
        """All that waits, and whose caller does: it waits no more."""
        writes = []
        while self._waiting:
            write = self._waiting.popleft()
            if not write.done.cancelled():
                writes.append(write)
        return writes

    def _transact(self, writes: list[_Write]) -> list[object]:
        """Each write's result, or the D4DError that is its own; all others' changes are durable."""
        if self._busy is not None:
            if time.monotonic() < self._busy_until:
                raise self._busy
            self._busy = None
        leases = self._connected()
        if len(writes) == 1 and writes[0].alone is not None:
            outcome = _outcome(writes[0].alone, leases)
            if outcome is not None:
                return [outcome]
        leases.connection.execute("BEGIN IMMEDIATE")
        # No savepoint: a statement that fails with an error of its own has changed nothing.
        outcomes = [_outcome(write.apply, leases) for write in writes]
        leases.connection.execute("COMMIT")
        return outcomes

    def _read(self, owner: str) -> StoreContents:
        with self._reading() as leases:
            leases.connection.execute("BEGIN")
            pools = leases.connection.execute(_LOAD_POOLS, (owner,)).fetchall()
            held = leases.load(owner)
            leases.connection.execute("COMMIT")
        return self._contents(pools, held)

    def _count(self, owner: str) -> int:
        with self._reading() as leases:
            return leases.count(owner)

    @contextmanager
    def _reading(self) -> Iterator[SqliteLeases]:
        try:
            yield self._connected()
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise unavailable(self._path, "read", error) from error

    def _contents(self, pools: list[tuple[str, int, str, int]], leases: list[Any]) -> StoreContents:
        reader = LeaseReader()
        row: Any = None
        records, held = [], []
        try:
            for row in pools:
                records.append(pool_record(*row))
            for row in leases:
                held.append(reader.read(LeaseRow._make(row)))
        except UNREADABLE as error:
            raise StoreUnavailable(
                f"the lease store {self._path} holds what D4D never wrote ({error!r}): {row!r}"
            ) from error
        return StoreContents(pools=tuple(records), leases=tuple(held))

    def _note_busy(self, error: Exception) -> bool:
        """Whether another process holds the file; then nobody waits for it for a while."""
        if not isinstance(error, sqlite3.Error) or not is_held(error):
            return False
        if error is not self._busy:
            pause = min(PAUSE, self._busy_timeout.total_seconds())
            self._busy, self._busy_until = error, time.monotonic() + pause
        return True

    def _connected(self) -> SqliteLeases:
        if self._leases is None:
            self._leases = SqliteLeases(
                open_database(
                    self._path, busy_timeout=self._busy_timeout, migrations=self._migrations
                )
            )
        return self._leases

    def _disconnect(self) -> None:
        leases, self._leases = self._leases, None
        self._reserved.clear()
        if leases is not None:
            leases.connection.close()

    def _failure(self, error: Exception) -> Exception:
        """``error`` in the domain's words, new for each caller, as each adds its traceback."""
        if isinstance(error, sqlite3.Error | OSError):
            return unavailable(self._path, "write to", error)
        if isinstance(error, D4DError):
            return type(error)(*error.args)
        return error


def _outcome(apply: Callable[[SqliteLeases], object], leases: SqliteLeases) -> object:
    """What one write came to, or the error that is its own."""
    try:
        return apply(leases)
    except D4DError as error:
        return error
    except UnicodeEncodeError as error:
        return BadRequest(f"{error.object!r} is no text that can be stored")


def _settle(writes: list[_Write], outcomes: list[object]) -> None:
    """Tell each caller what came of its write; in their loop."""
    for write, outcome in zip(writes, outcomes, strict=True):
        settle(write.done, outcome)

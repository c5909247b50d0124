"""Writes that must not be lost while the store is away: Docker tells a thing once, and servers too.

The newest state of each lease and pool waits here, and one task stores it, what gathered in a
while at once: a store that syncs does so once for all of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from d4d.domain.addressing import Address
from d4d.domain.errors import StoreUnavailable, Superseded
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolId, PoolRecord
from d4d.service_layer.concurrency.shared_attempt import PAUSE, once_more
from d4d.service_layer.concurrency.supervised_task import report_failure, until_done
from d4d.service_layer.ordered_writes import OrderedWrites

WAIT = 2.0
"""Seconds for which what Docker tells once waits for the store: then it is stored behind."""

_T = TypeVar("_T")

_GATHER = 0.05  # seconds in which writes gather: a crash costs no more than asking a server again
_RETRY = 1.0  # seconds until a store that was away is tried again


class WriteBehind:
    """What is to be stored, by lease and by pool."""

    def __init__(
        self, store: OrderedWrites, owner: str, *, on_superseded: Callable[[Lease], Awaitable[None]]
    ) -> None:
        """``on_superseded`` finds out what became of a lease that the store has not any more.

        It raises StoreUnavailable to be asked again.
        """
        self._store = store
        self._owner = owner
        self._on_superseded = on_superseded
        self._leases: dict[tuple[PoolId, Address], Lease] = {}
        self._pools: dict[PoolId, PoolRecord] = {}
        self._task: asyncio.Task[None] | None = None
        self.is_held_up = False
        """Whether the store was away when what waits was to be written."""
        self._failure: StoreUnavailable | None = None
        self._failed_at = 0.0

    def __len__(self) -> int:
        return len(self._leases) + len(self._pools)

    def add(self, lease: Lease) -> None:
        """Store ``lease`` soon; while the store is away, as soon as it is back."""
        self._leases[lease.pool, lease.address] = lease
        self._begin()

    async def now(self, lease: Lease) -> None:
        """Store ``lease`` before returning, in place of what waits of it.

        Raises StoreUnavailable, Superseded.
        """
        key = (lease.pool, lease.address)
        waiting = self._leases.pop(key, None)
        try:
            await self._reach(self._store.update, lease)
        except Superseded:
            raise
        except BaseException:
            if waiting is not None:  # it is still true, and to be stored
                self._leases.setdefault(key, waiting)
                self._begin()
            raise

    async def pool(self, record: PoolRecord) -> None:
        """Store a pool before returning, or, while the store is away, as soon as it is back."""
        self.add_pool(record)  # first: a newer record must not be overtaken by what fails here
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(WAIT):
                await self._reach(self._save_pool, record)
            self._stored_pool(record)

    def add_pool(self, record: PoolRecord) -> None:
        """Store a pool soon; while the store is away, as soon as it is back."""
        self._pools[record.pool.id] = record
        self._begin()

    async def aclose(self) -> None:
        """Store what is left, trying once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._store_all()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = until_done("write behind", self._flush)

    async def _flush(self) -> None:
        while len(self):
            await asyncio.sleep(_GATHER)
            self.is_held_up = not await self._store_all()
            if self.is_held_up:
                await asyncio.sleep(_RETRY)

    async def _store_all(self) -> bool:
        """Store what is dirty now, at once, so that a store syncs once. True if all was stored."""
        written = await asyncio.gather(
            *map(self._write, tuple(self._leases.values())),
            *map(self._write_pool, tuple(self._pools.values())),
        )
        return all(written)

    async def _write(self, lease: Lease) -> bool:
        key = (lease.pool, lease.address)
        if self._leases.get(key) is not lease:
            return True  # something newer was stored before our turn came
        try:
            try:
                await self._told(self._store.update(lease))
            except Superseded:
                await self._on_superseded(lease)
        except StoreUnavailable:
            return False
        except Exception as error:  # a bug that one lease meets must not keep the others
            report_failure(error, f"write behind of {lease.address}")
            return False
        if self._leases.get(key) is lease:
            del self._leases[key]
        return True

    async def _write_pool(self, record: PoolRecord) -> bool:
        if self._pools.get(record.pool.id) is not record:
            return True
        try:
            await self._told(self._save_pool(record))
        except StoreUnavailable:
            return False
        except Exception as error:  # nor one that a pool meets
            report_failure(error, f"write behind of {record.pool.id}")
            return False
        self._stored_pool(record)
        return True

    async def _save_pool(self, record: PoolRecord) -> None:
        with suppress(Superseded):  # a newer record is stored
            await self._store.save_pool(record, self._owner)

    def _stored_pool(self, record: PoolRecord) -> None:
        if self._pools.get(record.pool.id) is record:
            del self._pools[record.pool.id]

    async def _reach(self, write: Callable[[_T], Awaitable[None]], what: _T) -> None:
        """Write at once. While the store is away, who writes behind learns when it is back."""
        if self._failure is not None:
            is_tried = self._task is not None and not self._task.done()
            if is_tried or asyncio.get_running_loop().time() < self._failed_at + PAUSE:
                raise once_more(self._failure)
        await self._told(write(what))

    async def _told(self, writing: Awaitable[None]) -> None:
        """Await a write of the store, and remember whether that was there."""
        try:
            await writing
        except StoreUnavailable as error:
            self._failure, self._failed_at = error, asyncio.get_running_loop().time()
            raise
        except Superseded:
            self._failure = None
            raise
        self._failure = None

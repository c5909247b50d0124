"""Writes to a store in the order in which they were asked for: one in flight for each key.

A store may have many connections, and one may be slower than another. So what is asked for later is
sent when the earlier one has ended: also where its caller was given up meanwhile, as the store may
still be at it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from d4d.domain.leases import Lease
from d4d.domain.pools import PoolRecord
from d4d.domain.ports.stores import LeaseStore
from d4d.service_layer.concurrency.keyed_lock import KeyedLocks

_T = TypeVar("_T")


class OrderedWrites:
    """A store's writing half."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self._locks = KeyedLocks()
        self._tasks: set[asyncio.Task[object]] = set()

    async def add(self, lease: Lease, *, unless_held: bool = False) -> Lease:
        """See ``LeaseStore``."""
        return await self._alone(
            (lease.pool, lease.address), lambda: self._store.add(lease, unless_held=unless_held)
        )

    async def update(self, lease: Lease) -> None:
        """See ``LeaseStore``."""
        await self._alone((lease.pool, lease.address), lambda: self._store.update(lease))

    async def remove(self, lease: Lease) -> bool:
        """See ``LeaseStore``."""
        return await self._alone((lease.pool, lease.address), lambda: self._store.remove(lease))

    async def save_pool(self, record: PoolRecord, owner: str) -> None:
        """See ``LeaseStore``."""
        await self._alone(record.pool.id, lambda: self._store.save_pool(record, owner))

    async def _alone(self, key: Hashable, write: Callable[[], Awaitable[_T]]) -> _T:
        task = asyncio.ensure_future(self._run(key, write))
        self._tasks.add(task)
        task.add_done_callback(self._end)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as error:
            error.add_note(f"the lease store, {self._store!r}: see what holds it up")
            raise

    async def _run(self, key: Hashable, write: Callable[[], Awaitable[_T]]) -> _T:
        async with self._locks.of(key):
            return await write()

    def _end(self, task: asyncio.Task[object]) -> None:
        """Its caller heard how it ended, or was given up: then nobody needs to."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

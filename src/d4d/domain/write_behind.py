"""Writes that nobody waits for: a renewal's new times, a release's end."""

import asyncio

from d4d.domain.errors import StoreUnavailable, Superseded
from d4d.domain.leases import Lease
from d4d.domain.pools import Address, PoolId
from d4d.domain.ports import LeaseStore

_RETRY = 1.0  # seconds until a store that was away is tried again


class WriteBehind:
    """What is to be stored, the newest for each lease, and one task that stores it."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self._dirty: dict[tuple[PoolId, Address], Lease] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._dirty)

    def add(self, lease: Lease) -> None:
        """Store ``lease`` soon; while the store is away, as soon as it is back."""
        self._dirty[lease.pool, lease.address] = lease
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._flush())

    def discard(self, lease: Lease) -> None:
        """Something newer of this pool and address was stored already."""
        self._dirty.pop((lease.pool, lease.address), None)

    async def aclose(self) -> None:
        """Store what is left, trying once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._store_all()

    async def _flush(self) -> None:
        while self._dirty:
            if not await self._store_all():
                await asyncio.sleep(_RETRY)

    async def _store_all(self) -> bool:
        """Store what is dirty now, at once, so that a store syncs once. True if all was stored."""
        written = await asyncio.gather(*map(self._write, tuple(self._dirty.values())))
        return all(written)

    async def _write(self, lease: Lease) -> bool:
        try:
            await self._store.update(lease)
        except StoreUnavailable:
            return False
        except Superseded:
            pass  # it is another's now, who has stored it: there is nothing left to say
        key = (lease.pool, lease.address)
        if self._dirty.get(key) is lease:
            del self._dirty[key]
        return True

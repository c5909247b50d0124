"""One at a time for each key: DISCOVERs of one MAC at once can get two addresses."""

import asyncio
from collections.abc import Hashable
from types import TracebackType


class _Lock(asyncio.Lock):
    users = 0
    """Who have it, or wait for it."""


class Turns:
    """Locks by key, made when needed and gone when nobody waits."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, _Lock] = {}

    def of(self, *keys: Hashable) -> "Turn":
        """To wait for the turns of ``keys``, one after the other, and have them all."""
        return Turn(self._locks, keys)


class Turn:
    """Had within ``async with``."""

    __slots__ = ("_held", "_keys", "_locks")

    def __init__(self, locks: dict[Hashable, _Lock], keys: tuple[Hashable, ...]) -> None:
        self._locks = locks
        self._keys = keys
        self._held: list[Hashable] = []

    async def __aenter__(self) -> None:
        try:
            for key in self._keys:
                await self._take(key)
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    async def _take(self, key: Hashable) -> None:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = _Lock()
        lock.users += 1
        try:
            await lock.acquire()
        except BaseException:
            self._let_go(key, lock)
            raise
        self._held.append(key)

    def _leave(self) -> None:
        while self._held:
            key = self._held.pop()
            lock = self._locks[key]
            lock.release()
            self._let_go(key, lock)

    def _let_go(self, key: Hashable, lock: _Lock) -> None:
        lock.users -= 1
        if not lock.users:
            del self._locks[key]

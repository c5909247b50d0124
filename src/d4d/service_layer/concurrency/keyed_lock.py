"""One at a time for each key: DISCOVERs of one MAC at once can get two addresses."""

import asyncio
from collections.abc import Hashable
from types import TracebackType
from typing import Literal


class _Lock(asyncio.Lock):
    users = 0
    """Who have it, or wait for it."""


class Window(asyncio.Semaphore):
    """For so many at once."""

    def __init__(self, size: int, *, who: str) -> None:
        """``who`` they are, for who was given up while they were too many."""
        super().__init__(size)
        self._text = f"its turn: {size} others were {who}"

    async def acquire(self) -> Literal[True]:
        """Wait for one to be done, if need be."""
        try:
            return await super().acquire()
        except asyncio.CancelledError as error:
            error.add_note(self._text)
            raise


class KeyedLocks:
    """Locks by key, made when needed and gone when nobody waits."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, _Lock] = {}

    def of(self, *keys: Hashable) -> "KeyedLock":
        """To wait for the turns of ``keys``, one after the other, and have them all."""
        return KeyedLock(self._locks, keys)


class KeyedLock:
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
        except BaseException as error:
            self._let_go(key, lock)
            if isinstance(error, asyncio.CancelledError):
                named = key[-1] if type(key) is tuple else key  # what is known in a pool
                whose = "its client id" if type(named) is bytes else named  # a MAC prints itself
                error.add_note(f"its turn: another call for {whose} was not over")
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

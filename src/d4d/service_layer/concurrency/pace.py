"""How much of the event loop an operator's work may take: Docker's calls run in the same one."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_SLICE = 0.002  # seconds: a call of Docker's has some ten turns of the loop, and may meet a few
_LONG_AT_ONCE = 2
_LOOK = 16  # items between two looks at the clock

T = TypeVar("T")
R = TypeVar("R")


class Pace:
    """Work in short slices, one at a time, each followed by a rest as long as it was.

    However many operators ask however much, they have half of the loop's time at most, and nobody
    else waits longer than a slice.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self.long = asyncio.Semaphore(_LONG_AT_ONCE)
        """Whoever looks at all leases does so within: what they gather meanwhile is garbage soon,
        and to look through that of a hundred takes Python's collector longer than any slice."""

    async def turn(self) -> None:
        """Wait for a turn. It lasts until who had it waits for anything, which must be soon."""
        await self._turn.acquire()
        loop = asyncio.get_running_loop()
        loop.call_soon(self._rest, time.perf_counter())

    async def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """What ``work`` makes of each, in as many slices as that takes."""
        done: list[R] = []
        rest = iter(items)
        is_done = False
        while not is_done:
            await self.turn()
            is_done = _some(work, rest, done)
        return done

    def _rest(self, began: float) -> None:
        """Let the next one have its turn when the loop was everybody else's for long enough."""
        spent = time.perf_counter() - began
        asyncio.get_running_loop().call_later(spent, self._turn.release)


def _some(work: Callable[[T], R], items: Iterator[T], done: list[R]) -> bool:
    """Do as many of the items as a slice has room for; whether these were the last."""
    until = time.perf_counter() + _SLICE
    while time.perf_counter() < until:
        for _ in range(_LOOK):
            try:
                item = next(items)
            except StopIteration:
                return True
            done.append(work(item))
    return False

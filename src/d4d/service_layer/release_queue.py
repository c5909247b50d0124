"""Releases on their way to the server: behind Docker's back, after the hold, until sent."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

from d4d.domain.addressing import Address
from d4d.domain.errors import D4DError
from d4d.domain.leases import Lease
from d4d.domain.pools import PoolId
from d4d.domain.ports.clock import Clock
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import forever, report_failure

_TRY = 2.0  # seconds for the turn of a MAC that is just being served
_BREATH = 0.003  # seconds between two releases: nobody answers one, so none may be overrun
_FIRST_RETRY, _LONGEST_RETRY = timedelta(seconds=1), timedelta(minutes=1)

GiveBack = Callable[[Lease, str], Awaitable[None]]
"""Tells the server of a release, and why it came about, where it was not Docker's doing."""
Key = tuple[PoolId, Address]


class ReleaseQueue:
    """One queue and one task, however many leases wait in it."""

    def __init__(self, *, give_back: GiveBack, clock: Clock, hold: timedelta) -> None:
        self._give_back = give_back
        self._clock = clock
        self._hold = hold
        self._due: list[tuple[datetime, int, Lease, str, timedelta]] = []
        self._waiting: dict[Key, int] = {}
        self._order = itertools.count()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to give back what is due."""
        self._task = forever("giving back", self._step)

    async def aclose(self) -> None:
        """Stop; what is still waiting stands in the store, and is taken up at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def add(self, lease: Lease, reason: str = "") -> None:
        """Give ``lease`` back when its hold is over, for ``reason`` if it was not Docker's wish."""
        self._waiting[lease.pool, lease.address] = lease.generation
        self._push(self.due(lease), lease, reason, _FIRST_RETRY)

    def due(self, lease: Lease) -> datetime:
        """When the server is to be told: after the hold, or when it has nothing more to hear."""
        assert lease.released_at is not None
        held_until = lease.released_at + self._hold
        return min(held_until, lease.expires_at) if lease.expires_at else held_until

    def discard(self, lease: Lease) -> None:
        """Its container came back, or its address was got anew: don't give it back."""
        self._waiting.pop((lease.pool, lease.address), None)

    def _push(self, due: datetime, lease: Lease, reason: str, retry: timedelta) -> None:
        heapq.heappush(self._due, (due, next(self._order), lease, reason, retry))
        self._news.set()

    async def _step(self) -> None:
        self._news.clear()
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            _, _, lease, reason, retry = heapq.heappop(self._due)
            await self._try(lease, reason, retry)
            await asyncio.sleep(_BREATH)
        wait = (self._due[0][0] - self._clock()).total_seconds() if self._due else None
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):  # 3.11's wait_for can swallow a cancellation
                await self._news.wait()

    async def _try(self, lease: Lease, reason: str, retry: timedelta) -> None:
        key = (lease.pool, lease.address)
        if self._waiting.get(key) != lease.generation:
            return
        try:
            async with asyncio.timeout(_TRY):
                await self._give_back(lease, reason)
        except (D4DError, TimeoutError) as error:  # a link that is down is not so for ever
            if retry == _FIRST_RETRY and isinstance(error, D4DError):
                log.release_unsent(
                    address=str(lease.address),
                    pool=lease.pool,
                    mac=str(lease.endpoint.mac),
                    error=str(error),
                )
            self._again(lease, reason, retry)
        except Exception as error:  # a bug that one lease meets must not keep the others
            report_failure(error, "giving back")
            self._again(lease, reason, retry)

    def _again(self, lease: Lease, reason: str, retry: timedelta) -> None:
        self._push(self._clock() + retry, lease, reason, min(retry * 2, _LONGEST_RETRY))

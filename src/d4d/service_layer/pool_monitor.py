"""Notices pools that become nearly full."""

import asyncio
from collections.abc import Callable, Mapping

from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.pools import PoolId
from d4d.domain.utilization import PoolUtilization, UtilizationAlert
from d4d.service_layer import log_messages as log
from d4d.service_layer.concurrency.supervised_task import answered, forever

_FILLING = frozenset({EventKind.ACQUIRED, EventKind.ADOPTED, EventKind.RELEASED})
_PAUSE = 2.0  # seconds: all leases are counted at each look


class PoolMonitor:
    """A listener to events: where they filled a pool, it is looked at soon after."""

    def __init__(
        self,
        fills: Callable[[], Mapping[PoolId, PoolUtilization]],
        *,
        percent: float,
        report: Callable[[PoolId, PoolUtilization], None] | None,
    ) -> None:
        self._fills = fills
        self._nearly_full = UtilizationAlert(percent)
        self._report = report
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a look at the pools as they are."""
        self._news.set()
        self._task = forever("pool watch", self._step)

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def record(self, event: LeaseEvent) -> None:
        """Have the pools looked at, if ``event`` changed how full one is (ports.Events)."""
        if event.kind in _FILLING:
            self._news.set()

    async def _step(self) -> None:
        await self._news.wait()
        with answered(self._news):
            fills = self._fills()
            for pool in self._nearly_full.look(fills):
                fill = fills[pool]
                log.pool_nearly_full(pool=pool, size=fill.size, free=fill.free)
                if self._report is not None:
                    self._report(pool, fill)
        await asyncio.sleep(_PAUSE)

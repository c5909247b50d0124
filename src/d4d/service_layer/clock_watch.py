"""Notices that the host slept, or that its clock was set: timers then ring at the wrong time.

The event loop's time stops while the host sleeps, and the host's clock may be set, by NTP or where
a virtual machine is restored from a snapshot. The driver's own clock does neither. So each of these
is held against the others, every few seconds.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from d4d.domain.ports.clock import Clock
from d4d.service_layer.concurrency.supervised_task import forever, its_own

_TICK = 2.0  # seconds
_JUMP = timedelta(seconds=5)  # less than that is a busy machine, or a clock that is steered


class ClockWatch:
    """One timer, and who hears of a jump."""

    def __init__(self, *, clock: Clock, wall: Clock) -> None:
        """``clock`` goes on while the host sleeps, and is never set; ``wall`` may be."""
        self._clock = clock
        self._wall = wall
        self._listeners: list[Callable[[timedelta], None]] = []
        self._last: tuple[float, datetime, datetime] | None = None
        self._task: asyncio.Task[None] | None = None

    def add(self, listener: Callable[[timedelta], None]) -> None:
        """Have ``listener`` hear of each jump, and how far it was."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin."""
        self._last = self._read()
        self._task = forever("clock watch", self._step)

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _step(self) -> None:
        await asyncio.sleep(_TICK)
        self.look()

    def look(self) -> None:
        """Compare the clocks now with what they showed at the last look."""
        now, last = self._read(), self._last
        self._last = now
        if last is None:
            return
        loop, clock, wall = timedelta(seconds=now[0] - last[0]), now[1] - last[1], now[2] - last[2]
        slept, was_set = clock - loop, wall - clock
        jump = slept if abs(slept) > abs(was_set) else was_set
        if abs(jump) < _JUMP:
            return
        for listener in self._listeners:
            with its_own("clock watch"):
                listener(jump)

    def _read(self) -> tuple[float, datetime, datetime]:
        return asyncio.get_running_loop().time(), self._clock(), self._wall()

"""An event loop whose time passes only when nothing is left to do: a day costs no waiting.

A module whose tests shall run in it says ``VIRTUAL_TIME = True``.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from d4d.adapters.system.clock_jumps import ClockReadings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_TOO_LONG = 400 * 86400.0  # seconds; a test that gets there waits for what never comes

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Sleeps by moving the loop's time. The loop's own wake-up socket is looked at, not awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.elapsed > _TOO_LONG:
            raise AssertionError("the test waits for what never comes")
        self.elapsed += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.elapsed


class FakeClock:
    """Noon, and what has passed in the running loop since; ``jump`` is a host that slept."""

    def __init__(self) -> None:
        self._jumped = timedelta(0)

    def __call__(self) -> datetime:
        return NOON + self._jumped + timedelta(seconds=asyncio.get_running_loop().time())

    def jump(self, duration: timedelta) -> None:
        self._jumped += duration


class FakeClocks:
    """The kernel's clocks: they pass with the running loop, may sleep, and may be set."""

    def __init__(self) -> None:
        self._slept = self._was_set = timedelta(0)

    def __call__(self) -> ClockReadings:
        passed = timedelta(seconds=asyncio.get_running_loop().time())
        return ClockReadings(
            monotonic=_nanoseconds(passed),
            boottime=_nanoseconds(passed + self._slept),
            realtime=_nanoseconds(passed + self._slept + self._was_set),
        )

    def sleep(self, duration: timedelta) -> None:
        self._slept += duration

    def set(self, by: timedelta) -> None:
        self._was_set += by


def _nanoseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000


def run(main: Coroutine[Any, Any, T]) -> T:
    """What ``main`` comes to, in a loop of its own: for the examples of a property."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


async def settle(seconds: float = 0.1) -> None:
    """Let everything happen that is due within ``seconds``."""
    await asyncio.sleep(seconds)

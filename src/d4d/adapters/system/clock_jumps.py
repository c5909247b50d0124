"""Notices that the host slept, or that its clock was set.

The event loop's time is CLOCK_MONOTONIC, which stands while the host sleeps: its timers ring late
by as much. CLOCK_BOOTTIME goes on. CLOCK_REALTIME is CLOCK_BOOTTIME and an offset, which changes by
steps alone: who steers a clock steers all three. So two differences tell everything, to the
nanosecond and however busy the machine is.

A timer that the kernel cancels when the clock is set (TFD_TIMER_CANCEL_ON_SET), as it also is at
the end of a sleep, has us look at once. A look every few seconds needs nobody's word.
"""

import asyncio
import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from d4d.domain.ports.disturbances import ClockJump, ClockJumped, Notify

_TICK = 5.0  # seconds
_LEAST = timedelta(seconds=5)
"""What a lease does not mind: many small jumps count as one when they have come to this."""
_AT_ONCE_NS = 20_000_000
"""Readings that took longer are taken again: the host may have slept between two of them."""
_READINGS = 10
# <linux/timerfd.h>, <time.h>
_ABSTIME, _CANCEL_ON_SET = 1, 2
_FAR = (1 << 31) - 1  # 2038, in seconds that every kernel takes; the timer just ends by then
_TICKS = 8  # bytes that a timer is read by


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReadings:
    """The kernel's clocks at one instant, in nanoseconds."""

    monotonic: int
    boottime: int
    realtime: int


def read_clocks() -> ClockReadings:
    """As they are now."""
    for _ in range(_READINGS):
        readings = ClockReadings(
            monotonic=time.clock_gettime_ns(time.CLOCK_MONOTONIC),
            boottime=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            realtime=time.clock_gettime_ns(time.CLOCK_REALTIME),
        )
        if time.clock_gettime_ns(time.CLOCK_BOOTTIME) - readings.monotonic < _AT_ONCE_NS:
            break
    return readings


class ClockJumps:
    """A source of disturbances."""

    name = "clock watch"

    def __init__(
        self, *, read: Callable[[], ClockReadings] = read_clocks, tick: float = _TICK
    ) -> None:
        """``read`` is called every ``tick`` seconds, and when the clock was set."""
        self._read = read
        self._tick = tick
        self._known: ClockReadings | None = None

    async def watch(self, notify: Notify) -> None:
        """See ``DisturbanceSource``. Raises OSError."""
        was_set = asyncio.Event()
        with _alarm(was_set.set):
            while True:
                self._look(notify)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._tick):
                        await was_set.wait()
                was_set.clear()

    def _look(self, notify: Notify) -> None:
        """Compare the clocks with what they showed when a jump was last told of."""
        now, known = self._read(), self._known
        if known is None:
            self._known = now
            return
        passed = now.boottime - known.boottime
        slept = _microseconds(passed - (now.monotonic - known.monotonic))
        was_set = _microseconds(now.realtime - known.realtime - passed)
        jumps = [
            ClockJumped(cause=cause, by=by)
            for cause, by in ((ClockJump.SLEPT, slept), (ClockJump.SET, was_set))
            if abs(by) >= _LEAST
        ]
        if jumps:
            self._known = now
        for jump in jumps:
            notify(jump)


def _microseconds(nanoseconds: int) -> timedelta:
    return timedelta(microseconds=nanoseconds // 1000)


class _ItimerSpec(ctypes.Structure):
    """struct itimerspec: never again after ``seconds``."""

    _fields_ = (
        ("again_seconds", ctypes.c_long),
        ("again_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


@contextmanager
def _alarm(was_set: Callable[[], None]) -> Iterator[None]:
    """Calls ``was_set`` in the event loop whenever somebody set the clock. Raises OSError."""
    loop = asyncio.get_running_loop()
    descriptor = _open_timer()

    def readable() -> None:
        try:
            os.read(descriptor, _TICKS)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        was_set()

    try:
        loop.add_reader(descriptor, readable)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def _open_timer() -> int:
    """A timer that is cancelled when the clock is set. Python has none before 3.13."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor: int = library.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise _error()
    spec = _ItimerSpec(seconds=_FAR)
    flags = _ABSTIME | _CANCEL_ON_SET
    if library.timerfd_settime(descriptor, flags, ctypes.byref(spec), None) < 0:
        os.close(descriptor)
        raise _error()
    return descriptor


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))

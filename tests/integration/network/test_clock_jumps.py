"""Who sets the clock is noticed at once, by the kernel's word."""

import asyncio
import ctypes
import os
from contextlib import suppress
from datetime import timedelta

import pytest

from d4d.adapters.system.clock_jumps import ClockJumps, ClockReadings
from d4d.domain.ports.disturbances import ClockJump, ClockJumped, Disturbance

_SETOFFSET, _NANO = 0x0100, 0x2000  # ADJ_SETOFFSET, ADJ_NANO of <linux/timex.h>
_TIME, _ROOM = 72, 512  # where struct timex has its time, and more than it takes, in bytes


def step(nanoseconds: int) -> None:
    """Set the machine's clock by so little that nobody minds. Raises OSError."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    timex = ctypes.create_string_buffer(_ROOM)
    ctypes.c_uint.from_buffer(timex).value = _SETOFFSET | _NANO
    ctypes.c_long.from_buffer(timex, _TIME).value = seconds
    ctypes.c_long.from_buffer(timex, _TIME + ctypes.sizeof(ctypes.c_long)).value = rest
    library = ctypes.CDLL(None, use_errno=True)
    if library.adjtimex(timex) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


async def test_a_step_is_told_of_though_nobody_looks_for_an_hour() -> None:
    readings = ClockReadings(monotonic=0, boottime=0, realtime=0)
    told: list[Disturbance] = []
    came = asyncio.Event()

    def notify(disturbance: Disturbance) -> None:
        told.append(disturbance)
        came.set()

    jumps = ClockJumps(read=lambda: readings, tick=3600)
    task = asyncio.create_task(jumps.watch(notify))
    await asyncio.sleep(0)
    readings = ClockReadings(monotonic=0, boottime=0, realtime=8 * 3600 * 1_000_000_000)
    try:
        try:
            step(1000)
            step(-1000)
        except PermissionError:
            pytest.skip("to set a clock needs CAP_SYS_TIME")
        async with asyncio.timeout(30):
            await came.wait()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert told == [ClockJumped(cause=ClockJump.SET, by=timedelta(hours=8))]

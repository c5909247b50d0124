"""Sleeps and steps of the clock are noticed; the passing of time is not."""

import asyncio
from datetime import timedelta

from d4d.adapters.system.clock_jumps import ClockJumps, read_clocks
from d4d.domain.ports.disturbances import ClockJump, ClockJumped, Disturbance
from tests.support.virtual_time import FakeClocks, settle

VIRTUAL_TIME = True

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


class Bench:
    """A watch over clocks of its own, and what it told."""

    def __init__(self) -> None:
        self.clocks = FakeClocks()
        self.jumps = ClockJumps(read=self.clocks)
        self.told: list[Disturbance] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Bench":
        self._task = asyncio.create_task(self.jumps.watch(self.told.append))
        await settle(60)
        assert self.told == []
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def slept(by: timedelta) -> ClockJumped:
    return ClockJumped(cause=ClockJump.SLEPT, by=by)


def was_set(by: timedelta) -> ClockJumped:
    return ClockJumped(cause=ClockJump.SET, by=by)


async def test_a_sleep_is_told_once_and_how_long_it_was() -> None:
    async with Bench() as bench:
        bench.clocks.sleep(2 * HOUR)
        await settle(60)
        assert bench.told == [slept(2 * HOUR)]


async def test_a_clock_that_is_set_is_told_of_ahead_and_back() -> None:
    async with Bench() as bench:
        bench.clocks.set(8 * HOUR)
        await settle(6)
        bench.clocks.set(-HOUR)
        await settle(60)
        assert bench.told == [was_set(8 * HOUR), was_set(-HOUR)]


async def test_a_clock_that_is_set_after_a_sleep_is_both() -> None:
    async with Bench() as bench:
        bench.clocks.sleep(HOUR)
        bench.clocks.set(-10 * SECOND)
        await settle(6)
        assert bench.told == [slept(HOUR), was_set(-10 * SECOND)]


async def test_small_steps_count_when_they_have_come_to_something() -> None:
    async with Bench() as bench:
        for _ in range(4):
            bench.clocks.set(SECOND)
            await settle(60)
        assert bench.told == []
        bench.clocks.set(SECOND)
        await settle(60)
        assert bench.told == [was_set(5 * SECOND)]


async def test_one_that_swings_back_is_none() -> None:
    async with Bench() as bench:
        for _ in range(10):
            bench.clocks.set(3 * SECOND)
            await settle(60)
            bench.clocks.set(-3 * SECOND)
            await settle(60)
        assert bench.told == []


async def test_what_happens_between_two_watches_is_told_by_the_second() -> None:
    bench = Bench()
    async with bench:
        pass
    bench.clocks.sleep(HOUR)
    task = asyncio.create_task(bench.jumps.watch(bench.told.append))
    await settle(1)
    task.cancel()
    assert bench.told == [slept(HOUR)]


def test_the_kernels_clocks_go_the_same_way() -> None:
    first, second = read_clocks(), read_clocks()
    assert second.monotonic > first.monotonic
    assert second.boottime >= second.monotonic

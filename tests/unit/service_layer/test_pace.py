"""Operators' work beside Docker's calls: how long a step of it is, and who has the next one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from d4d.service_layer.concurrency.pace import Pace

WORK = 0.0005  # seconds that one item keeps the loop
ITEMS = 200


def work(item: int) -> int:
    until = time.perf_counter() + WORK
    while time.perf_counter() < until:
        pass
    return 2 * item


@asynccontextmanager
async def docker() -> AsyncIterator[list[None]]:
    """Somebody else, who wants the loop all of the time: an entry for each turn that they have."""
    turns: list[None] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(None)

    looking = asyncio.create_task(look())
    try:
        yield turns
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def test_all_is_done_and_in_its_order() -> None:
    assert await Pace().each(work, range(ITEMS)) == [2 * each for each in range(ITEMS)]
    assert await Pace().each(work, ()) == []


async def test_much_work_is_done_in_many_steps() -> None:
    async with docker() as turns:
        await Pace().each(work, range(ITEMS))
    # 100 ms of work in slices of 2 ms, or of the sixteen items between two looks at the clock
    assert len(turns) > ITEMS / 16


async def test_many_who_have_much_to_do_have_one_step_between_two_of_anybody_else() -> None:
    pace = Pace()
    steps: list[int] = []
    between: list[int] = []

    def step(_: int) -> None:
        steps.append(len(turns))
        work(0)

    async with docker() as turns:
        await asyncio.gather(*(pace.each(step, range(16)) for _ in range(10)))
    between = [
        later - earlier for earlier, later in zip(steps[15::16], steps[16::16], strict=False)
    ]
    assert len(between) == 9
    assert all(between), "two had their step in one turn of the loop"


async def test_a_turn_is_over_when_who_has_it_waits() -> None:
    pace = Pace()
    never = asyncio.Event()

    async def waits() -> None:
        await pace.turn()
        await never.wait()

    waiting = asyncio.create_task(waits())
    async with asyncio.timeout(5):
        assert await pace.each(work, range(3)) == [0, 2, 4]
    waiting.cancel()


async def test_who_is_cancelled_while_it_waits_for_its_turn_keeps_nobody_from_theirs() -> None:
    pace = Pace()
    await pace.turn()
    waiting = asyncio.create_task(pace.turn())
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(5):
        await pace.turn()

"""One attempt for all who wait for it."""

import asyncio

import pytest

from d4d.domain.errors import StoreAway
from d4d.service_layer.concurrency.shared_attempt import PAUSE, SharedAttempt
from tests.support.virtual_time import settle

VIRTUAL_TIME = True


class Bench:
    """What takes two seconds, and fails while it is away."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.is_away = False
        self.shared = SharedAttempt(self._attempt, pauses_after=(StoreAway,), name="the attempt")

    async def _attempt(self) -> None:
        self.begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(2.0)
        if self.is_away:
            raise StoreAway("away")


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def outcomes(bench: Bench, count: int = 40) -> set[str]:
    done = await asyncio.gather(
        *(bench.shared.outcome() for _ in range(count)), return_exceptions=True
    )
    return {repr(each) for each in done}


async def test_who_waits_for_one_under_way_gets_its_outcome(bench: Bench) -> None:
    assert await outcomes(bench) == {"None"}
    assert bench.begun == [0.0]


async def test_also_a_failure(bench: Bench) -> None:
    bench.is_away = True
    assert await outcomes(bench) == {"StoreAway('away')"}
    assert bench.begun == [0.0]
    assert asyncio.get_running_loop().time() == 2.0


async def test_nobody_tries_anew_for_a_while_after_a_failure(bench: Bench) -> None:
    bench.is_away = True
    await outcomes(bench)
    await settle(PAUSE - 0.1)
    assert await outcomes(bench) == {"StoreAway('away')"}
    assert bench.begun == [0.0]
    bench.is_away = False
    await settle(0.2)
    assert await outcomes(bench) == {"None"}
    assert len(bench.begun) == 2


async def test_who_must_learn_when_it_is_back_tries_anew_at_once(bench: Bench) -> None:
    bench.is_away = True
    await outcomes(bench)
    bench.is_away = False
    await bench.shared.anew()
    assert await outcomes(bench) == {"None"}


async def test_who_began_it_may_be_given_up_and_the_others_get_the_outcome(bench: Bench) -> None:
    first = asyncio.ensure_future(bench.shared.outcome())
    await settle(1.0)
    others = asyncio.ensure_future(outcomes(bench))
    await settle(0.1)
    first.cancel()
    assert await others == {"None"}
    assert first.cancelled()
    assert bench.begun == [0.0]


async def test_one_that_nobody_waits_for_any_more_fails_in_silence(bench: Bench) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    bench.is_away = True
    only = asyncio.ensure_future(bench.shared.outcome())
    await settle(1.0)
    only.cancel()
    await settle(5.0)
    assert told == []

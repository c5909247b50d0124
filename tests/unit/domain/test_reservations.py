"""What an operator reserved, and containers that come back while their old address is held."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.support.driver_harness import A, B, Driver
from tests.support.virtual_time import settle

VIRTUAL_TIME = True


@pytest.fixture
async def holding() -> AsyncIterator[Driver]:
    """A driver that holds what is released for a minute."""
    async with Driver(hold=timedelta(minutes=1)) as opened:
        yield opened


async def test_a_container_leaves_its_held_address_for_the_one_that_is_reserved_for_it(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    old = await holding.run(pool, A, name="web")
    await holding.reserve("192.168.59.9", "web")
    await holding.release(pool, old)
    assert await holding.run(pool, A, name="web") == "192.168.59.9/24"
    assert holding.freed == ["192.168.59.1"], "the server would give it the old one again"


async def test_a_container_keeps_what_it_has_while_it_runs(holding: Driver) -> None:
    pool = await holding.pool()
    old = await holding.run(pool, A, name="web")
    await holding.reserve("192.168.59.9", "web")
    assert await holding.run(pool, A, name="web") == old


async def test_a_container_does_not_come_back_to_what_was_reserved_for_another(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    old = await holding.run(pool, A, name="db")
    await holding.reserve("192.168.59.1", "web")
    await holding.release(pool, old)
    assert await holding.run(pool, A, name="db") == "192.168.59.2/24"
    assert await holding.run(pool, B, name="web") == "192.168.59.1/24"


async def test_a_held_address_that_is_reserved_for_its_container_is_taken_back(
    holding: Driver,
) -> None:
    pool = await holding.pool()
    await holding.reserve("192.168.59.9", "web")
    reserved = await holding.run(pool, A, name="web")
    await holding.release(pool, reserved)
    assert await holding.run(pool, B, name="web") == reserved
    await settle(120.0)
    assert holding.freed == []

"""Events as they happen, for those who follow them."""

import asyncio
from ipaddress import IPv4Address

from d4d.adapters.observability.event_stream import EventStream
from d4d.domain.pools import PoolId
from d4d.domain.ports.allocator import Event, EventKind
from tests.support.virtual_time import NOON, settle

VIRTUAL_TIME = True

EVENT = Event(
    kind=EventKind.LOST,
    at=NOON,
    pool=PoolId("10.77.0.0/16"),
    address=IPv4Address("10.77.16.1"),
    endpoint=None,
    detail="",
)


async def test_who_follows_is_let_go_at_the_close_with_all_that_came_before() -> None:
    stream = EventStream()

    async def follow() -> list[Event | None]:
        return [each async for each in stream.follow(60)]

    waiting, reading = asyncio.create_task(follow()), asyncio.create_task(follow())
    await settle()
    stream.record(EVENT)
    stream.close()

    assert await waiting == await reading == [EVENT]

"""Events as they happen, for those who follow them."""

import asyncio
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest

from d4d.adapters.observability.event_stream import MOST_FOLLOWERS, EventStream, TooManyFollowers
from d4d.domain.events import EventKind, LeaseEvent
from d4d.domain.pools import PoolId
from tests.support.virtual_time import NOON, settle

VIRTUAL_TIME = True

EVENT = LeaseEvent(
    kind=EventKind.LOST,
    at=NOON,
    pool=PoolId("10.77.0.0/16"),
    address=IPv4Address("10.77.16.1"),
    endpoint=None,
    detail="",
)


async def follow(stream: EventStream, pause: float = 60) -> list[LeaseEvent]:
    with stream.following() as follower:
        return [told.event async for together in follower.events(pause) for told in together]


async def test_who_follows_is_let_go_at_the_close_with_all_that_came_before() -> None:
    stream = EventStream()
    waiting, reading = (asyncio.create_task(follow(stream)) for _ in range(2))
    await settle()
    stream.record(EVENT)
    stream.close()

    assert await waiting == await reading == [EVENT]


async def test_an_event_is_made_text_once_for_all_who_follow() -> None:
    stream = EventStream()
    made: list[LeaseEvent] = []

    def render(event: LeaseEvent) -> str:
        made.append(event)
        return event.kind.value

    with stream.following() as one, stream.following() as other:
        stream.record(EVENT)
        stream.record(EVENT)
        for follower in (one, other):
            together = await anext(follower.events(60))
            assert [told.text(render) for told in together] == ["lost", "lost"]
    assert len(made) == 2


async def test_there_are_so_many_followers_and_no_more() -> None:
    stream = EventStream()
    with ExitStack() as stack:
        for _ in range(MOST_FOLLOWERS):
            stack.enter_context(stream.following())
        with pytest.raises(TooManyFollowers, match="20 follow the events already"):
            stack.enter_context(stream.following())
    with stream.following():  # who ends makes room
        pass


async def test_who_does_not_read_is_let_go_and_keeps_others_from_nothing() -> None:
    stream = EventStream()
    with stream.following() as slow, stream.following() as quick:
        events = quick.events(60)
        for _ in range(40):
            for _ in range(50):
                stream.record(EVENT)
            assert len(await anext(events)) == 50
        kept = [told async for together in slow.events(60) for told in together]
    assert len(kept) == 1000


async def test_silence_is_told_and_what_comes_together_is_told_together() -> None:
    stream = EventStream()
    with stream.following() as follower:
        events = follower.events(15)
        assert await anext(events) == []
        for _ in range(100):
            stream.record(EVENT)
        assert [len(await anext(events)) for _ in range(2)] == [64, 36]
        assert await anext(events) == []

import asyncio

import pytest

from d4d.service_layer.concurrency.keyed_lock import KeyedLocks

VIRTUAL_TIME = True


async def ready() -> None:
    """Let every task come as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_second_waits_for_the_same_key_and_not_for_another() -> None:
    turns, order = KeyedLocks(), list[str]()

    async def have(name: str, *keys: str) -> None:
        async with turns.of(*keys):
            order.append(name)
            await ready()
            order.append(f"{name} done")

    await asyncio.gather(have("one", "a", "b"), have("two", "b"), have("three", "c"))

    assert order == ["one", "three", "one done", "three done", "two", "two done"]


async def test_a_lock_is_gone_when_nobody_has_it_nor_waits() -> None:
    turns = KeyedLocks()
    async with turns.of("a", "b"):
        assert turns._locks
    assert not turns._locks


async def test_who_is_cancelled_while_waiting_leaves_what_it_had() -> None:
    turns = KeyedLocks()
    async with turns.of("b"):
        waiting = asyncio.create_task(turns.of("a", "b").__aenter__())
        await ready()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        async with asyncio.timeout(1), turns.of("a"):
            pass

    async with asyncio.timeout(1), turns.of("b"):
        pass
    assert not turns._locks


async def test_turns_are_by_several_keys() -> None:
    turns = KeyedLocks()
    log: list[str] = []

    async def serve(label: str, mac: str, name: str) -> None:
        async with turns.of(mac, name):
            log.append(f"{label} in")
            await asyncio.sleep(1.0)
            log.append(f"{label} out")

    await asyncio.gather(
        serve("first", "A", "web"), serve("same name", "B", "web"), serve("same MAC", "A", "db")
    )
    assert log[:2] == ["first in", "first out"]
    assert len(log) == 6
    assert turns._locks == {}


async def test_others_do_not_wait_for_a_turn() -> None:
    turns = KeyedLocks()
    async with (
        asyncio.timeout(1.0),
        turns.of("A", "web"),
        turns.of("B", "db"),
    ):
        pass


async def test_a_turn_that_is_given_up_holds_nobody_up() -> None:
    turns, end = KeyedLocks(), "A"

    async def wait() -> None:
        async with turns.of(end):
            raise AssertionError("it was not its turn")

    async with turns.of(end):
        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    async with asyncio.timeout(1.0), turns.of(end):
        pass

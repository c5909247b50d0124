"""A reader goes on after any error of its socket, on both event loops, and never spins."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise

import pytest

from d4d.adapters.network.socket_reading import SocketReader

BOTH_LOOPS = True

PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds at least, from the second reading on that fails."""
EARLY = 0.01
"""Seconds by which uvloop's timers may be early: they count in milliseconds."""


class Faulty(socket.socket):
    """One end of a pair, whose reading meets errors first."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end.family, end.type, fileno=end.detach())
        self.errors: Iterator[int] = iter(())
        self.reads = 0
        self.read_at: list[float] = []

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.reads += 1
        self.read_at.append(asyncio.get_running_loop().time())
        if code := next(self.errors, 0):
            raise OSError(code, os.strerror(code))
        return super().recv(size, flags)


class Bench:
    def __init__(self) -> None:
        near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near = Faulty(near)
        self.near.setblocking(False)
        self.heard: list[bytes] = []
        self.errors: list[int | None] = []
        self.reader = SocketReader(self.near, read=self.heard.extend, failed=self._failed)

    def _failed(self, error: OSError) -> None:
        self.errors.append(error.errno)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.reader.open()
    yield made
    made.reader.close()
    made.near.close()
    made.far.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a socket tells nobody what it has read
            await asyncio.sleep(0.01)


async def test_what_comes_in_is_read_in_order(bench: Bench) -> None:
    for number in range(200):
        bench.far.send(b"%d" % number)
        await asyncio.sleep(0)
    await until(lambda: len(bench.heard) == 200)
    assert bench.heard == [b"%d" % number for number in range(200)]


@pytest.mark.parametrize("code", ["ENETDOWN", "ENXIO", "ENOBUFS", "ECONNREFUSED", "ENOMEM", "EIO"])
async def test_after_any_error_it_reads_on(bench: Bench, code: str) -> None:
    bench.near.errors = iter([getattr(errno, code)])
    bench.far.send(b"first")
    await until(lambda: b"first" in bench.heard)
    bench.far.send(b"second")
    await until(lambda: b"second" in bench.heard)
    assert bench.errors == [getattr(errno, code)]


async def test_an_error_that_stays_is_looked_at_less_and_less_often(bench: Bench) -> None:
    bench.near.errors = iter([errno.ENETDOWN] * 5)
    bench.far.send(b"at last")
    await until(lambda: bench.heard == [b"at last"])
    assert len(bench.errors) == 5
    # Once more at once, then after pauses; asyncio's loop alone would have asked again at once.
    asked = bench.near.read_at[1:6]
    waited = [later - earlier for earlier, later in pairwise(asked)]
    assert [seconds > least - EARLY for seconds, least in zip(waited, PAUSES, strict=True)] == [
        True
    ] * len(PAUSES), waited


async def test_what_its_listener_raises_ends_nothing(bench: Bench) -> None:
    told = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said))

    def faulty(packets: list[bytes]) -> None:
        bench.heard.extend(packets)
        if len(bench.heard) == 1:
            raise ZeroDivisionError("a bug")

    reader = SocketReader(bench.near, read=faulty, failed=bench._failed)
    bench.reader.close()
    reader.open()
    bench.far.send(b"first")
    await until(lambda: bool(bench.heard))
    bench.far.send(b"second")
    await until(lambda: len(bench.heard) == 2)
    assert len(told) == 1
    reader.close()


async def test_one_that_rests_reads_when_it_is_over_or_when_it_is_opened(bench: Bench) -> None:
    bench.reader.rest(3600)
    bench.far.send(b"now")
    await asyncio.sleep(0.05)
    assert bench.heard == []
    bench.reader.open()
    await until(lambda: bench.heard == [b"now"])
    bench.reader.rest(0.05)
    bench.far.send(b"later")
    await until(lambda: bench.heard == [b"now", b"later"])


async def test_a_closed_one_reads_no_more_also_if_it_is_closed_while_it_reads(
    bench: Bench,
) -> None:
    bench.near.errors = iter([errno.ENETDOWN])

    def close(_: OSError) -> None:
        reader.close()

    bench.reader.close()
    reader = SocketReader(bench.near, read=bench.heard.extend, failed=close)
    reader.open()
    bench.far.send(b"unheard")
    await until(lambda: bench.near.reads == 1)
    await asyncio.sleep(0.2)
    assert bench.near.reads == 1
    assert bench.heard == []

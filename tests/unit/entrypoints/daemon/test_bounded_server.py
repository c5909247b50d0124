"""What serves operators, at a real socket: what it answers, and what nobody can take of it."""

import asyncio
import json
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from d4d.entrypoints.daemon.http.bounded_server import BOUNDS, Bounds, serve_bounded
from d4d.service_layer.concurrency.pace import Pace

BOTH_LOOPS = True

GET = b"GET / HTTP/1.1\r\nHost: d4d\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: d4d\r\nConnection: close\r\n\r\n"
LARGE = 4_000_000
PATIENCE = 20  # seconds


class Served:
    """An app at a socket, and what clients say to it."""

    def __init__(self, directory: Path, bounds: Bounds = BOUNDS, *, grace: float = 5) -> None:
        self.path = directory / "http.sock"
        self.stop = asyncio.Event()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.gone = asyncio.Event()
        self.begun = 0
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen(1024)
        routes = [
            Route("/slow", self._slow, methods=["GET", "POST"]),
            Route("/stream", self._stream),
            Route("/large", self._large),
            Route("/broken", self._broken),
            Route("/", self._quick),
        ]
        self.serving = asyncio.create_task(
            serve_bounded(
                Starlette(routes=routes),
                listening.detach(),
                stop=self.stop,
                grace=lambda: grace,
                pace=Pace(),
                bounds=bounds,
            )
        )

    async def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self.path)), base_url="http://d4d"
        ) as client:
            return await client.request(method, path, **given)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    async def end(self) -> None:
        self.stop.set()
        self.go_on.set()
        async with asyncio.timeout(PATIENCE):
            await self.serving

    async def _quick(self, _: Request) -> Response:
        self.begun += 1
        return PlainTextResponse("quick")

    async def _slow(self, _: Request) -> Response:
        self.asked.set()
        await self.go_on.wait()
        return PlainTextResponse("slow")

    async def _stream(self, _: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            try:
                yield "first"
                await self.go_on.wait()
                yield "last"
            finally:
                self.gone.set()

        return StreamingResponse(parts())

    async def _large(self, _: Request) -> Response:
        return PlainTextResponse("x" * LARGE)

    async def _broken(self, _: Request) -> Response:
        raise ZeroDivisionError


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # pytest's are too long for a socket's name
        yield Path(name)


@asynccontextmanager
async def serving(
    directory: Path, bounds: Bounds = BOUNDS, *, grace: float = 5
) -> AsyncIterator[Served]:
    served = Served(directory, bounds, grace=grace)
    try:
        yield served
    finally:
        await served.end()


async def said(served: Served, sent: bytes) -> tuple[int, str]:
    """What all of it is answered, until the connection is closed."""
    reader, writer = await served.connect()
    writer.write(sent)
    try:
        async with asyncio.timeout(PATIENCE):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head.split()[1]), body.decode()


async def answered(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split(maxsplit=1)[0])
        return await reader.readexactly(length)


# What any client may


async def test_what_is_asked_is_answered(directory: Path) -> None:
    async with serving(directory) as served:
        answer = await served.ask("GET", "/")
        assert (answer.status_code, answer.text) == (200, "quick")
        assert "date" in answer.headers
        assert (await served.ask("HEAD", "/")).headers["content-length"] == "5"
        assert (await served.ask("OPTIONS", "/")).status_code == 405
        assert (await served.ask("GET", "/nothing")).status_code == 404
        assert len((await served.ask("GET", "/large")).text) == LARGE
        served.go_on.set()
        assert (await served.ask("POST", "/slow")).text == "slow"  # with Content-Length: 0


async def test_one_connection_takes_requests_one_after_the_other(directory: Path) -> None:
    async with serving(directory) as served:
        reader, writer = await served.connect()
        for _ in range(3):
            writer.write(GET)
            assert await answered(reader) == b"quick"
        writer.close()


async def test_requests_that_come_together_are_answered_in_their_order(directory: Path) -> None:
    async with serving(directory) as served:
        reader, writer = await served.connect()
        writer.write(GET.replace(b"/ ", b"/slow ", 1) + GET + GET[:9])
        await served.asked.wait()
        assert served.begun == 0
        served.go_on.set()
        assert [await answered(reader) for _ in range(2)] == [b"slow", b"quick"]
        writer.write(GET[9:])
        assert await answered(reader) == b"quick"
        writer.close()


async def test_a_head_may_come_byte_by_byte(directory: Path) -> None:
    async with serving(directory) as served:
        reader, writer = await served.connect()
        for byte in GET:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await answered(reader) == b"quick"
        writer.close()


async def test_http_1_0_is_answered_and_the_connection_closed(directory: Path) -> None:
    async with serving(directory) as served:
        assert await said(served, b"GET / HTTP/1.0\r\n\r\n") == (200, "quick")


async def test_a_stream_goes_on_until_its_reader_goes(directory: Path) -> None:
    async with serving(directory) as served:
        reader, writer = await served.connect()
        writer.write(GET.replace(b"/ ", b"/stream ", 1))
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"first")
            writer.close()
            await served.gone.wait()


async def test_an_app_that_fails_is_told_of_and_others_are_served(directory: Path) -> None:
    async with serving(directory) as served:
        with capture_logs() as logs:
            assert (await served.ask("GET", "/broken")).status_code == 500
        (line,) = logs
        assert (line["event"], line["target"]) == ("admin_request_failed", "/broken")
        assert (await served.ask("GET", "/")).text == "quick"


# The end


async def test_what_was_asked_is_answered_at_the_end(directory: Path) -> None:
    served = Served(directory)
    reader, writer = await served.connect()
    writer.write(GET.replace(b"/ ", b"/slow ", 1))
    await served.asked.wait()
    served.stop.set()
    await asyncio.sleep(0)
    served.go_on.set()
    assert await answered(reader) == b"slow"
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
        await served.serving
    writer.close()


@pytest.mark.parametrize("sent", [GET, b"", GET[:9], GET.replace(b"/ ", b"/slow ", 1)])
async def test_nobody_delays_the_end(directory: Path, sent: bytes) -> None:
    served = Served(directory, grace=0.1)
    reader, writer = await served.connect()
    writer.write(sent)
    if sent == GET:
        await answered(reader)
    elif sent.endswith(b"\r\n\r\n"):
        await served.asked.wait()
    served.stop.set()
    async with asyncio.timeout(PATIENCE):
        await served.serving
        with suppress(ConnectionError):  # what it had not read when it closed
            assert await reader.read() == b""
    writer.close()


# Bounds


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: d4d\r\nX: " + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\r\nHost: d4d\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 12_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: d4d\r\n\r\n", 414),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: d4d\r\n\r\n", 414),
        (b"POST /slow HTTP/1.1\r\nHost: d4d\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"POST /slow HTTP/1.1\r\nHost: d4d\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"POST /slow HTTP/1.1\r\nHost: d4d\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nh", 413),
        (
            b"POST / HTTP/1.1\r\nHost: d4d\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            413,
        ),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: d4d\r\nContent-Length: 0\r\nContent-Length: 7\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\0" * 70_000, 431),
    ],
    ids=lambda given: str(given[:24]) if isinstance(given, bytes) else None,
)
async def test_what_is_too_much_is_refused_in_words(
    directory: Path, sent: bytes, status: int
) -> None:
    async with serving(directory) as served:
        answer, body = await said(served, sent)
        assert answer == status
        assert json.loads(body)["error"]
        assert (await served.ask("GET", "/")).text == "quick"
        assert served.begun == 1


async def test_a_head_without_end_is_refused_and_read_no_further(directory: Path) -> None:
    async with serving(directory) as served:
        reader, writer = await served.connect()
        answer = asyncio.create_task(reader.readline())
        with pytest.raises((ConnectionError, RuntimeError)):  # uvloop says the latter
            async with asyncio.timeout(PATIENCE):
                writer.write(b"GET / HTTP/1.1\r\nX: ")
                while True:
                    writer.write(b"a" * 65_536)
                    await writer.drain()
        assert b" 431 " in await answer
        writer.close()


async def test_who_wants_another_protocol_is_answered_in_this_one(directory: Path) -> None:
    wanted = b"Host: d4d\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
    async with serving(directory) as served:
        for protocol in (b"websocket", b"h2c"):
            reader, writer = await served.connect()
            writer.write(b"GET / HTTP/1.1\r\n" + wanted % protocol)
            assert await answered(reader) == b"quick"
            writer.write(GET)
            assert await answered(reader) == b"quick"
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", GET + b"GET / HTT"])
async def test_a_head_has_its_time(directory: Path, sent: bytes) -> None:
    async with serving(directory, replace(BOUNDS, head_time=0.05)) as served:
        reader, writer = await served.connect()
        writer.write(sent)
        if sent.startswith(GET):
            assert await answered(reader) == b"quick"
        async with asyncio.timeout(PATIENCE):
            assert b" 408 " in await reader.readline()
            await reader.read()
        writer.close()


async def test_who_trickles_gets_no_more_time(directory: Path) -> None:
    async with serving(directory, replace(BOUNDS, head_time=0.2)) as served:
        reader, writer = await served.connect()
        answer = asyncio.create_task(reader.readline())
        with pytest.raises((ConnectionError, RuntimeError)):  # uvloop says the latter
            async with asyncio.timeout(PATIENCE):
                while True:
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(0.01)
        assert b" 408 " in await answer
        writer.close()


async def test_a_connection_is_closed_once_nothing_was_asked_for_long_enough(
    directory: Path,
) -> None:
    async with serving(directory, replace(BOUNDS, idle=0.05)) as served:
        reader, writer = await served.connect()
        writer.write(GET)
        await answered(reader)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("path", [b"/large ", b"/stream "])
async def test_a_long_answer_has_no_bound_in_time_for_who_reads_it(
    directory: Path, path: bytes
) -> None:
    bounds = replace(BOUNDS, head_time=0.05, idle=0.05, reading=0.3)
    async with serving(directory, bounds) as served:
        reader, writer = await served.connect()
        writer.write(GET.replace(b"/ ", path, 1))
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.2)
            served.go_on.set()
            if path == b"/large ":
                assert len(await reader.readexactly(LARGE)) == LARGE
            else:
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()


@pytest.mark.parametrize("connection", [b"", b"Connection: close\r\n"])
async def test_who_does_not_read_is_let_go(directory: Path, connection: bytes) -> None:
    bounds = replace(BOUNDS, connections=1, reading=0.1, idle=0.05)
    async with serving(directory, bounds) as served:
        reader, writer = await served.connect()
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # else it takes it itself
        writer.write(b"GET /large HTTP/1.1\r\nHost: d4d\r\n" + connection + b"\r\n")
        await has_room(served)
        writer.transport.abort()


async def test_so_many_connections_are_served_and_no_more(directory: Path) -> None:
    async with (
        serving(directory, replace(BOUNDS, connections=20)) as served,
        AsyncExitStack() as stack,
    ):
        held = []
        for _ in range(20):
            reader, writer = await served.connect()
            stack.callback(writer.close)
            writer.write(GET)
            await answered(reader)
            held.append((reader, writer))
        before = descriptors()
        with capture_logs() as logs:
            for _ in range(100):
                status, body = await said(served, GET)
                assert status == 503
                assert json.loads(body)["error"].startswith("20 connections are open")
        assert descriptors() < before + 20  # and not a hundred
        assert [line["event"] for line in logs] == ["admin_connections_refused"]
        reader, writer = held[0]
        writer.write(GET)
        assert await answered(reader) == b"quick"
        writer.close()
        await has_room(served)


async def has_room(served: Served) -> None:
    """Wait until one more is served."""
    async with asyncio.timeout(PATIENCE):
        while (await said(served, LAST))[0] == 503:  # noqa: ASYNC110 - by asking only
            await asyncio.sleep(0.01)


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def test_the_last_descriptors_are_not_for_operators(directory: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(directory) as served, AsyncExitStack() as stack:
        assert (await served.ask("GET", "/")).text == "quick"
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        for _ in range(160 - descriptors()):
            stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        answer = await served.ask("GET", "/")
        assert answer.status_code == 503
        assert "too many files open" in answer.json()["error"]


async def test_many_who_ask_without_end_are_answered_one_at_a_time(directory: Path) -> None:
    async with serving(directory) as served, AsyncExitStack() as stack:
        for _ in range(50):
            _, writer = await served.connect()
            stack.callback(writer.close)
            writer.write(GET * 100)  # no answer is waited for
        most = 0
        for _ in range(300):
            before = served.begun
            await asyncio.sleep(0)
            most = max(most, served.begun - before)
        assert served.begun > 0
        assert most <= 1


async def test_who_asks_without_reading_is_read_no_further_either(directory: Path) -> None:
    """Else what waits to be answered would take any amount of memory."""
    async with serving(directory) as served:
        reader, writer = await served.connect()
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # else it takes it itself
        writer.transport.set_write_buffer_limits(0)
        taken = 0
        with pytest.raises(TimeoutError):
            while True:
                writer.write(GET.replace(b"/ ", b"/stream ", 1) + GET * 1000)
                async with asyncio.timeout(0.5):
                    await writer.drain()
                taken += 1001
        assert taken * len(GET) < 2_000_000  # with what the kernel holds
        writer.transport.abort()

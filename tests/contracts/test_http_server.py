"""What speaks HTTP: one contract for both servers, at a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from d4d.domain.errors import StoreTooNew
from d4d.entrypoints.daemon.http import hypercorn_server as plain
from d4d.entrypoints.daemon.http import server as http
from d4d.entrypoints.daemon.http import uvicorn_server as fast
from d4d.entrypoints.daemon.http.errors import CannotStart
from d4d.entrypoints.docker_plugin.app import Answer, create_calls_app, expect

BOTH_LOOPS = True
SERVERS = [pytest.param(plain.serve, id="hypercorn"), pytest.param(fast.serve, id="uvicorn")]
pytestmark = pytest.mark.parametrize("serve", SERVERS)


class Served:
    """An app at a socket, and what a client says to it."""

    def __init__(
        self, directory: Path, serve: http.Serve, *, grace: float = 5, idle: int = http.WITHOUT_END
    ) -> None:
        self.path = directory / "http.sock"
        self.stop = asyncio.Event()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.troubles: list[str] = []
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen()
        routes = [
            Route("/slow", self._slow, methods=["POST"]),
            Route("/stream", self._stream),
            Route("/", self._quick),
        ]
        app = Starlette(routes=routes, lifespan=self._lifespan)
        self.serving = asyncio.create_task(
            serve(app, listening.detach(), stop=self.stop, grace=lambda: grace, idle=idle)
        )

    async def ask(self, method: str, path: str, body: bytes = b"") -> str:
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self.path)), base_url="http://d4d"
        ) as client:
            answer = await client.request(method, path, content=body)
            assert answer.status_code == 200
            return answer.text

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self.troubles:
            raise StoreTooNew(self.troubles[0])
        yield
        self.troubles.append("closed")

    async def _quick(self, _: Request) -> PlainTextResponse:
        return PlainTextResponse("quick")

    async def _slow(self, request: Request) -> PlainTextResponse:
        body = await request.body()
        self.asked.set()
        await self.go_on.wait()
        return PlainTextResponse(body.decode())

    async def _stream(self, _: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            await self.go_on.wait()
            yield "late"

        return StreamingResponse(parts())


async def answered(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The head of an answer, in lower case, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].split(maxsplit=1)[0])
    return head, await reader.readexactly(length)


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # pytest's are too long for a socket's name
        yield Path(name)


async def test_it_answers_until_it_is_stopped(serve: http.Serve, directory: Path) -> None:
    served = Served(directory, serve)
    assert await served.ask("GET", "/") == "quick"
    assert served.troubles == []
    served.stop.set()
    async with asyncio.timeout(15):
        await served.serving
    assert served.troubles == ["closed"]
    with pytest.raises(httpx.ConnectError):
        await served.ask("GET", "/")


async def test_an_answer_without_body_is_one(serve: http.Serve, directory: Path) -> None:
    served = Served(directory, serve)
    assert await served.ask("HEAD", "/") == ""
    served.stop.set()
    await served.serving


async def test_the_head_of_a_stream_does_not_wait_for_what_comes_by_it(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve)
    reader, writer = await served.connect()
    writer.write(b"GET /stream HTTP/1.1\r\nHost: d4d\r\n\r\n")
    async with asyncio.timeout(15):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        served.go_on.set()
        assert b"late" in await reader.readuntil(b"0\r\n\r\n")
    served.stop.set()
    await served.serving
    writer.close()


async def test_a_request_in_flight_is_answered_at_the_end(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve)
    asking = asyncio.create_task(served.ask("POST", "/slow", b"a body"))
    await served.asked.wait()
    served.stop.set()
    await asyncio.sleep(0.3)
    assert not served.serving.done()
    served.go_on.set()
    assert await asking == "a body"
    async with asyncio.timeout(15):
        await served.serving


async def test_a_request_that_takes_longer_than_the_grace_is_cut_short(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve, grace=0.1)
    asking = asyncio.create_task(served.ask("POST", "/slow", b"a body"))
    await served.asked.wait()
    served.stop.set()
    async with asyncio.timeout(15):
        await served.serving
    with pytest.raises((httpx.HTTPError, AssertionError)):
        await asking


async def test_an_app_that_can_not_start_is_told_of(serve: http.Serve, directory: Path) -> None:
    served = Served(directory, serve)
    served.troubles.append("it is of a later version")
    with pytest.raises(CannotStart):
        await served.serving


GET = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
POST = b"POST /slow HTTP/1.1\r\nHost:\r\nContent-Length: 6\r\n\r\na body"


async def test_one_connection_takes_calls_one_after_the_other(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve)
    served.go_on.set()
    reader, writer = await served.connect()
    for request, body in [(GET, b"quick"), (POST, b"a body"), (GET, b"quick")]:
        writer.write(request)
        head, content = await answered(reader)
        assert content == body
        assert "connection: close" not in head
    served.stop.set()
    await served.serving
    writer.close()


async def test_calls_that_come_together_are_answered_in_their_order(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve)
    reader, writer = await served.connect()
    writer.write(POST + GET)
    await served.asked.wait()
    served.go_on.set()
    assert [(await answered(reader))[1] for _ in range(2)] == [b"a body", b"quick"]
    served.stop.set()
    await served.serving
    writer.close()


async def test_a_connection_is_closed_once_nothing_was_asked_for_long_enough(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve, idle=1)
    reader, writer = await served.connect()
    writer.write(GET)
    await answered(reader)
    async with asyncio.timeout(15):
        assert await reader.read() == b""
    writer.close()
    served.stop.set()
    await served.serving


@pytest.mark.parametrize(
    "sent", [GET, GET + GET[:9], GET[:9]], ids=["idle", "a second one begun", "begun"]
)
async def test_a_connection_on_which_nothing_is_in_flight_delays_no_end(
    serve: http.Serve, directory: Path, sent: bytes
) -> None:
    served = Served(directory, serve, grace=30)
    reader, writer = await served.connect()
    writer.write(sent)
    if sent.startswith(GET):
        await answered(reader)
    await asyncio.sleep(0.05)
    assert not reader.at_eof()
    served.stop.set()
    async with asyncio.timeout(15):
        await served.serving
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_is_closed_behind_an_answer_that_comes_at_the_end(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve, grace=30)
    reader, writer = await served.connect()
    writer.write(POST)
    await served.asked.wait()
    served.stop.set()
    await asyncio.sleep(0.05)
    served.go_on.set()
    async with asyncio.timeout(15):
        assert (await answered(reader))[1] == b"a body"
        assert await reader.read() == b""
        await served.serving
    writer.close()


async def test_a_connection_that_its_client_closes_costs_nothing_more(
    serve: http.Serve, directory: Path
) -> None:
    served = Served(directory, serve)
    assert await served.ask("GET", "/") == "quick"
    before = descriptors()
    for _ in range(20):
        reader, writer = await served.connect()
        writer.write(GET)
        await answered(reader)
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(15):
        while descriptors() > before:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    served.stop.set()
    await served.serving


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


class SlowDriver:
    """A driver whose answers take until they may ``go_on``."""

    def __init__(self) -> None:
        self.asked, self.go_on, self.gave_back = (asyncio.Event() for _ in range(3))
        self.given_back: list[Answer] = []

    def activated(self) -> None:
        """It is asked for addresses only."""

    async def answer(self, call: str, body: bytes) -> tuple[Answer, int]:
        self.asked.set()
        await self.go_on.wait()
        return {"Address": "10.77.16.1/16"}, 200

    async def unheard(self, call: str, body: bytes, answer: Answer) -> None:
        self.given_back.append(answer)
        self.gave_back.set()


CALL = (
    b"POST /IpamDriver.RequestAddress HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)


@pytest.mark.parametrize("goes", [True, False], ids=["gone", "there"])
async def test_what_was_had_for_a_caller_that_has_gone_is_given_back(
    serve: http.Serve, directory: Path, goes: bool
) -> None:
    """docker run, interrupted while the DHCP server is asked: nobody would release the address."""
    driver, stop, path = SlowDriver(), asyncio.Event(), directory / "http.sock"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        expect(app).set_result(driver)
        yield

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    serving = asyncio.create_task(
        serve(
            create_calls_app(lifespan),
            listening.detach(),
            stop=stop,
            grace=lambda: 5,
            idle=http.WITHOUT_END,
        )
    )
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(CALL)
        await driver.asked.wait()
        if goes:
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.2)  # until the server has seen it, which nothing tells
        driver.go_on.set()
        if goes:
            await driver.gave_back.wait()
        else:
            _, body = await answered(reader)
            assert b"10.77.16.1/16" in body
            writer.close()
        stop.set()
        await serving
    assert driver.given_back == ([{"Address": "10.77.16.1/16"}] if goes else [])
